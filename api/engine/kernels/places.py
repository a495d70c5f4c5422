"""Where stones stand. Only the owner calls these on live arrays."""

from __future__ import annotations

from api.engine.limits import GREATEST
from runtime.kernels import njit


@njit(cache=True)
def _below(carat, begin, end, weight):
    """The first position in [begin, end) that weighs at least this; weights ascend there."""
    while begin < end:
        middle = (begin + end) >> 1
        if carat[middle] < weight:
            begin = middle + 1
        else:
            end = middle
    return begin


@njit(cache=True)
def find_spans(starts, cluster_bits, carat, no_rear, low, high, last_begin, last_end, spans, clusters):
    """Where the stones of the clusters that are not forbidden weigh from low to high; then one span more.

    Args:
        starts: where each cluster begins, and the end of the last.
        cluster_bits: the bits of `rear` that each cluster's stones have.
        spans, clusters: room for the answer: a span for each cluster, and the last; the clusters' numbers.

    Returns:
        How many spans.
    """
    count = 0
    for cluster in range(len(cluster_bits)):
        begin, end = starts[cluster], starts[cluster + 1]
        if begin == end or (cluster_bits[cluster] & no_rear) != 0:
            continue
        if low > 0:
            begin = _below(carat, begin, end, low)
        if high < GREATEST:
            end = _below(carat, begin, end, high + 1)
        if begin < end:
            spans[count, 0], spans[count, 1] = begin, end
            clusters[count] = cluster
            count += 1
    spans[count, 0], spans[count, 1] = last_begin, last_end
    return count + 1


@njit(cache=True)
def settle(
    rows, new_front, new_rear, new_price, new_carat, new_grades, position_of, front, rear, price, carat, grades,
    row_at, ordered_end, end, cluster_bits, gone,
):  # fmt: skip
    """Give stones their places: where they are, or behind the end when they belong to another cluster.

    Args:
        rows: of the stones, each once; `new_…` is what stands there from now on.
        position_of: position by row, -1 for none.
        ordered_end: positions below are in clusters.
        end: the first free position; there is room behind it for all of these.
        cluster_bits: bits of `rear` that make the cluster.
        gone: the bit of `front` that says so.

    Returns:
        The new end.
    """
    for i in range(len(rows)):
        row = rows[i]
        position = position_of[row]
        if 0 <= position < ordered_end and (
            ((rear[position] ^ new_rear[i]) & cluster_bits) != 0 or carat[position] != new_carat[i]
        ):
            front[position] = gone
            position = -1
        if position < 0:
            position = end
            end += 1
            row_at[position] = row
            position_of[row] = position
        price[position] = new_price[i]
        front[position] = new_front[i]
        rear[position] = new_rear[i]
        carat[position] = new_carat[i]
        grades[position] = new_grades[i]
    return end


@njit(cache=True)
def reprice(rows, prices, position_of, price):
    """Change the prices of stones that have places."""
    for i in range(len(rows)):
        price[position_of[rows[i]]] = prices[i]


@njit(cache=True)
def leave(rows, position_of, front, gone):
    """Take stones from their places."""
    for i in range(len(rows)):
        position = position_of[rows[i]]
        if position >= 0:
            front[position] = gone
            position_of[rows[i]] = -1
