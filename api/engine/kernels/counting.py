"""Counting the values of the stones that match. Spans and words of a mask: see `marks`."""

from __future__ import annotations

import numpy as np

from api.engine.kernels.marks import ones
from api.engine.limits import GREATEST, LEAST
from connectors.records.words import trailing_zeros
from runtime.kernels import njit


@njit(cache=True)
def count_codes(spans, words, counts_by_span, known, row_at, column, counts):
    """How many marked candidates have each code.

    Args:
        counts_by_span: marked candidates of each span.
        known: the code that all stones of a span have, -1 where they must be looked at.
    """
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        if known[span] >= 0:
            counts[known[span]] += counts_by_span[span]
            begin += size
            continue
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                position = first + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                counts[column[row_at[position]]] += 1
        begin += size


_BLOCK = 512
"""Candidates that are counted in one go: their prices stay in the nearest cache while each edge is held to them."""


@njit(cache=True)
def count_grades_and_prices(
    spans, mask, words, grades, price, with_grades, with_prices, edges, counts, buckets
):
    """How many marked candidates have each combination of grades, and each bucket of prices.

    Args:
        grades: a combination's number by position.
        price: by position, never negative.
        edges: where buckets begin, ascending.

    Returns:
        Least, greatest and sum of the prices.
    """
    low, high, total = np.int64(GREATEST), np.int64(LEAST), np.int64(0)
    near = np.empty(_BLOCK, dtype=np.int32)
    begin = 0
    for span in range(len(spans)):
        first, length = spans[span, 0], spans[span, 1] - spans[span, 0]
        for at in range(0, length, _BLOCK):
            size = min(_BLOCK, length - at)
            place = begin + at
            some = mask[place : place + size]
            marked = ones(some)
            if marked == 0:
                continue
            g, p = grades[first + at : first + at + size], price[first + at : first + at + size]
            if 2 * marked >= size:
                # Without a branch for each: what is not marked counts 0, and its price is below all edges.
                if with_grades:
                    for i in range(size):
                        counts[g[i]] += some[i]
                if with_prices:
                    for i in range(size):
                        near[i] = p[i] if some[i] else np.int32(-1)
            else:
                size = _pick(words[place >> 3 : (place + size + 7) >> 3], g, p, with_grades, counts, near)
            if with_prices:
                least, most, sum_ = _tell(near[:size], edges, marked, buckets)
                low, high, total = min(low, least), max(high, most), total + sum_
        begin += (length + 7) & ~7
    return low, high, total


@njit(cache=True)
def _pick(words, grades, price, with_grades, counts, near):
    """Count the grades of the marked candidates and collect their prices; how many they are."""
    size = 0
    for i in range(len(words)):
        word = words[i]
        while word != 0:
            place = (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
            word &= word - np.uint64(1)
            if with_grades:
                counts[grades[place]] += 1
            near[size] = price[place]
            size += 1
    return size


@njit(cache=True)
def _tell(prices, edges, known, buckets):
    """Enter prices into buckets; the least, the greatest and the sum. `known` of them are not -1.

    One edge after the other, for all prices at once: a look-up for each price takes three times as long.
    """
    least, most, total = np.uint32(GREATEST), np.int32(LEAST), np.int64(0)
    for i in range(len(prices)):
        # As an unsigned number, -1 is above all prices.
        least, most = min(least, np.uint32(prices[i])), max(most, prices[i])
        total += prices[i]
    total += len(prices) - known
    before = known
    for j in range(len(edges)):
        behind = np.int32(0)
        if edges[j] <= 0:
            behind = np.int32(known)
        elif edges[j] <= GREATEST:
            edge = np.int32(edges[j])
            for i in range(len(prices)):
                behind = np.int32(behind + np.int32(prices[i] >= edge))
        buckets[j] += before - behind
        before = np.int64(behind)
    buckets[len(edges)] += before
    return np.int64(least), np.int64(most), total


@njit(cache=True)
def margins(counts, widths, found):
    """Sum the counts of combinations for each attribute; the first one is in the lowest bits.

    Args:
        widths: bits of each attribute.
        found: gets a row of counts for each attribute.
    """
    for combination in range(len(counts)):
        count = counts[combination]
        if count == 0:
            continue
        rest = combination
        for place in range(len(widths)):
            found[place, rest & ((1 << widths[place]) - 1)] += count
            rest >>= widths[place]


@njit(cache=True)
def tell_numbers(spans, words, row_at, column, null, edges, buckets):
    """Count, least, greatest and sum of a number over the marked candidates, and its histogram."""
    count = 0
    low, high, total = column[0], column[0], np.int64(0)
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                position = first + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                value = column[row_at[position]]
                if value != value or value == null:
                    continue
                if count == 0:
                    low, high = value, value
                low, high = min(low, value), max(high, value)
                count += 1
                total += value
                bucket = 0
                while bucket < len(edges) and value >= edges[bucket]:
                    bucket += 1
                buckets[bucket] += 1
        begin += size
    return count, low, high, total
