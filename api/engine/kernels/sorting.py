"""Finding the first of many in an order.

A sorting key is one number a stone: the attribute first (unknown last), then the feed, then as much of the id as there
is room for. It has 63 bits, some of them for the attribute. Spans and words of a mask: see `marks`.
"""

from __future__ import annotations

import numpy as np

from api.engine.kernels.marks import ones
from api.engine.limits import GREATEST, LEAST
from connectors.records.words import trailing_zeros
from runtime.kernels import njit


@njit(cache=True)
def _component(value, null, descending, offset, bits):
    """The attribute's part of a key; -1 when it does not fit."""
    last = (np.int64(1) << bits) - 1
    if value == null:
        return last
    shifted = np.int64(value) - offset
    if shifted < 0 or shifted >= last:
        return np.int64(-1)
    return last - 1 - shifted if descending else shifted


@njit(cache=True)
def _with_id(key, room, feed_rank, id_high):
    """The key with as much of feed and id behind it as there is room for."""
    if room == 0:
        return key
    rest = (np.uint64(feed_rank) << np.uint64(59)) | (id_high >> np.uint64(5))
    return (key << room) | np.int64(rest >> np.uint64(64 - room))


@njit(cache=True)
def _add_ids(keys, places, begin, end, room, row_at, feed_rank, id_feed, id_high):
    """Complete the keys of a stretch whose bits for feed and id are 0."""
    for i in range(begin, end):
        row = row_at[places[i]]
        keys[i] = _with_id(keys[i] >> room, room, feed_rank[id_feed[row]], id_high[row])


@njit(cache=True)
def _swap(keys, places, one, other):
    keys[one], keys[other] = keys[other], keys[one]
    places[one], places[other] = places[other], places[one]


