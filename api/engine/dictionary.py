"""Codes of texts as they lie in records, found without an object a text."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.kernels import texts as text_kernels
from api.values import text_at
from schemas.columns import Codes

_ROOM: Final = 64
_BYTES_A_TEXT: Final = 16


class Dictionary:
    """Finds the codes of `codes`, which others may add to as well.

    Args:
        codes: what gives texts their codes.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes
        self._entered = 1
        # Code by hash, 0 for none; the texts' bytes one behind the other, and by code where each ends.
        self._slots: NDArray[np.int32] = np.zeros(2 * _ROOM, dtype=np.int32)
        self._ends: NDArray[np.int64] = np.zeros(_ROOM, dtype=np.int64)
        self._bytes: NDArray[np.uint8] = np.zeros(_BYTES_A_TEXT * _ROOM, dtype=np.uint8)

    def find(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> NDArray[np.int32]:
        """The code of each text, 0 for null, -1 for a text without one."""
        self._catch_up()
        found = np.empty(len(spans), dtype=np.int32)
        text_kernels.find(data, spans, self._slots, self._bytes, self._ends, found)
        return found

    def add(self, data: NDArray[np.uint8], spans: NDArray[np.int64]) -> NDArray[np.int32]:
        """The code of each text, 0 for null; those that have none get one, in order."""
        found = self.find(data, spans)
        for place in np.flatnonzero(found < 0).tolist():
            found[place] = self._codes.add(text_at(data, int(spans[place])))
        return found

    def _catch_up(self) -> None:
        count = len(self._codes)
        if self._entered == count:
            return
        new = [(text or "").encode() for text in self._codes.texts[self._entered :]]
        first, begin = self._entered, int(self._ends[self._entered - 1])
        end = begin + sum(map(len, new))
        self._ends = _reaching(self._ends, count)
        self._bytes = _reaching(self._bytes, end)
        self._ends[first:count] = begin + np.cumsum([len(text) for text in new])
        self._bytes[begin:end] = np.frombuffer(b"".join(new), np.uint8)
        if 2 * count > len(self._slots):
            self._slots = np.zeros(4 * len(self._ends), dtype=np.int32)
            first = 1
        text_kernels.enter(first, count, self._slots, self._bytes, self._ends)
        self._entered = count


def _reaching(array: NDArray[Any], size: int) -> NDArray[Any]:
    if size <= len(array):
        return array
    larger = np.zeros(1 << (size - 1).bit_length(), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
