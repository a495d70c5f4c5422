"""Which stones a new rule set leaves as they are: told by columns, a million of them a second.

A stone whose price, currency, rule and rating stay the same is not written again: it goes on naming the number it was
priced under, and its price is what that number gives. The columns are read from the memory's records while nothing
else is to be done, so that a new number finds them ready.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT, Columns
from schemas.ruleset import PublishedRuleSet
from streams.bulk import BulkBook
from streams.memory import Memory
from streams.pricing import bucket, sides
from streams.shelf import BUCKET, Shelf, attributes_of
from streams.stock import record_of

_COMPARED: Final = frozenset({"price_cents", "currency", "rule", "rating", "feed"})
_ROW: Final = "memory_row"
_OFFSET: Final = "read_offset"


class Unchanged:
    """The columns, and the comparison. One thread at a time."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._names: frozenset[str] = frozenset()
        self._read_offsets = np.empty(0, dtype=np.int64)
        self._begin(_COMPARED)

    def read(self, published: PublishedRuleSet, feeds: Collection[str], limit: int) -> int:
        """Bring at most `limit` stones of these feeds that are new or newer into the columns; how many are left then."""
        wanted = attributes_of(published) | _COMPARED
        if not wanted <= self._names:
            self._begin(wanted | self._names)
        stale = self._memory.rows_newer_than(feeds, self._read_offsets)
        rows, offsets, bodies = self._memory.records(stale[:limit])
        if len(rows):
            self._put(rows, offsets, [self._decode(body) for body in bodies])
        return max(0, len(stale) - limit)

    def look(self, published: PublishedRuleSet) -> int:
        """Tell the memory which stones stay as they are under this number; how many those are."""
        used = self._columns.used
        currencies = {side.content.currency for side in sides(published)}
        if not used or len(currencies) > 1:
            # Two currencies under one number: each stone is looked at on its own.
            return 0
        shelf = self._shelf()
        book = BulkBook(published, shelf)
        rules = self._columns.codes["rule"]
        names = np.array([-1 if (code := rules.find(name)) is None else code for name in book.names])
        currency = self._columns.codes["currency"].find(currencies.pop())
        same = np.zeros(used, dtype=np.bool_)
        for rows in book.lots():
            lot = book.lot(rows)
            rating = shelf.arrays["rating"][rows]
            same[rows] = (
                (lot.price_cents == shelf.arrays["price_cents"][rows])
                & (names[lot.terms] == shelf.arrays["rule"][rows])
                & (lot.rating == np.where(rating == NULL_INT, 0, rating))
            )
        same &= shelf.arrays["currency"] == (-1 if currency is None else currency)
        looked = np.flatnonzero(same)
        return self._memory.leave_as_they_are(
            self._columns[_ROW][looked], self._columns[_OFFSET][looked], published.number
        )

    def _begin(self, names: frozenset[str]) -> None:
        self._names = names
        self._columns = Columns(sorted(names), extra=(BUCKET, _ROW, _OFFSET))
        self._read_offsets = np.empty(0, dtype=np.int64)
        self._decode = msgspec.json.Decoder(record_of(sorted(names))).decode

    def _put(self, rows: NDArray[np.int64], offsets: NDArray[np.int64], stones: list[Any]) -> None:
        places = self._columns.put(stones)
        arrays = self._columns.arrays
        arrays[BUCKET][places] = [bucket(stone.id) for stone in stones]
        arrays[_ROW][places], arrays[_OFFSET][places] = rows, offsets
        if rows.max() >= len(self._read_offsets):
            grown = np.full(2 * (int(rows.max()) + 1), -1, dtype=np.int64)
            grown[: len(self._read_offsets)] = self._read_offsets
            self._read_offsets = grown
        self._read_offsets[rows] = offsets

    def _shelf(self) -> Shelf:
        columns = self._columns
        return Shelf(
            ids=list(columns.rows),
            arrays={name: columns[name] for name in self._names},
            texts={name: tuple(codes.texts) for name, codes in columns.codes.items()},
            buckets=columns[BUCKET],
        )
