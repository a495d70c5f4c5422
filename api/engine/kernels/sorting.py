"""Finding the first of many in an order.

A sorting key is one number a stone: the attribute first (unknown last), then the feed, then as much of the id as there
is room for. It has 63 bits, some of them for the attribute. Spans and words of a mask: see `marks`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from api.engine.kernels.bits import trailing_zeros
from api.engine.limits import LEAST


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
def smallest(
    spans, words, backward, monotone, row_at, column, by_row, ranks, null, descending, offset, bits,
    second, second_descending, second_bits, room, feed_rank, id_feed, id_high, after, after_row, most,
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
    below = second_bits + room
    last = (np.int64(1) << bits) - 1
    least_value, most_value = np.int64(-(2**63)), np.int64(2**63 - 1)
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
                row = row_at[position]
                key = _with_id(key, room, feed_rank[id_feed[row]], id_high[row])
                if key <= after:
                    if key == after and row != after_row:
                        if same == len(equals):
                            return -1, False, 0
                        equals[same] = position
                        same += 1
                    continue
                if key > limit:
                    continue
                if count == len(keys):
                    count, limit = _shrink(keys, places, count, most)
                    if count == len(keys):
                        return -1, False, 0
                    bound = limit >> below
                    if bound < last:
                        if descending:
                            least_value = last - 1 - bound + offset
                        else:
                            most_value = bound + offset
                    if key > limit:
                        continue
                keys[count] = key
                places[count] = position
                count += 1
        begin += size
    count, distinct = _put_in_order(keys, places, count, most)
    return count, distinct, same


@njit(cache=True)
def _below(ordered, value):
    """How many of ascending numbers are less than a value."""
    low, high = 0, len(ordered)
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def walk(
    order, ordered_price, moved, others, front, rear, price, carat, row_at, no_front, no_rear, low, high,
    carat_low, carat_high, descending, offset, bits, room, feed_rank, id_feed, id_high, after, after_row, most,
    budget, keys, places, equals,
):  # fmt: skip
    """What `smallest` gives for the price, by walking the stones in the order of their prices.

    Args:
        order, ordered_price: positions by price as they once were, and those prices.
        moved: of each position whether its price has changed since.
        others: positions that are not in `order` or have moved.
        budget: steps after which it gives up with -2.
    """
    limit = np.int64(2**63 - 1)
    count = 0
    same = 0
    found = 0
    steps = 0
    if descending:
        i, step = _below(ordered_price, high + 1) - 1, -1
    else:
        i, step = _below(ordered_price, low), 1
    turn = 0
    while True:
        # First the others, all of them; then along the order until what follows is behind the answer.
        if turn < len(others):
            position = others[turn]
            turn += 1
            p = np.int64(price[position])
            if p < low or p > high:
                continue
            walking = False
        else:
            if i < 0 or i >= len(order):
                break
            p = np.int64(ordered_price[i])
            if p < low or p > high:
                break
            steps += 1
            if steps > budget:
                return -2, False, 0
            position = order[i]
            i += step
            walking = True
        component = _component(p, np.int64(LEAST), descending, offset, bits)
        if walking and component > (limit >> room):
            break
        if walking and moved[position] != 0:
            continue
        if ((front[position] & no_front) | (rear[position] & no_rear)) != 0:
            continue
        if carat[position] < carat_low or carat[position] > carat_high:
            continue
        row = row_at[position]
        key = _with_id(component, room, feed_rank[id_feed[row]], id_high[row])
        if key <= after:
            if key == after and row != after_row:
                if same == len(equals):
                    return -1, False, 0
                equals[same] = position
                same += 1
            continue
        if key > limit:
            continue
        if count == len(keys):
            count, border = _shrink(keys, places, count, most)
            limit = min(limit, border)
            if count == len(keys):
                return -1, False, 0
            if key > limit:
                continue
        keys[count] = key
        places[count] = position
        count += 1
        if walking:
            found += 1
            if found == most:
                # Whatever follows at another price is behind these.
                limit = min(limit, (component << room) | ((np.int64(1) << room) - 1))
    count, distinct = _put_in_order(keys, places, count, most)
    return count, distinct, same
