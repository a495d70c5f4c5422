"""Texts as they lie in records: bytes, and spans that say where (`connectors.records.scan`)."""

from __future__ import annotations

import numpy as np

from api.engine.kernels.bits import prefetch
from connectors.records.words import word
from runtime.kernels import njit

_LENGTH_BITS = 28
_LENGTH = (1 << _LENGTH_BITS) - 1
_WORD = 8
_BLOCK = 64

SLOT = 5
"""What a text's slot holds: see `enter`."""
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(cache=True, nogil=True)
def _word(data, at, end):
    """The next bytes of a text that ends there, eight at most, as one number."""
    left = end - at
    if at + _WORD <= len(data):
        if left >= _WORD:
            return word(data, at)
        return word(data, at) & (_ALL >> np.uint64(8 * (_WORD - left)))
    number = np.uint64(0)
    for place in range(min(left, _WORD)):
        number |= np.uint64(data[at + place]) << np.uint64(8 * place)
    return number


@njit(cache=True, nogil=True)
def _ends_of(data, begin, end):
    """The first and the last eight bytes of a text as numbers; of one that has no more than eight, all of it and nothing."""
    return _word(data, begin, end), _word(data, end - _WORD, end) if end - begin > _WORD else np.uint64(0)


@njit(cache=True, nogil=True)
def _slot(first, last, told, size):
    """Where the search for a text begins."""
    mixed = (first ^ (last * np.uint64(0xBF58476D1CE4E5B9)) ^ told) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@njit(cache=True, nogil=True)
def _told(column, length):
    """A column and a length as one number, never 0."""
    return np.uint64(((column + 1) << _LENGTH_BITS) | length)


@njit(cache=True, nogil=True)
def enter(first, behind, slots, texts, ends, owners, codes):
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


@njit(cache=True, nogil=True)
def find(data, table, rows, slots, texts, found):
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
                    prefetch(data.ctypes.data + (table[row, i] >> _LENGTH_BITS))
        for column in range(len(rows)):
            row = rows[column]
            for i in range(block, behind):
                span = table[row, i]
                if span < 0:
                    found[column, i] = 0
                    continue
                begin, length = span >> _LENGTH_BITS, span & _LENGTH
                end = begin + length
                head, tail = _ends_of(data, begin, end)
                told = _told(column, length)
                slot = _slot(head, tail, told, size)
                code = -1
                while slots[slot, 2] != 0:
                    equal = slots[slot, 0] == head and slots[slot, 1] == tail and slots[slot, 2] == told
                    if equal:
                        shift = np.int64(slots[slot, 4]) - begin
                        for at in range(begin + _WORD, end - _WORD, _WORD):
                            equal = equal and word(data, at) == word(texts, at + shift)
                        if equal:
                            code = np.int64(slots[slot, 3])
                            break
                    slot = (slot + 1) & (size - 1)
                found[column, i] = code


@njit(cache=True, nogil=True)
def pack(data, spans, symbols, other, base, characters, packed, odd):
    """Texts as numbers of so many characters, 0 for none; `odd` are those that are more than their number says.

    Args:
        symbols: by ASCII code.
        other: the symbol of a character without one.
    """
    for i in range(len(spans)):
        span = spans[i]
        number, is_odd = np.uint64(0), False
        if span >= 0:
            begin, length = span >> _LENGTH_BITS, span & _LENGTH
            is_odd = length == 0 or length > characters
            for place in range(characters):
                symbol = np.uint64(0)
                if place < length:
                    byte = data[begin + place]
                    symbol = symbols[byte] if byte < 128 else other
                    is_odd = is_odd or symbol == other or symbol == 0
                number = number * base + symbol
        packed[i], odd[i] = number, is_odd


@njit(cache=True, nogil=True)
def read_ids(data, spans, feeds, high, low, good):
    """Ids cut at their first colon: the feeds' spans, and the 128 bits of UUIDs as everybody writes them, in lower case.

    `good` says which are; the bits of others mean nothing. An id without a colon is all feed.
    """
    for i in range(len(spans)):
        begin, length = spans[i] >> _LENGTH_BITS, spans[i] & _LENGTH
        colon = 0
        while colon < length and data[begin + colon] != 58:
            colon += 1
        feeds[i] = begin << _LENGTH_BITS | colon
        at = begin + colon + 1
        fine = length - colon - 1 == 36
        h, w, digits = np.uint64(0), np.uint64(0), 0
        if fine:
            for j in range(36):
                c = np.int64(data[at + j])
                if j == 8 or j == 13 or j == 18 or j == 23:
                    fine = fine and c == 45
                    continue
                if 48 <= c <= 57:
                    digit = c - 48
                elif 97 <= c <= 102:
                    digit = c - 87
                else:
                    fine = False
                    digit = 0
                if digits < 16:
                    h = (h << np.uint64(4)) | np.uint64(digit)
                else:
                    w = (w << np.uint64(4)) | np.uint64(digit)
                digits += 1
        high[i], low[i], good[i] = h, w, fine
