"""The form of Nivoda's replies: items of a search, or the one item of a stone that was asked for by its id."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from connectors.feeds.form import Form
from schemas.vendor import Item

ItemT = TypeVar("ItemT")


class _Found(msgspec.Struct, Generic[ItemT]):
    items: list[ItemT] | None = None


class _Fields(msgspec.Struct, Generic[ItemT]):
    diamonds_by_query: _Found[ItemT] | None = None
    # Not `ItemT | None`: raw bytes cannot be part of a union. Null is decoded as null where the type allows it.
    get_diamond_by_id: ItemT = cast(Any, None)


class _Data(_Fields[ItemT], Generic[ItemT]):
    as_: _Fields[ItemT] | None = msgspec.field(default=None, name="as")


class _Reply(msgspec.Struct, Generic[ItemT]):
    data: _Data[ItemT] | None = None


class _Listing(msgspec.Struct):
    id: str


class _Identity(msgspec.Struct):
    diamond: _Listing


def _reply(of: Any) -> Any:
    return _Reply[of]


def _items(reply: Any) -> list[Any] | None:
    data = reply.data
    for fields in (data and data.as_, data):
        if fields and fields.diamonds_by_query:
            items: list[Any] | None = fields.diamonds_by_query.items
            return items
        if fields and fields.get_diamond_by_id is not None:
            return [fields.get_diamond_by_id]
    return None


def _stone(item: Any) -> str:
    stone: str = item.diamond.id
    return stone


def _around(item: bytes) -> bytes:
    return b'{"data":{"diamonds_by_query":{"items":[%b]}}}' % item


NIVODA_FORM: Final = Form(
    item=Item,
    reply=_reply,
    items=_items,
    place="data.as.diamonds_by_query.items",
    identity=_Identity,
    stone=_stone,
    around=_around,
)
