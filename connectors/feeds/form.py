"""How a vendor's replies carry its items: what a page's reader needs to know of a feed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Form:
    """The form of one vendor's replies.

    Attributes:
        item: an item's struct; only its envelope is strict.
        items: a reply decoded as `reply(of)` to its items; none when it has no list of them.
        reply: the reply's type for items of a type, for `item` and for `msgspec.Raw` alike.
        place: where the items stand, for messages.
        identity: the smallest struct that can be read from an item and still knows its stone.
        stone: an item's, or an identity's, id of the stone as the vendor has it.
        around: a reply's bytes around those of its one item.
    """

    item: type[msgspec.Struct]
    reply: Callable[[Any], Any]
    items: Callable[[Any], list[Any] | None]
    place: str
    identity: type[msgspec.Struct]
    stone: Callable[[Any], str]
    around: Callable[[bytes], bytes]
