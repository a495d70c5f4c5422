"""Codes of texts as they lie in records, found without an object a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.records import lookup
from connectors.records.scan import text_at
from schemas.columns import Codes

_ROOM: Final = 64
_BYTES_A_TEXT: Final = 16


class Dictionary:
    """Finds the codes of several columns' texts, a stone after the other: then each stone's bytes come into the caches once.

    Args:
        columns: what gives each column's texts their codes; others may add to them as well.
    """

    def __init__(self, columns: Sequence[Codes]) -> None:
        self._columns = columns
        self._entered = [1] * len(columns)
        self._count = 1
        self._slots = _empty(2 * _ROOM)
        # By entry its column, its code, and where its text ends in their bytes, one behind the other.
        self._owners: NDArray[np.int32] = np.zeros(_ROOM, dtype=np.int32)
        self._codes: NDArray[np.int32] = np.zeros(_ROOM, dtype=np.int32)
        self._ends: NDArray[np.int64] = np.zeros(_ROOM, dtype=np.int64)
        self._bytes: NDArray[np.uint8] = np.zeros(_BYTES_A_TEXT * _ROOM, dtype=np.uint8)

    def find(
        self, data: NDArray[np.uint8], table: NDArray[np.int64], rows: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """The code of each text, 0 for null, -1 for a text without one.

        Args:
            data: where the texts lie.
            table: their spans, among others.
            rows: which row of the table has each column's.
        """
        for column, codes in enumerate(self._columns):
            if self._entered[column] < len(codes):
                self._enter(column, codes.texts[self._entered[column] :])
        found = np.empty((len(rows), table.shape[1]), dtype=np.int32)
        lookup.find(data, table, rows, self._slots, self._bytes, found)
        return found

    def add(
        self, data: NDArray[np.uint8], table: NDArray[np.int64], rows: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """The same, and texts that have no code get one, in order."""
        found = self.find(data, table, rows)
        if found.min(initial=0) < 0:
            for column, place in np.argwhere(found < 0).tolist():
                text = text_at(data, int(table[rows[column], place]))
                found[column, place] = self._columns[column].add(text)
        return found

    def _enter(self, column: int, texts: Sequence[str | None]) -> None:
        new = [(text or "").encode() for text in texts]
        first, count = self._count, self._count + len(new)
        begin = int(self._ends[first - 1])
        end = begin + sum(map(len, new))
        self._owners, self._codes, self._ends = (
            _reaching(array, count) for array in (self._owners, self._codes, self._ends)
        )
        self._bytes = _reaching(self._bytes, end)
        self._owners[first:count] = column
        self._codes[first:count] = np.arange(self._entered[column], self._entered[column] + len(new))
        self._ends[first:count] = begin + np.cumsum([len(text) for text in new])
        self._bytes[begin:end] = np.frombuffer(b"".join(new), np.uint8)
        if 2 * count > len(self._slots):
            self._slots = _empty(4 * len(self._ends))
            first = 1
        entries = (self._bytes, self._ends, self._owners, self._codes)
        lookup.enter(first, count, self._slots, *entries)
        self._entered[column] += len(new)
        self._count = count


def _empty(slots: int) -> NDArray[np.uint64]:
    return np.zeros((slots, lookup.SLOT), dtype=np.uint64)


def _reaching(array: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= len(array):
        return array
    larger = np.zeros(1 << (size - 1).bit_length(), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
