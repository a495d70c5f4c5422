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
        around: a reply's bytes around those of its one item, or of several with commas between.
    """

    item: type[msgspec.Struct]
    reply: Callable[[Any], Any]
    items: Callable[[Any], list[Any] | None]
    place: str
    identity: type[msgspec.Struct]
    stone: Callable[[Any], str]
    around: Callable[[bytes], bytes]

    def parts(self, reply: bytes, limit: int) -> list[tuple[int, bytes]]:
        """Replies of at most `limit` bytes that hold the items of one too large, in order, with the number of each's items.

        An item that is larger on its own is a part that is too large. None of a reply that holds no two items.
        """
        try:
            items = self.items(msgspec.json.decode(reply, type=self.reply(msgspec.Raw))) or []
        except msgspec.DecodeError:
            items = []
        room = limit - len(self.around(b""))
        parts: list[list[bytes]] = []
        size = room + 1
        for item in map(bytes, items):
            size += len(item) + 1
            if size > room:
                parts.append([])
                size = len(item)
            parts[-1].append(item)
        return [(len(part), self.around(b",".join(part))) for part in parts] if len(items) > 1 else []
