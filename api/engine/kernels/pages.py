"""Records in mapped files: a page's items copied out of them in one go, for they lie far apart, and their misses overlap here.

Memory is read by its address. Each place is checked against the size of its file first, so that nothing else is read.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from api.engine.kernels.bits import copy, pointer
from connectors.records.words import prefetch, word
from runtime.kernels import njit

HEADER_BYTES = 16
"""Before each record: its length, where its item begins and ends, and where its price stands, 0 where nobody knows; 32 bits
each, the lowest byte first."""

OTHER, PRICED, SHOWN = range(3)
"""What a record has in common with the one that is kept: less than its content, that, or all that an item shows."""

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
        borders: shape (3, records): where each one's public stretch begins and ends and its price stands, from the record's
            beginning on.
        out: as long as all of them and their headers.
    """
    at = 0
    for i in range(records.shape[1]):
        length = records[1, i] - records[0, i]
        _put_number(out, at, length)
        _put_number(out, at + 4, borders[0, i])
        _put_number(out, at + 8, borders[1, i])
        _put_number(out, at + 12, borders[2, i])
        copy(out.ctypes.data + at + HEADER_BYTES, data.ctypes.data + records[0, i], length)
        at += HEADER_BYTES + length


@njit(cache=True, nogil=True)
def compare(data, records, rows, places, addresses, sizes, provenance, common, borders):
    """What records have in common with those that are kept of their rows: `OTHER`, `PRICED` or `SHOWN`.

    Args:
        data, records: as `frame` has them.
        rows: of each, negative where none is kept.
        places, addresses, sizes: as `items` has them.
        provenance: how it begins.
        common: the answer.
        borders: shape (3, records): those of the records that are kept, where one is.
    """
    for i in range(len(rows)):
        common[i] = OTHER
        if rows[i] < 0 or rows[i] >= len(places):
            continue
        file, offset = places[rows[i]] >> _SHIFT, places[rows[i]] & _OFFSET
        if file < 0 or file >= len(addresses) or offset + HEADER_BYTES > sizes[file]:
            continue
        header = carray(pointer(addresses[file] + offset), (HEADER_BYTES,))
        end, price, begin = _number(header, 8), _number(header, 12), records[0, i]
        if end + len(provenance) > records[1, i] - begin or offset + HEADER_BYTES + end > sizes[file]:
            continue
        borders[0, i], borders[1, i], borders[2, i] = _number(header, 4), end, price
        kept = carray(pointer(addresses[file] + offset + HEADER_BYTES), (end,))
        shared = 0
        while shared + _WORD <= end and word(data, begin + shared) == word(kept, shared):
            shared += _WORD
        while shared < end and data[begin + shared] == kept[shared]:
            shared += 1
        if shared == end:
            goes_on = False
            for place in range(len(provenance)):
                goes_on = goes_on or data[begin + end + place] != provenance[place]
            if not goes_on:
                common[i] = SHOWN
                continue
        if 0 < price <= shared:
            common[i] = PRICED
