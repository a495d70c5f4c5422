"""Marking the candidates that match, and looking at single rows of them.

Candidates are positions in `spans`, an array of shape (n, 2): first position and end. A mask has one byte a candidate,
1 or 0, each span beginning at a multiple of eight and filled up with 0. It is handed over as bytes or as 64-bit words
over the same memory.
"""

from __future__ import annotations

import numpy as np

from api.engine.kernels.places import find_spans
from api.engine.limits import GREATEST, LEAST
from connectors.records.words import trailing_zeros
from runtime.kernels import njit


@njit(cache=True)
def mark(
    starts, cluster_bits, carat, ordered_end, end, front, rear, price, no_front, no_rear, cluster, carat_low,
    carat_high, low, high, mask, spans, clusters, counts,
):  # fmt: skip
    """`find_spans` and `scan` in one, for a call costs as much as finding the spans; how many spans, and what match."""
    found = find_spans(
        starts, cluster_bits, carat, no_rear, carat_low, carat_high, ordered_end, end, spans, clusters
    )
    rest = no_rear & ~cluster
    return found, scan(front, rear, price, spans[:found], no_front, rest, no_rear, low, high, mask, counts)


@njit(cache=True)
def scan(front, rear, price, spans, no_front, no_rear, no_rear_last, low, high, mask, counts):
    """Which candidates have no forbidden bit and a price in [low, high]; their number, in all and by span.

    The last span has forbidden bits of its own: it is the tail, of which the clusters have answered nothing.
    """
    out_front, out_rear, out_rear_last = np.uint32(no_front), np.uint32(no_rear), np.uint32(no_rear_last)
    lowest, highest = np.int32(low), np.int32(high)
    total = 0
    begin = 0
    any_price = low == LEAST and high == GREATEST
    for span in range(len(spans)):
        first, end = spans[span, 0], spans[span, 1]
        length = end - first
        f, r, p = front[first:end], rear[first:end], price[first:end]
        out = mask[begin : begin + length]
        if span == len(spans) - 1:
            out_rear = out_rear_last
        if out_rear == 0 and any_price:
            for i in range(length):
                out[i] = (f[i] & out_front) == 0
        elif out_rear == 0:
            for i in range(length):
                out[i] = ((f[i] & out_front) == 0) & (p[i] >= lowest) & (p[i] <= highest)
        elif any_price:
            for i in range(length):
                out[i] = ((f[i] & out_front) | (r[i] & out_rear)) == 0
        else:
            for i in range(length):
                unfit = (f[i] & out_front) | (r[i] & out_rear)
                out[i] = (unfit == 0) & (p[i] >= lowest) & (p[i] <= highest)
        count = ones(out)
        counts[span] = count
        total += count
        for i in range(begin + length, begin + ((length + 7) & ~7)):
            mask[i] = 0
        begin += (length + 7) & ~7
    return total


@njit(cache=True)
def ones(mask):
    """How many bytes are 1; in short stretches, so that bytes can be added as bytes."""
    total = 0
    for begin in range(0, len(mask), 128):
        part = mask[begin : begin + 128]
        count = np.uint8(0)
        for i in range(len(part)):
            count = np.uint8(count + part[i])
        total += np.int64(count)
    return total


@njit(cache=True)
def count_marked(spans, mask, counts):
    """How many candidates a mask marks, in all and by span."""
    total = 0
    begin = 0
    for span in range(len(spans)):
        length = spans[span, 1] - spans[span, 0]
        counts[span] = ones(mask[begin : begin + length])
        total += counts[span]
        begin += (length + 7) & ~7
    return total


@njit(cache=True)
def keep_positions(spans, from_span, mask, words, values, low, high):
    """Unmark candidates of the spans from one on whose value (by position) is not in [low, high]."""
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        if span >= from_span:
            for i in range(size):
                word = words[begin + i]
                while word != 0:
                    place = (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                    word &= word - np.uint64(1)
                    value = values[first + place]
                    if value < low or value > high:
                        mask[(begin << 3) + place] = 0
        begin += size


@njit(cache=True)
def keep_within(spans, mask, words, row_at, column, low, high):
    """Unmark candidates whose row's number is not in [low, high]; null is below every low and is no number."""
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                place = (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                value = column[row_at[first + place]]
                if not (value >= low and value <= high):
                    mask[(begin << 3) + place] = 0
        begin += size


@njit(cache=True)
def keep_codes(spans, mask, words, row_at, column, allowed):
    """Unmark candidates whose row's code is not allowed; `allowed` has one byte a code."""
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                place = (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                if allowed[column[row_at[first + place]]] == 0:
                    mask[(begin << 3) + place] = 0
        begin += size


@njit(cache=True)
def marked(spans, words, out):
    """Positions of the candidates that are marked, into `out`; how many."""
    begin = 0
    count = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                out[count] = first + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                count += 1
                word &= word - np.uint64(1)
        begin += size
    return count
