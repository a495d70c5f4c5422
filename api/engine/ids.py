"""Stones' ids in 17 bytes each, in the order of their texts: the feed's code, and 128 bits.

The part behind the colon is a UUID, or a text of at most 16 bytes; the first id of a feed says which of the two its
ids are. Both keep the order of the texts and are read back from the bits. An id that fits neither is odd: its bits are
as near as they can be without leaving the order, its text is kept whole, and whoever sorts compares texts where bits
are equal.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.kernels import ids as id_kernels
from api.engine.kernels import texts as text_kernels
from api.values import spans_of
from connectors.records.dictionary import Dictionary
from connectors.records.scan import text_at
from schemas.columns import Codes

_HEX: Final = "0123456789abcdef"
_DASHES: Final = (8, 13, 18, 23)
_TEXT_BYTES: Final = 16
_WORD: Final = (1 << 64) - 1
_FIRST: Final = np.zeros(1, dtype=np.intp)
MAX_FEEDS: Final = 31
"""Feeds whose order fits into a sorting key; with more of them, ids are compared as texts."""

Words = NDArray[np.uint64]


@dataclass(slots=True)
class Packed:
    """Ids as bits; `odd` holds the texts of those that are not what their bits say, by place."""

    feed: NDArray[np.uint8]
    high: Words
    low: Words
    odd: dict[int, str]

    def part(self, begin: int, end: int) -> Packed:
        """Some of the ids, as views."""
        cut = slice(begin, end)
        return Packed(self.feed[cut], self.high[cut], self.low[cut], part_of(self.odd, begin, end))


def part_of(odd: dict[int, str], begin: int, end: int) -> dict[int, str]:
    """The texts of some places, which are counted anew."""
    return {place - begin: text for place, text in odd.items() if begin <= place < end} if odd else {}


class IdForms:
    """Knows which form the ids of each feed have. Used by whoever prepares batches.

    Attributes:
        feeds: codes of the feeds' names.
        uuids: by code, whether the feed's ids are UUIDs.
    """

    def __init__(self) -> None:
        self.feeds = Codes()
        self._names = Dictionary([self.feeds])
        self.uuids: list[bool] = [False]

    def pack(self, ids: Sequence[str]) -> Packed:
        """The bits of ids; a feed that was never seen gets its form from its first id."""
        return self.pack_spans(*spans_of(ids))

    def pack_known(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> Packed:
        """The same of ids as they lie in records, and no feed gets its form: one that was never seen has no code."""
        return self._pack(data, spans, lambda _name, _uuid: 0)

    def pack_spans(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> Packed:
        """The same of ids as they lie in records."""
        return self._pack(data, spans, self._feed)

    def _pack(
        self, data: NDArray[np.uint8], spans: NDArray[np.int64], enter: Callable[[str, Any], int]
    ) -> Packed:
        high, low = np.empty(len(spans), np.uint64), np.empty(len(spans), np.uint64)
        good, names = np.empty(len(spans), np.bool_), np.empty(len(spans), np.int64)
        text_kernels.read_ids(data, spans, names, high, low, good)
        (feed,) = self._names.find(data, names[np.newaxis], _FIRST)
        for place in np.flatnonzero(feed < 0).tolist():
            feed[place] = enter(text_at(data, int(names[place])) or "", good[place])
        odd: dict[int, str] = {}
        regular = good & np.array(self.uuids)[feed]
        for place in np.flatnonzero(~regular).tolist():
            text = text_at(data, int(spans[place])) or ""
            high[place], low[place], exact = self._pack_one(text, self.uuids[feed[place]])
            if not exact:
                odd[place] = text
        return Packed(feed.astype(np.uint8), high, low, odd)

    def pack_uuid(self, stone_id: str) -> tuple[int, int, int] | None:
        """Feed's code and bits of an id that is a UUID of a feed whose ids are; what `pack` gives, for one and fast."""
        name, _, own = stone_id.partition(":")
        code = self.feeds.find(name)
        if code is None or not self.uuids[code] or _UUID.fullmatch(own) is None:
            return None
        packed = int(own.replace("-", ""), 16)
        return code, packed >> 64, packed & _WORD

    def text(self, feed: int, high: int, low: int) -> str:
        """The id that has these bits, if it is not odd."""
        name = self.feeds.texts[feed]
        if self.uuids[feed]:
            digits = f"{high:016x}{low:016x}"
            return f"{name}:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        own = (high << 64 | low).to_bytes(_TEXT_BYTES, "big").rstrip(b"\0").decode()
        return f"{name}:{own}"

    def place(self, stone_id: str) -> tuple[int, int, int]:
        """Where any id is in the order of ids: twice its feed's rank (less one for a feed that was never seen), and bits.

        Ids with equal bits are in the order of their texts.
        """
        name = stone_id.partition(":")[0]
        code = self.feeds.find(name)
        if code is None:
            return 2 * bisect_left(sorted(f"{text}:" for text in self.feeds.texts[1:]), f"{name}:") - 1, 0, 0
        packed = self.pack([stone_id])
        return 2 * int(self.ranks()[code]), int(packed.high[0]), int(packed.low[0])

    def ranks(self) -> NDArray[np.int64]:
        """Each feed's place in the order of ids, by code: a feed's name is followed by a colon there."""
        names = [f"{name}:" for name in self.feeds.texts[1:]]
        order = sorted(names)
        return np.array([0, *(order.index(name) for name in names)], dtype=np.int64)

    def _feed(self, name: str, uuid: Any) -> int:
        code = self.feeds.find(name)
        if code is None:
            code = self.feeds.add(name)
            if code > np.iinfo(np.uint8).max:
                raise OverflowError(f"more than {np.iinfo(np.uint8).max} feeds")
            self.uuids.append(bool(uuid))
        return code

    def _pack_one(self, stone_id: str, uuid: bool) -> tuple[int, int, bool]:
        _name, colon, own = stone_id.partition(":")
        if uuid:
            packed, exact = _nearest_uuid(own), False
        else:
            data = own.encode()
            packed = int.from_bytes(data[:_TEXT_BYTES].ljust(_TEXT_BYTES, b"\0"), "big")
            exact = len(data) <= _TEXT_BYTES and not data.endswith(b"\0") and bool(colon)
        return packed >> 64, packed & (1 << 64) - 1, exact


