"""Columns filled in machine code hold what they do of the decoded stones, whatever the records look like."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.log.records import of
from drills.stock import real_stones
from schemas.columns import Columns
from schemas.errors import Invalid
from schemas.stone import Availability, Stone, decode_stone, encode
from streams.fields import Fields, Read
from tests.unit.schemas.stones import UNREADABLE, any_stones, make_stone

NAMES = tuple(name for name in Stone.__struct_fields__ if name != "id")
STONES = st.lists(any_stones(), max_size=5, unique_by=lambda stone: stone.id)
ODD = [
    make_stone(id="f:é"),
    make_stone(id='f:"'),
    make_stone(id="f:1", color="Fancy \n vivid", supplier_name="Ünal & Co"),
    make_stone(id="f:2", first_seen=datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    make_stone(id="f:3", updated_at=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    make_stone(id="f:4", price_cents=2**62, carat=0.1 + 0.2, availability=Availability.ON_HOLD),
    make_stone(id="f:5", girdle="", treated=False, lab_grown=True, list_discount_bps=-3),
    make_stone(id="f:6", treated=True, rating=10, table_percent=-0.0, updated_at=datetime(2026, 1, 1, tzinfo=UTC)),
]  # fmt: skip


def put(columns: Columns, records: Sequence[bytes], ids: Sequence[str] | None = None) -> Read:
    found = of(
        (
            (stone_id.encode(), record)
            for stone_id, record in zip(ids or "x" * len(records), records, strict=True)
        )
    )
    return Fields(columns).put(found.data, found.values, None if ids is None else found.keys)


def told(columns: Columns) -> dict[str, list[Any]]:
    """What the columns say of each stone."""
    return {
        stone_id: [columns.value(name, row) for name in columns.names]
        for stone_id, row in columns.rows.items()
    }


def decoded(records: Sequence[bytes], names: Sequence[str] = NAMES) -> dict[str, list[Any]]:
    """The same by way of an object a record."""
    columns = Columns(names)
    columns.put(map(decode_stone, records))
    return told(columns)


def assert_alike(records: Sequence[bytes], names: Sequence[str] = NAMES) -> None:
    ids = [decode_stone(record).id for record in records]
    for keys in (None, ids):
        columns = Columns(names)
        read = put(columns, records, keys)
        assert not read.failures
        assert sorted(read.places.tolist()) == list(range(len(records)))
        assert read.ids == [ids[place] for place in read.places.tolist()]
        assert read.rows.tolist() == [columns.rows[stone_id] for stone_id in read.ids]
        assert told(columns) == decoded(records, names)


@given(STONES, st.sets(st.sampled_from(NAMES)))
def test_machine_code_and_decoding_give_the_same(stones: list[Stone], names: set[str]) -> None:
    assert_alike([encode(stone) for stone in stones], sorted(names))


@given(STONES)
def test_a_field_that_there_was_not_yet_is_null(stones: list[Stone]) -> None:
    records = [re.sub(rb',"\w+":null', b"", encode(stone)) for stone in stones]
    assert_alike(records)


def test_real_records_and_odd_ones_among_them_give_the_same() -> None:
    real = [encode(stone) for stone in real_stones(600, seed=5)]
    # Before versions 2 and 3 of the record there were no such fields.
    older = [re.sub(rb',"(rating|rate_id|first_seen)":("[^"]*"|\w+)', b"", record) for record in real[:50]]
    spaced = [msgspec.json.format(record, indent=1) for record in real[50:60]]
    turned = [
        msgspec.json.encode(dict(reversed(msgspec.json.decode(record).items()))) for record in real[60:70]
    ]
    no_currency = [record.replace(b',"currency":"USD"', b"") for record in real[70:80]]
    records = [*older, *spaced, *turned, *no_currency, *real[80:], *map(encode, ODD)]
    assert len(real) > 500
    assert_alike(records)


def test_a_text_has_one_code_however_its_record_was_read() -> None:
    columns = Columns(("color", "girdle"))
    fields = Fields(columns)
    columns.codes["color"].add("E")
    stones = [
        make_stone(id=f"f:{number}", color=color, girdle=girdle)
        for number, (color, girdle) in enumerate(
            [("D", "é"), ("E", "é"), ("D", None), ("E", "x"), ("é", "x")]
        )
    ]
    for some in (stones[:2], stones[2:]):
        found = of((stone.id.encode(), encode(stone)) for stone in some)
        fields.put(found.data, found.values, found.keys)
    assert sorted(filter(None, columns.codes["color"].texts)) == ["D", "E", "é"]
    for stone in stones:
        row = columns.rows[stone.id]
        assert (columns.value("color", row), columns.value("girdle", row)) == (stone.color, stone.girdle)


@pytest.mark.parametrize(
    "bad",
    [
        *UNREADABLE,
        encode(make_stone(id="nivoda-natural:é")),
    ],
)
def test_what_cannot_be_read_says_why_and_spoils_no_other(bad: bytes) -> None:
    good = [make_stone(id="nivoda-natural:8", color="E"), make_stone(id="nivoda-natural:9", girdle="é")]
    records = [bad, encode(good[0]), bad, encode(good[1])]
    ids = [make_stone().id, good[0].id, make_stone().id, good[1].id]
    columns = Columns(("shape", "carat", "color", "girdle"))
    read = put(columns, records, ids)
    assert sorted(read.failures) == [0, 2]
    assert all(map(str, read.failures.values()))
    assert told(columns) == decoded([records[1], records[3]], columns.names)


def test_a_record_under_another_stones_key_is_refused_by_name() -> None:
    read = put(Columns(("shape",)), [encode(make_stone(id="f:1"))], ["f:2"])
    assert isinstance(read.failures[0], Invalid)
    assert str(read.failures[0]) == "id: is f:1, not the record's key"


def test_nothing_is_kept_of_what_the_records_lay_in() -> None:
    records = [encode(make_stone(id="f:1", color="D")), encode(make_stone(id="f:é", color="É"))]
    found = of((b"", record) for record in records)
    room = np.array(found.data)
    lent = room.view()
    lent.flags.writeable = False
    columns = Columns(NAMES)
    Fields(columns).put(lent, found.values)
    room[:] = 0
    assert told(columns) == decoded(records)
