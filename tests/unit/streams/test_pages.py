"""A page's form: what is read, and that one bad item never takes its page along."""

from __future__ import annotations

import json

import pytest

from schemas.errors import Invalid
from schemas.vendor import Item
from streams.pages import decode_page, split_page, vendor_stone_id
from tests.unit.streams.items import item, page


@pytest.mark.parametrize("aliased", [True, False])
def test_both_envelopes_are_read(aliased: bool) -> None:
    decoded = decode_page(page(item(1), item(2), aliased=aliased))
    assert [made.diamond.id for made in decoded if isinstance(made, Item)] == [
        item(number)["diamond"]["id"] for number in (1, 2)
    ]


def test_items_beside_errors_are_read() -> None:
    reply = json.loads(page(item()))
    reply["errors"] = [{"message": "enum value not known", "path": ["as"]}]
    assert isinstance(decode_page(json.dumps(reply).encode())[0], Item)


def test_an_empty_page_has_no_items() -> None:
    assert decode_page(page()) == []


def test_one_bad_item_leaves_the_others() -> None:
    body = page(item(1), item(2, diamond__certificate__color=[1]), None, {"id": 5}, item(3))
    first, second, third, fourth, fifth = decode_page(body)
    assert isinstance(first, Item)
    assert isinstance(fifth, Item)
    assert isinstance(second, Invalid)
    assert second.field == "diamond.certificate.color"
    assert isinstance(third, Invalid)
    assert third.code == "null_item"
    assert isinstance(fourth, Invalid)
    assert fourth.code == "wrong_type"


def test_null_members_alone_leave_the_others() -> None:
    first, second = decode_page(page(None, item(1)))
    assert isinstance(first, Invalid)
    assert isinstance(second, Item)


def test_the_original_bytes_of_each_item_are_kept() -> None:
    made = [item(1), item(2, diamond__certificate=None)]
    assert [json.loads(part) for part in split_page(page(*made))] == made


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Forbidden</body></html>",
        b"",
        b"null",
        b"[]",
        b'{"data": null}',
        b'{"data": {"as": null}}',
        b'{"data": {"as": {"diamonds_by_query": {"items": null}}}}',
        b'{"data": {"as": {"diamonds_by_query": {"items": 7}}}}',
        b'{"errors": [{"message": "no"}]}',
        b"\xff\xfe",
        b'{"data": {"as": {"diamonds_by_query": {"items": [{"id": "cut o',
        b"[" * 100_000,
    ],
)
def test_a_reply_without_items_is_invalid_as_a_whole(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_page(body)
    with pytest.raises(Invalid):
        split_page(body)


def test_a_stone_is_told_where_the_item_is_wrong() -> None:
    spoiled = json.dumps(item(1, price="free")).encode()
    assert vendor_stone_id(spoiled) == item(1)["diamond"]["id"]
    for hopeless in (b"null", b"{}", b'{"diamond": {"id": 5}}', b"{"):
        assert vendor_stone_id(hopeless) is None
