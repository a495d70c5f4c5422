"""A page's form: what is read, and that one bad item never takes its page along."""

from __future__ import annotations

import json

import pytest

from connectors.feeds.nivoda.form import NIVODA_FORM
from schemas.errors import Invalid
from schemas.vendor import Item
from streams.pages import PageReader
from tests.unit.streams.items import item, page

READER = PageReader(NIVODA_FORM)


@pytest.mark.parametrize("aliased", [True, False])
def test_both_envelopes_are_read(aliased: bool) -> None:
    decoded = READER.decode(page(item(1), item(2), aliased=aliased))
    assert [made.diamond.id for made in decoded if isinstance(made, Item)] == [
        item(number)["diamond"]["id"] for number in (1, 2)
    ]


@pytest.mark.parametrize("aliased", [True, False])
def test_a_stone_asked_for_by_its_id_is_a_page_of_one(aliased: bool) -> None:
    fields = {"get_diamond_by_id": item(3)}
    body = json.dumps({"data": {"as": fields} if aliased else fields}).encode()
    assert [made.diamond.id for made in READER.decode(body)] == [item(3)["diamond"]["id"]]
    assert [json.loads(bytes(part)) for part in READER.split(body)] == [item(3)]


def test_a_stone_that_is_gone_is_no_page() -> None:
    with pytest.raises(Invalid, match="must be a list of items"):
        READER.decode(b'{"data": {"get_diamond_by_id": null}}')


def test_items_beside_errors_are_read() -> None:
    reply = json.loads(page(item()))
    reply["errors"] = [{"message": "enum value not known", "path": ["as"]}]
    assert isinstance(READER.decode(json.dumps(reply).encode())[0], Item)


def test_an_empty_page_has_no_items() -> None:
    assert READER.decode(page()) == []


def test_one_bad_item_leaves_the_others() -> None:
    body = page(item(1), item(2, diamond__certificate__color=[1]), None, {"id": 5}, item(3))
    first, second, third, fourth, fifth = READER.decode(body)
    assert isinstance(first, Item)
    assert isinstance(fifth, Item)
    assert isinstance(second, Invalid)
    assert second.field == "diamond.certificate.color"
    assert isinstance(third, Invalid)
    assert third.code == "null_item"
    assert isinstance(fourth, Invalid)
    assert fourth.code == "wrong_type"


def test_null_members_alone_leave_the_others() -> None:
    first, second = READER.decode(page(None, item(1)))
    assert isinstance(first, Invalid)
    assert isinstance(second, Item)


def test_the_original_bytes_of_each_item_are_kept() -> None:
    made = [item(1), item(2, diamond__certificate=None)]
    assert [json.loads(bytes(part)) for part in READER.split(page(*made))] == made


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
        READER.decode(body)
    with pytest.raises(Invalid):
        READER.split(body)


def test_a_stone_is_told_where_the_item_is_wrong() -> None:
    spoiled = json.dumps(item(1, price="free")).encode()
    assert READER.stone(spoiled) == item(1)["diamond"]["id"]
    for hopeless in (b"null", b"{}", b'{"diamond": {"id": 5}}', b"{"):
        assert READER.stone(hopeless) is None
