"""Finds texts that were entered before, in machine code. The loops of `connectors.records.dictionary`."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from connectors.records.plain import WORD_BYTES, compiled
from connectors.records.scan import LENGTH, LENGTH_BITS
from connectors.records.words import prefetch, word

SLOT: Final = 5
"""What a text's slot holds: see `enter`."""
_BLOCK: Final = 64
_ALL: Final = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _word(data: Any, at: int, end: int) -> Any:
    """The next bytes of a text that ends there, eight at most, as one number."""
    left = end - at
    if at + WORD_BYTES <= len(data):
        if left >= WORD_BYTES:
            return word(data, at)
        return word(data, at) & (_ALL >> np.uint64(8 * (WORD_BYTES - left)))
    number = np.uint64(0)
    for place in range(min(left, WORD_BYTES)):
        number |= np.uint64(data[at + place]) << np.uint64(8 * place)
    return number


@compiled
def _ends_of(data: Any, begin: int, end: int) -> tuple[Any, Any]:
    """The first and the last eight bytes of a text as numbers; of one that has no more than eight, all of it and nothing."""
    last = _word(data, end - WORD_BYTES, end) if end - begin > WORD_BYTES else np.uint64(0)
    return _word(data, begin, end), last


@compiled
def _slot(first: Any, last: Any, told: Any, size: int) -> Any:
    """Where the search for a text begins."""
    mixed = (first ^ (last * np.uint64(0xBF58476D1CE4E5B9)) ^ told) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@compiled
def _told(column: int, length: int) -> Any:
    """A column and a length as one number, never 0."""
    return np.uint64(((column + 1) << LENGTH_BITS) | length)


@compiled
def enter(first: int, behind: int, slots: Any, texts: Any, ends: Any, owners: Any, codes: Any) -> None:
    """Enter the texts in [first, behind), each of the column that owns it; text n ends at `ends[n]`, where n - 1 ends it begins.

    Args:
        slots: shape (a power of two, `SLOT`): a text's first and last eight bytes, its column and length, its code, and where
            it begins.
    """
    size = len(slots)
    for entry in range(first, behind):
        begin, end = ends[entry - 1], ends[entry]
        head, tail = _ends_of(texts, begin, end)
        told = _told(owners[entry], end - begin)
        slot = _slot(head, tail, told, size)
        while slots[slot, 2] != 0:
            slot = (slot + 1) & (size - 1)
        slots[slot, 0], slots[slot, 1], slots[slot, 2] = head, tail, told
        slots[slot, 3], slots[slot, 4] = codes[entry], begin


@compiled
def find(data: Any, table: Any, rows: Any, slots: Any, texts: Any, found: Any) -> None:
    """The codes of texts: 0 for none, -1 for a text that was not entered.

    A column after the other, of so many stones at once as the processor's caches hold.

    Args:
        table, rows: spans; row `rows[column]` has the column's.
        found: shape (columns, texts).
    """
    size = len(slots)
    for block in range(0, table.shape[1], _BLOCK):
        behind = min(block + _BLOCK, table.shape[1])
        for column in range(len(rows)):
            row = rows[column]
            for i in range(block, behind):
                if table[row, i] >= 0:
                    prefetch(data.ctypes.data + (table[row, i] >> LENGTH_BITS))
        for column in range(len(rows)):
            row = rows[column]
            for i in range(block, behind):
                span = table[row, i]
                if span < 0:
                    found[column, i] = 0
                    continue
                begin, length = span >> LENGTH_BITS, span & LENGTH
                end = begin + length
                head, tail = _ends_of(data, begin, end)
                told = _told(column, length)
                slot = _slot(head, tail, told, size)
                code = np.int64(-1)
                while slots[slot, 2] != 0:
                    equal = slots[slot, 0] == head and slots[slot, 1] == tail and slots[slot, 2] == told
                    if equal:
                        shift = np.int64(slots[slot, 4]) - begin
                        for at in range(begin + WORD_BYTES, end - WORD_BYTES, WORD_BYTES):
                            equal = equal and word(data, at) == word(texts, at + shift)
                        if equal:
                            code = np.int64(slots[slot, 3])
                            break
                    slot = (slot + 1) & (size - 1)
                found[column, i] = code
