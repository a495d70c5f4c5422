"""The records of a batch, and which of them are the newest of their keys, in machine code."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from connectors.records.plain import compiled

NULL: Final = -1
"""Where a null begins and ends."""

_EMPTY: Final = np.uint64(0)
_FORGOTTEN: Final = np.uint64(2)
_FIRST: Final = np.uint64(0xCBF29CE484222325)
_SECOND: Final = np.uint64(0x9E3779B97F4A7C15)
_PRIME: Final = np.uint64(0x100000001B3)
_OTHER_PRIME: Final = np.uint64(0xBF58476D1CE4E5B9)
_ONE: Final = np.uint64(1)
_HALF: Final = np.uint64(32)


@compiled
def _number(data: Any, at: int, end: int) -> tuple[Any, int]:
    """An integer of seven bits a byte, the lowest first and the sign last, and the place behind it; -1 beyond the end."""
    value, shift = np.uint64(0), np.uint64(0)
    while at < end and shift < 64:
        byte = np.uint64(data[np.uintp(at)])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < 128:
            return np.int64(value >> _ONE) ^ -np.int64(value & _ONE), at
        shift += np.uint64(7)
    return 0, -1


@compiled
def _stretch(data: Any, at: int, end: int) -> tuple[int, int, int]:
    """Where the bytes behind their length begin and end, and the place behind them; -1 where they do not fit."""
    length, at = _number(data, at, end)
    if at < 0 or length > end - at:
        return 0, 0, -1
    if length < 0:
        return NULL, NULL, at
    return at, at + length, at + length


@compiled
def split(
    data: Any,
    begin: int,
    end: int,
    count: int,
    base: int,
    at_ms: int,
    appended: bool,
    low: int,
    behind: int,
    offsets: Any,
    times: Any,
    keys: Any,
    values: Any,
    headers: Any,
    first: int,
) -> int:
    """Find the records of one batch whose offsets are in [low, behind); how many, or -1 if the batch is damaged.

    Args:
        data: decompressed batches; this one's records are in [begin, end).
        count: how many it has.
        base: its first offset.
        at_ms: when its records were written, if `appended`; else what each one's own time is counted from.
        offsets: and the next four are filled from `first` on; of shape (records,), `keys` and `values` (2, records).
    """
    at, found = begin, first
    for _ in range(count):
        length, at = _number(data, at, end)
        if at < 0 or length < 1 or length > end - at:
            return -1
        behind_record = at + length
        # Behind the attributes, of which none is defined.
        since_ms, at = _number(data, at + 1, behind_record)
        if at < 0:
            return -1
        delta, at = _number(data, at, behind_record)
        if at < 0:
            return -1
        key_begin, key_end, at = _stretch(data, at, behind_record)
        if at < 0:
            return -1
        value_begin, value_end, at = _stretch(data, at, behind_record)
        # At least the number of headers follows.
        if not 0 <= at < behind_record:
            return -1
        if low <= base + delta < behind:
            offsets[found] = base + delta
            times[found] = at_ms if appended else at_ms + since_ms
            keys[0, found], keys[1, found] = key_begin, key_end
            values[0, found], values[1, found] = value_begin, value_end
            headers[found] = at
            found += 1
        at = behind_record
    return found - first


@compiled
def _mixed(data: Any, begin: int, end: int) -> tuple[Any, Any]:
    """128 bits of a key; the first half is odd, so that it is neither empty nor forgotten."""
    first, second = _FIRST, _SECOND
    for at in range(np.uintp(begin), np.uintp(end)):
        byte = np.uint64(data[at])
        first = (first ^ byte) * _PRIME
        second = (second ^ byte) * _OTHER_PRIME
        second ^= second >> _HALF
    return (first ^ (first >> _HALF)) | _ONE, second


@compiled
def _slot(table: Any, first: Any, second: Any) -> Any:
    """Where a key is in the table, or where it would be entered."""
    last = np.uint64(len(table) - 1)
    slot = second & last
    while table[slot, 0] != _EMPTY and (table[slot, 0] != first or table[slot, 1] != second):
        slot = (slot + _ONE) & last
    return np.int64(slot)


@compiled
def enter_newest(data: Any, keys: Any, table: Any, newest: Any) -> int:
    """Say which records have keys that are not in the table yet, from the last to the first, and enter them; how many.

    Args:
        keys: shape (2, records).
        table: shape (slots, 2), a power of two and with room for all.
    """
    entered = 0
    for record in range(keys.shape[1] - 1, -1, -1):
        first, second = _mixed(data, keys[0, record], keys[1, record])
        slot = _slot(table, first, second)
        newest[record] = table[slot, 0] == _EMPTY
        if newest[record]:
            table[slot, 0], table[slot, 1] = first, second
            entered += 1
    return entered


@compiled
def enter_again(held: Any, table: Any) -> None:
    """Enter what another table holds."""
    for place in range(len(held)):
        if held[place, 0] > _FORGOTTEN:
            slot = _slot(table, held[place, 0], held[place, 1])
            table[slot, 0], table[slot, 1] = held[place, 0], held[place, 1]


@compiled
def forget(data: Any, begin: int, end: int, table: Any) -> None:
    """Take a key out of the table that is in it."""
    first, second = _mixed(data, begin, end)
    table[_slot(table, first, second), 0] = _FORGOTTEN
