from __future__ import annotations

import msgspec
import pytest

from connectors.feeds.demo.mapping import DEMO_FORM
from connectors.feeds.form import Form
from connectors.feeds.nivoda.form import NIVODA_FORM


def nivoda(stone: str, size: int = 0) -> bytes:
    return msgspec.json.encode({"diamond": {"id": stone, "comment": "x" * size}})


def demo(stone: str, size: int = 0) -> bytes:
    return msgspec.json.encode({"sku": stone, "comment": "x" * size})


@pytest.mark.parametrize(("form", "item"), [(NIVODA_FORM, nivoda), (DEMO_FORM, demo)])
def test_a_page_in_parts_holds_every_item_once_and_names_those_too_large(form: Form, item: object) -> None:
    assert callable(item)
    items = [item("a", 300), item("b", 300), item("c", 2_000), item("d"), b"null"]
    parts = form.parts(form.around(b",".join(items)), 900)
    assert [(part.rows, part.first, part.stone) for part in parts] == [
        (2, 0, None),
        (1, 2, "c"),
        (2, 3, None),
    ]
    assert parts[1].too_large == items[2]
    brought = [
        bytes(one)
        for part in parts
        for one in form.items(msgspec.json.decode(part.body, type=form.reply(msgspec.Raw))) or []
    ]
    assert brought[:2] + brought[3:] == items[:2] + items[3:]
    assert b"c" in brought[2]
    assert len(brought[2]) < 100
    assert all(len(part.body) <= 900 for part in parts)


def test_an_item_too_large_without_a_name_is_null() -> None:
    nameless = b'{"diamond":{"comment":"%s"}}' % (b"x" * 2_000)
    (part,) = NIVODA_FORM.parts(NIVODA_FORM.around(nameless), 900)
    assert (part.rows, part.stone, part.too_large) == (1, None, nameless)
    assert b"[null]" in part.body


@pytest.mark.parametrize("reply", [b"<html>", b'{"data":{"diamonds_by_query":{"items":[]}}}', b"{}"])
def test_a_reply_without_items_has_no_parts(reply: bytes) -> None:
    assert NIVODA_FORM.parts(reply, 900) == []