@njit(cache=True)
def _shrink(keys, places, count, most):
    """Keep the `most` smallest keys and what equals the last of them; (how many that are, the last of them).

    By quickselect of our own: numpy's partition takes five seconds to compile.
    """
    low, high, wanted = 0, count - 1, most - 1
    while low < high:
        pivot = keys[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while keys[i] < pivot:
                i += 1
            while keys[j] > pivot:
                j -= 1
            if i <= j:
                _swap(keys, places, i, j)
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    border = keys[wanted]
    kept = most
    for i in range(most, count):
        if keys[i] == border:
            _swap(keys, places, kept, i)
            kept += 1
    return kept, border


@njit(cache=True)
def _split(keys, places, count, index):
    """Bring the keys that are smaller than the one at `index`, once in order, before all others; how many they are."""
    _, border = _shrink(keys, places, count, index + 1)
    smaller = 0
    for i in range(count):
        if keys[i] < border:
            _swap(keys, places, smaller, i)
            smaller += 1
    return smaller


@njit(cache=True)
def _sort(keys, places, begin, end):
    """Sort a stretch."""
    gap = 1
    while gap < (end - begin) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(begin + gap, end):
            key, place = keys[i], places[i]
            j = i - gap
            while j >= begin and keys[j] > key:
                keys[j + gap] = keys[j]
                places[j + gap] = places[j]
                j -= gap
            keys[j + gap] = key
            places[j + gap] = place
        gap //= 3


@njit(cache=True)
def _put_in_order(keys, places, count, skip, most, room, row_at, feed_rank, id_feed, id_high):
    """Order the candidates from place `skip` on, by their ids where keys are equal; keep `most` and what equals the last.

    Args:
        room: bits for the id, 0 in all keys; no bits when the keys are whole already.

    Returns:
        How many, and whether no two keys of those in order are equal.
    """
    if count > most:
        count, _ = _shrink(keys, places, count, most)
    begin = 0
    if 0 < skip < count:
        begin = _split(keys, places, count, skip)
    _sort(keys, places, begin, count)
    distinct = True
    while begin < count:
        end = begin + 1
        while end < count and keys[end] == keys[begin]:
            end += 1
        if room > 0 and end - begin > 1:
            # Ids are looked up where all else is equal only: each is a wait for memory.
            _add_ids(keys, places, begin, end, room, row_at, feed_rank, id_feed, id_high)
            _sort(keys, places, begin, end)
            for i in range(begin + 1, end):
                distinct = distinct and keys[i] != keys[i - 1]
        elif end - begin > 1:
            distinct = False
        begin = end
    kept = min(count, most)
    while 0 < kept < count and keys[kept] == keys[kept - 1]:
        kept += 1
    return kept, distinct


@njit(cache=True)
def _bounds(floor, ceiling, descending, offset, last):
    """The least and greatest number whose part of a key lies in [floor, ceiling], or does not fit into a key."""
    low, high = np.int64(-(2**63)), np.int64(2**63 - 1)
    if floor > 0:
        if descending:
            high = last - 1 - floor + offset
        else:
            low = floor + offset
    if ceiling < last:
        if descending:
            low = last - 1 - ceiling + offset
        else:
            high = ceiling + offset
    return low, high


@njit(cache=True)
def _keep_within(mask, values, low, high, near):
    """Copy a mask of candidates whose value is in [low, high], filled up to whole words; whether there are any."""
    if low > GREATEST or high < LEAST:
        return False
    # As narrow as the values, for as many at once.
    low, high = np.int32(max(low, LEAST)), np.int32(min(high, GREATEST))
    size = len(mask)
    kept = near[:size]
    found = np.uint8(0)
    for i in range(size):
        one = np.uint8(mask[i] & (values[i] >= low) & (values[i] <= high))
        kept[i] = one
        found = np.uint8(found | one)
    _fill_word(near, size)
    return found != 0


@njit(cache=True)
def _keep_rows_within(mask, rows, column, low, high, near):
    """The same of values by row."""
    size = len(mask)
    kept = near[:size]
    found = np.uint8(0)
    for i in range(size):
        value = np.int64(column[np.uint32(rows[i])])
        one = np.uint8(mask[i] & ((value >= low) & (value <= high)))
        kept[i] = one
        found = np.uint8(found | one)
    _fill_word(near, size)
    return found != 0


@njit(cache=True)
def _fill_word(near, size):
    for i in range(size, (size + 7) & ~7):
        near[i] = 0


_BLOCK = 512
"""Candidates that are looked at in one go, before any of them is looked at alone."""

_FEW = 3
"""Where less than an eighth of a block is marked, rows are looked at alone: each is elsewhere."""


@njit(cache=True)
def smallest(
    spans, mask, words, monotone, row_at, column, by_row, ranks, null, descending, offset, bits,
    second, second_descending, second_bits, room, feed_rank, id_feed, id_high, after, after_row, skip, most,
    keys, places, equals,
):  # fmt: skip
    """The marked candidates with the smallest keys above `after`.

    What is in demand gets narrower with every candidate that is found, so that of many soon only few are looked at. Spans
    are walked from their end when the order descends: their weights ascend, and with them about all that has a price.

    Args:
        spans, mask, words: the candidates and their mask.
        monotone: whether each span but the last has the attribute in ascending order.
        row_at: row by position.
        column: the attribute; by position a 32-bit number that is always known.
        by_row: whether it is by row.
        ranks: what a code sorts as; empty for numbers.
        null, descending, offset, bits: see `_component`.
        second, second_descending, second_bits: another attribute by position, 0 or more and never unknown, that decides
            where the first is equal; without one, 0 bits.
        room: bits for feed and id; 0 when something else decides before them.
        feed_rank: a feed's place in the order of ids, by its code.
        id_feed, id_high: of each row the feed's code and the id's first 64 bits.
        after: keys up to this are left out.
        after_row: the row whose key `after` is; -1 when it is no row's.
        skip: so many of the first need no order among themselves.
        most: how many are wanted.
        keys, places: room for the answer and what is held meanwhile; at least `2 * most`. `places` are rows at the end.
        equals: room for rows whose key is `after`.

    Returns:
        How many, -1 when keys do not fit or there is no room for all that are equal; whether all keys are different;
        and how many positions are in `equals`.
    """
    limit = np.int64(2**63 - 1)
    count = 0
    same = 0
    begin = 0
    coded = len(ranks) > 0
    # Until too many are equal, keys have no ids.
    full = room == 0
    below = second_bits + room
    last = (np.int64(1) << bits) - 1
    floor = max(after, np.int64(0)) >> below
    low, high = _bounds(floor, last, descending, offset, last)
    bounded = False
    near = np.empty(_BLOCK, dtype=np.uint8)
    near_words = near.view(np.uint64)
    for span in range(len(spans)):
        first = spans[span, 0]
        length = spans[span, 1] - first
        blocks = (length + _BLOCK - 1) // _BLOCK
        ordered = monotone and span < len(spans) - 1
        for step in range(blocks):
            at = _BLOCK * (blocks - 1 - step if descending else step)
            size = min(_BLOCK, length - at)
            chosen = words[(begin + at) >> 3 : (begin + at + size + 7) >> 3]
            marked = mask[begin + at : begin + at + size]
            if not by_row:
                values = column[first + at : first + at + size]
                if ordered and (values[size - 1] < low if descending else values[0] > high):
                    break
                if not _keep_within(marked, values, low, high, near):
                    continue
                chosen = near_words[: (size + 7) >> 3]
            elif bounded and ones(marked) > size >> _FEW:
                rows = row_at[first + at : first + at + size]
                if not _keep_rows_within(marked, rows, column, low, high, near):
                    continue
                chosen = near_words[: (size + 7) >> 3]
            for i in range(len(chosen)):
                word = chosen[i]
                while word != 0:
                    position = first + at + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                    word &= word - np.uint64(1)
                    value = np.int64(column[row_at[position]] if by_row else column[position])
                    if coded:
                        value = ranks[value]
                    component = _component(value, null, descending, offset, bits)
                    if component < 0:
                        return -1, False, 0
                    # What is surely outside costs one comparison.
                    if component < floor or component > (limit >> below):
                        continue
                    key = component
                    if second_bits > 0:
                        other = _component(
                            np.int64(second[position]), np.int64(-1), second_descending, 0, second_bits
                        )
                        if other < 0:
                            return -1, False, 0
                        key = (key << second_bits) | other
                    if full or key <= after >> room:
                        row = row_at[position]
                        key = _with_id(key, room, feed_rank[id_feed[row]], id_high[row])
                        if key <= after:
                            if key == after and row != after_row:
                                if same == len(equals):
                                    return -1, False, 0
                                equals[same] = row
                                same += 1
                            continue
                        if not full:
                            key = (key >> room) << room
                    else:
                        key <<= room
                    if key > limit:
                        continue
                    if count == len(keys):
                        count, limit = _shrink(keys, places, count, most)
                        if count == len(keys) and not full:
                            # From now on ids decide at once.
                            _add_ids(keys, places, 0, count, room, row_at, feed_rank, id_feed, id_high)
                            count, limit = _shrink(keys, places, count, most)
                            full = True
                            row = row_at[position]
                            key = _with_id(key >> room, room, feed_rank[id_feed[row]], id_high[row])
                        if count == len(keys):
                            return -1, False, 0
                        low, high = _bounds(floor, limit >> below, descending, offset, last)
                        # Unknown ones come last, and in no bounds.
                        bounded = not coded and limit >> below < last
                        if key > limit:
                            continue
                    keys[count] = key
                    places[count] = position
                    count += 1
        begin += (length + 7) & ~7
    count, distinct = _put_in_order(
        keys, places, count, skip, most, 0 if full else room, row_at, feed_rank, id_feed, id_high
    )
    for i in range(count):
        places[i] = row_at[places[i]]
    return count, distinct, same
