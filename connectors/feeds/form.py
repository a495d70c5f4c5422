"""How a vendor's replies carry its items: what a page's reader needs to know of a feed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec


class Part(NamedTuple):
    """Some of a reply's items as a reply of their own.

    Attributes:
        rows: how many items.
        body: the reply; of an item that is too large, its stone's name alone.
        first: place of the first item in the whole reply.
        too_large: the item, where it is.
        stone: the vendor's id of its stone, where that can be read.
    """

    rows: int
    body: bytes
    first: int
    too_large: bytes | None = None
    stone: str | None = None


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

    def parts(self, reply: bytes, limit: int) -> list[Part]:
        """Replies of at most `limit` bytes that hold the items of one too large, in order.

        An item that is larger on its own is a part of its own. None of a reply that holds no items.
        """
        try:
            items = self.items(msgspec.json.decode(reply, type=self.reply(msgspec.Raw))) or []
        except msgspec.DecodeError:
            return []
        room = limit - len(self.around(b""))
        parts: list[Part] = []
        together: list[bytes] = []

        def close(index: int) -> None:
            if together:
                parts.append(Part(len(together), self.around(b",".join(together)), index - len(together)))
                together.clear()

        for index, item in enumerate(map(bytes, items)):
            if sum(map(len, together)) + len(together) + len(item) > room:
                close(index)
            if len(item) > room:
                parts.append(self._named_only(item, index))
            else:
                together.append(item)
        close(len(items))
        return parts

    def _named_only(self, item: bytes, index: int) -> Part:
        try:
            identity = msgspec.json.decode(item, type=self.identity)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Part(1, self.around(b"null"), index, item)
        return Part(1, self.around(msgspec.json.encode(identity)), index, item, self.stone(identity) or None)
