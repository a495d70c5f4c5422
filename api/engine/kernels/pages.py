"""Records in mapped files: a page's items copied out of them in one go, for they lie far apart, and their misses overlap here.

Memory is read by its address. Each place is checked against the size of its file first, so that nothing else is read.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from api.engine.kernels.bits import copy, pointer, prefetch
from connectors.records.words import word
from runtime.kernels import njit

HEADER_BYTES = 12
"""Before each record: its length, and where its item begins and ends; 32 bits each, the lowest byte first."""

_SHIFT = 32
_WORD = 8
_LINE = 64
_OFFSET = (1 << _SHIFT) - 1
_OPEN, _CLOSE, _COMMA, _BEGIN, _END = b"[],{}"


@njit(cache=True)
def _number(bytes_, at):
    """32 bits."""
    return (
        np.int64(bytes_[at])
        | np.int64(bytes_[at + 1]) << 8
        | np.int64(bytes_[at + 2]) << 16
        | np.int64(bytes_[at + 3]) << 24
    )


@njit(cache=True)
def items(rows, places, addresses, sizes):
    """The items of some rows as a JSON array; empty when one of them has none.

    Args:
        rows: whose items.
        places: by row, the file's number in the upper half and the record's offset in the lower; negative for none.
        addresses, sizes: of the files' mappings, by number; 0 for those that are no more.
    """
    begins, lengths = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
    total = 2 if len(rows) == 0 else 1 + 3 * len(rows)
    for i in range(len(rows)):
        if rows[i] < 0 or rows[i] >= len(places):
            return np.empty(0, dtype=np.uint8)
        file, offset = places[rows[i]] >> _SHIFT, places[rows[i]] & _OFFSET
        if file < 0 or file >= len(addresses) or offset + HEADER_BYTES > sizes[file]:
            return np.empty(0, dtype=np.uint8)
        header = carray(pointer(addresses[file] + offset), (HEADER_BYTES,))
        begin, end = _number(header, 4), _number(header, 8)
        if begin > end or offset + HEADER_BYTES + end > sizes[file]:
            return np.empty(0, dtype=np.uint8)
        begins[i], lengths[i] = addresses[file] + offset + HEADER_BYTES + begin, end - begin
        total += end - begin
        for line in range(begins[i], begins[i] + lengths[i], _LINE):
            prefetch(line)
    out = np.empty(total, dtype=np.uint8)
    out[0], out[total - 1] = _OPEN, _CLOSE
    at = 1
    for i in range(len(rows)):
        if i > 0:
            out[at] = _COMMA
            at += 1
        out[at] = _BEGIN
        at += 1
        # A slice of an array would be copied byte by byte.
        copy(out.ctypes.data + at, begins[i], lengths[i])
        at += lengths[i]
        out[at] = _END
        at += 1
    return out


@njit(cache=True, nogil=True)
def _put_number(bytes_, at, number):
    """32 bits."""
    for place in range(4):
        bytes_[at + place] = (number >> (8 * place)) & 255


@njit(cache=True, nogil=True)
def frame(data, records, borders, out):
    """Copy records behind their headers, one behind the other.

    Args:
        records: shape (2, records): where each begins and ends in `data`.
        borders: the same of each one's public stretch, from the record's beginning on.
        out: as long as all of them and their headers.
    """
    at = 0
    for i in range(records.shape[1]):
        length = records[1, i] - records[0, i]
        _put_number(out, at, length)
        _put_number(out, at + 4, borders[0, i])
        _put_number(out, at + 8, borders[1, i])
        copy(out.ctypes.data + at + HEADER_BYTES, data.ctypes.data + records[0, i], length)
        at += HEADER_BYTES + length


@njit(cache=True, nogil=True)
def same_up_to_provenance(data, records, rows, places, addresses, sizes, provenance, same):
    """Which records are, up to their provenance, what is kept of their rows.

    Args:
        data, records: as `frame` has them.
        rows: of each, negative where none is kept.
        places, addresses, sizes: as `items` has them.
        provenance: how it begins.
    """
    for i in range(len(rows)):
        same[i] = False
        if rows[i] < 0 or rows[i] >= len(places):
            continue
        file, offset = places[rows[i]] >> _SHIFT, places[rows[i]] & _OFFSET
        if file < 0 or file >= len(addresses) or offset + HEADER_BYTES > sizes[file]:
            continue
        header = carray(pointer(addresses[file] + offset), (HEADER_BYTES,))
        end, begin = _number(header, 8), records[0, i]
        if end + len(provenance) > records[1, i] - begin or offset + HEADER_BYTES + end > sizes[file]:
            continue
        kept = carray(pointer(addresses[file] + offset + HEADER_BYTES), (end,))
        equal = True
        for place in range(len(provenance)):
            equal = equal and data[begin + end + place] == provenance[place]
        place = 0
        while equal and place + _WORD <= end:
            equal = word(data, begin + place) == word(kept, place)
            place += _WORD
        while equal and place < end:
            equal = data[begin + place] == kept[place]
            place += 1
        same[i] = equal
