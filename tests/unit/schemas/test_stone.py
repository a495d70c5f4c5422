"""The canonical record's byte layout."""

import json

from hypothesis import given
from hypothesis import strategies as st

from schemas.stone import (
    PUBLIC_FIELDS,
    PrivateContent,
    decode_stone,
    decode_version,
    encode,
    is_position,
    position_key,
    public_part,
)
from tests.unit.schemas.stones import make_stone


def test_the_public_part_is_exactly_the_public_fields() -> None:
    item = json.loads(public_part(encode(make_stone(certificate_number="123"))))
    assert tuple(item) == PUBLIC_FIELDS
    assert item["certificate_number"] == "123"
    assert item["updated_at"] == "2026-01-02T03:04:05Z"


def test_nothing_private_and_no_margin_is_public() -> None:
    item = json.loads(public_part(encode(make_stone())))
    hidden = {*PrivateContent.__struct_fields__, "margin_bps", "seq", "run", "raw_offset", "content_hash"}
    assert not hidden & item.keys()


@given(st.text(), st.text())
def test_no_text_can_move_the_borders_of_the_public_part(supplier: str, comments: str) -> None:
    hostile = supplier + '","id":"x","seq":1,"' + comments
    stone = make_stone(supplier_name=hostile, comments=hostile)
    item = json.loads(public_part(encode(stone)))
    assert tuple(item) == PUBLIC_FIELDS
    assert item["id"] == stone.id


def test_a_record_reads_back_and_its_version_is_a_subset() -> None:
    stone = make_stone(run="r1")
    assert decode_stone(encode(stone)) == stone
    version = decode_version(encode(stone))
    assert (version.seq, version.rules_version, version.run) == (stone.seq, 1, "r1")


def test_a_position_is_told_from_a_stone() -> None:
    assert is_position(position_key("nivoda-natural"))
    assert not is_position(make_stone().id.encode())
