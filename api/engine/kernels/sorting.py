"""Finding the first of many in an order.

A sorting key is one number a stone: the attribute first (unknown last), then the feed, then as much of the id as there
is room for. It has 63 bits, some of them for the attribute. Spans and words of a mask: see `marks`.
"""

from __future__ import annotations

import numpy as np

from api.engine.kernels.bits import trailing_zeros
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
def _add_ids(keys, places, count, room, row_at, feed_rank, id_feed, id_high):
    """Complete keys whose bits for feed and id are 0."""
    for i in range(count):
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
def _put_in_order(keys, places, count, most):
    """Sort the candidates, keep `most` and what equals the last; how many, and whether no two keys are equal."""
    if count > most:
        count, _ = _shrink(keys, places, count, most)
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, count):
            key, place = keys[i], places[i]
            j = i - gap
            while j >= 0 and keys[j] > key:
                keys[j + gap] = keys[j]
                places[j + gap] = places[j]
                j -= gap
            keys[j + gap] = key
            places[j + gap] = place
        gap //= 3
    distinct = True
    for i in range(1, count):
        if keys[i] == keys[i - 1]:
            distinct = False
    return count, distinct


@njit(cache=True)
def _values_up_to(bound, least, most, descending, offset, last):
    """The least and greatest known value whose part of a key is at most this."""
    if descending:
        return last - 1 - bound + offset, most
    return least, bound + offset


@njit(cache=True)
def find_ceiling(
    spans, words, row_at, column, by_row, ranks, null, descending, offset, bits, floor, total, most, every, spare, sample,
):  # fmt: skip
    """About how great the attribute's part of a key can be among the first `most`, judged by a sample.

    Args:
        floor: smaller ones are before the page.
        total: marked candidates.
        every: of so many stretches of 64 candidates one is looked at.
        spare: standard deviations, about, that the answer is on the safe side.
        sample: room for the sample.

    Returns:
        What very probably is enough; the greatest there is, when the sample says nothing.
    """
    last = (np.int64(1) << bits) - 1
    coded = len(ranks) > 0
    begin = 0
    seen = 0
    count = 0
    turn = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        i = turn << 3
        while i < size:
            for at in range(i, min(i + 8, size)):
                word = words[begin + at]
                while word != 0:
                    position = first + (at << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                    word &= word - np.uint64(1)
                    value = np.int64(column[row_at[position]] if by_row else column[position])
                    if coded:
                        value = ranks[value]
                    component = _component(value, null, descending, offset, bits)
                    seen += 1
                    if component >= floor:
                        if count == len(sample):
                            return last
                        sample[count] = component
                        count += 1
            i += every << 3
        # The stretches of the next span that are passed over.
        turn = (i - size + 7) >> 3
        begin += size
    share = most * seen / max(1, total)
    wanted = np.int64(share + spare * (np.sqrt(share) + 1))
    if wanted >= count:
        return last
    return _select(sample, count, wanted)


@njit(cache=True)
def _select(numbers, count, wanted):
    """The number that has `wanted` smaller ones before it in order."""
    low, high = 0, count - 1
    while low < high:
        pivot = numbers[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while numbers[i] < pivot:
                i += 1
            while numbers[j] > pivot:
                j -= 1
            if i <= j:
                numbers[i], numbers[j] = numbers[j], numbers[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return numbers[wanted]


@njit(cache=True)
def narrow(spans, mask, column, low, high, out):
    """Copy a mask, of candidates whose value by position is in [low, high]."""
    begin = 0
    for span in range(len(spans)):
        first, end = spans[span, 0], spans[span, 1]
        length = end - first
        values, marked, kept = column[first:end], mask[begin : begin + length], out[begin : begin + length]
        for i in range(length):
            kept[i] = marked[i] & (values[i] >= low) & (values[i] <= high)
        for i in range(begin + length, begin + ((length + 7) & ~7)):
            out[i] = 0
        begin += (length + 7) & ~7


@njit(cache=True)
def smallest(
    spans, words, backward, monotone, row_at, column, by_row, ranks, null, descending, offset, bits,
    second, second_descending, second_bits, room, feed_rank, id_feed, id_high, after, after_row, ceiling, most,
    keys, places, equals,
):  # fmt: skip
    """The marked candidates with the smallest keys above `after`, in order.

    Args:
        spans, words: the candidates and their mask.
        backward: whether each span is walked from its end.
        monotone: whether each span but the last has the attribute in the wanted order, as it is walked.
        row_at: row by position.
        column: the attribute, by row or by position.
        by_row: which of the two.
        ranks: what a code sorts as; empty for numbers.
        null, descending, offset, bits: see `_component`.
        second, second_descending, second_bits: another attribute by position, 0 or more and never unknown, that decides
            where the first is equal; without one, 0 bits.
        room: bits for feed and id; 0 when something else decides before them.
        feed_rank: a feed's place in the order of ids, by its code.
        id_feed, id_high: of each row the feed's code and the id's first 64 bits.
        after: keys up to this are left out.
        after_row: the row whose key `after` is; -1 when it is no row's.
        ceiling: what is above this in the attribute's bits of the key is left out.
        most: how many are wanted.
        keys, places: room for the answer and what is held meanwhile; at least `2 * most`.
        equals: room for positions whose key is `after`.

    Returns:
        How many, -1 when keys do not fit or there is no room for all that are equal; whether all keys are different;
        and how many positions are in `equals`.
    """
    limit = np.int64(2**63 - 1)
    count = 0
    same = 0
    begin = 0
    coded = len(ranks) > 0
    # Ids are looked up where attributes are equal only: each is a wait for memory.
    full = room == 0
    below = second_bits + room
    last = (np.int64(1) << bits) - 1
    least_value, most_value = np.int64(-(2**63)), np.int64(2**63 - 1)
    if ceiling < last:
        limit = ((ceiling + 1) << below) - 1
        least_value, most_value = _values_up_to(ceiling, least_value, most_value, descending, offset, last)
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        stop = monotone and span < len(spans) - 1
        over = False
        for step in range(size):
            i = size - 1 - step if backward else step
            word = words[begin + i]
            if over and stop:
                break
            while word != 0:
                position = first + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                value = np.int64(column[row_at[position]] if by_row else column[position])
                if coded:
                    value = ranks[value]
                # What is surely behind the answer costs one comparison.
                if (value > most_value or value < least_value) and value != null:
                    over = True
                    continue
                component = _component(value, null, descending, offset, bits)
                if component < 0:
                    return -1, False, 0
                if component > (limit >> below):
                    over = True
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
                            equals[same] = position
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
                        # Too many are equal in the attributes: from now on ids decide at once.
                        _add_ids(keys, places, count, room, row_at, feed_rank, id_feed, id_high)
                        count, limit = _shrink(keys, places, count, most)
                        full = True
                        row = row_at[position]
                        key = _with_id(key >> room, room, feed_rank[id_feed[row]], id_high[row])
                    if count == len(keys):
                        return -1, False, 0
                    bound = limit >> below
                    if bound < last:
                        least_value, most_value = _values_up_to(
                            bound, least_value, most_value, descending, offset, last
                        )
                    if key > limit:
                        continue
                keys[count] = key
                places[count] = position
                count += 1
        begin += size
    if not full:
        if count > most:
            count, _ = _shrink(keys, places, count, most)
        _add_ids(keys, places, count, room, row_at, feed_rank, id_feed, id_high)
    count, distinct = _put_in_order(keys, places, count, most)
    return count, distinct, same
