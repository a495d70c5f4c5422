"""Counting the values of the stones that match. Spans and words of a mask: see `marks`."""

from __future__ import annotations

import numpy as np

from api.engine.kernels.bits import leading_zeros, trailing_zeros
from api.engine.limits import GREATEST, LEAST
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


@njit(cache=True)
def count_grades_and_prices(
    spans, words, grades, price, with_grades, with_prices, cells, edges, counts, buckets
):
    """How many marked candidates have each combination of grades, and each bucket of prices.

    Args:
        grades: a combination's number by position.
        cells: the bucket of the least price of each cell (`price_cell`).
        edges: where buckets begin.

    Returns:
        Least, greatest and sum of the prices.
    """
    low, high, total = np.int64(GREATEST), np.int64(LEAST), np.int64(0)
    begin = 0
    for span in range(len(spans)):
        first = spans[span, 0]
        size = (spans[span, 1] - first + 7) >> 3
        for i in range(size):
            word = words[begin + i]
            while word != 0:
                position = first + (i << 3) + np.int64(trailing_zeros(word) >> np.uint64(3))
                word &= word - np.uint64(1)
                if with_grades:
                    counts[grades[position]] += 1
                if with_prices:
                    p = np.int64(price[position])
                    low, high, total = min(low, p), max(high, p), total + p
                    bucket = np.int64(cells[price_cell(p)])
                    while bucket < len(edges) and p >= edges[bucket]:
                        bucket += 1
                    buckets[bucket] += 1
        begin += size
    return low, high, total


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


PRICE_CELLS = 64 * 26
"""Cells there are."""


@njit(cache=True)
def price_cell(price):
    """A price's cell: the number itself below 128, then 64 cells for each doubling. Prices are 0 to 2**31 - 1."""
    shift = np.int64(57) - np.int64(leading_zeros(np.uint64(price | 1)))
    if shift < 0:
        shift = np.int64(0)
    return (shift << 6) + (price >> shift)


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