def _nearest_uuid(text: str) -> int:
    """The greatest 128 bits whose UUID is not behind the text, or 0."""
    digits: list[int] = []
    for place in range(36):
        character = text[place] if place < len(text) else ""
        if place in _DASHES:
            if character == "-":
                continue
            return _filled(digits, after=character > "-")
        digit = bisect_left(_HEX, character)
        if digit < 16 and _HEX[digit] == character:
            digits.append(digit)
            continue
        if digit == 0:
            return _filled(digits, after=False)
        return _filled([*digits, digit - 1], after=True)
    return _filled(digits, after=True)


def _filled(digits: list[int], *, after: bool) -> int:
    """The digits, and behind them the greatest number when the text is behind all that begin so, else the one before."""
    room = 4 * (32 - len(digits))
    begin = 0
    for digit in digits:
        begin = begin << 4 | digit
    begin <<= room
    return begin + (1 << room) - 1 if after else max(0, begin - 1)


_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class IdTable:
    """Finds the row of an id: open addressing, four bytes a slot."""

    def __init__(self, slots: int = 2048) -> None:
        self.slots: NDArray[np.int32] = np.full(slots, id_kernels.EMPTY, dtype=np.int32)
        self._taken = 0

    def is_tight(self, more: int) -> bool:
        """Whether it must be made anew before so many are entered."""
        return 3 * (self._taken + more) > 2 * len(self.slots)

    def rebuild(self, more: int, rows: NDArray[np.int32], columns: tuple[Any, Any, Any]) -> None:
        """Make it anew from the rows it holds, with room for more."""
        size = len(self.slots)
        while 3 * (len(rows) + more) > 2 * size:
            size *= 2
        slots = np.full(size, id_kernels.EMPTY, dtype=np.int32)
        self._taken = int(id_kernels.add_rows(rows, slots, *columns))
        # Whoever searches meanwhile has the former one or this one, whole.
        self.slots = slots

    def add(self, rows: NDArray[np.int32], columns: tuple[Any, Any, Any]) -> None:
        """Enter rows whose ids are not there yet."""
        self._taken += id_kernels.add_rows(rows, self.slots, *columns)

    def find(self, feed: int, high: int, low: int, columns: tuple[Any, Any, Any]) -> int | None:
        """The row of one id, without the cost of arrays."""
        id_feed, id_high, id_low = columns
        slots = self.slots
        last = len(slots) - 1
        slot = slot_of(feed, high, low) & last
        while (row := int(slots[slot])) != id_kernels.EMPTY:
            if row >= 0 and int(id_high[row]) == high and int(id_low[row]) == low and id_feed[row] == feed:
                return row
            slot = (slot + 1) & last
        return None


def slot_of(feed: int, high: int, low: int) -> int:
    """Where the search for an id begins; as `api.engine.kernels.ids` has it."""
    mixed = (high ^ (low * 0x9E3779B97F4A7C15 & _WORD) ^ feed) * 0xBF58476D1CE4E5B9 & _WORD
    return mixed >> 20
