"""Texts as they lie in records: bytes, and spans that say where (`connectors.records.scan`)."""

from __future__ import annotations

import numpy as np

from runtime.kernels import njit

_LENGTH_BITS = 28
_LENGTH = (1 << _LENGTH_BITS) - 1


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
