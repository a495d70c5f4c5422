"""A page of the vendor as a drill reads it: which stones it brought, at what price."""

from __future__ import annotations

import msgspec


class Stone(msgspec.Struct):
    """The stone's listing."""

    id: str | None = None


class Item(msgspec.Struct):
    """An offer; `price` in US cents."""

    diamond: Stone | None = None
    price: int | None = None


class Page(msgspec.Struct):
    """The items, in the vendor's order."""

    items: list[Item | None]


class Data(msgspec.Struct):
    """The GraphQL answer."""

    diamonds_by_query: Page


class Reply(msgspec.Struct):
    """The whole reply."""

    data: Data
