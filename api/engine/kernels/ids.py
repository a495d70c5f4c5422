"""Ids as bits, and the table that finds their rows; see `api.engine.ids`."""

from __future__ import annotations

import numpy as np

from runtime.kernels import njit

EMPTY = -1
LEFT = -2


@njit(cache=True)
def _slot(feed, high, low, size):
    mixed = (high ^ (low * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(feed)) * np.uint64(0xBF58476D1CE4E5B9)
    return np.int64((mixed >> np.uint64(20)) & np.uint64(size - 1))


@njit(cache=True, nogil=True)
def find_rows(feed, high, low, slots, id_feed, id_high, id_low, rows):
    """The row of each id, -1 for those that have none."""
    size = len(slots)
    for i in range(len(feed)):
        slot = _slot(feed[i], high[i], low[i], size)
        rows[i] = -1
        while slots[slot] != EMPTY:
            row = slots[slot]
            if row >= 0 and id_high[row] == high[i] and id_low[row] == low[i] and id_feed[row] == feed[i]:
                rows[i] = row
                break
            slot = (slot + 1) & (size - 1)


@njit(cache=True, nogil=True)
def add_rows(rows, slots, id_feed, id_high, id_low):
    """Enter rows whose ids are not in the table yet; how many empty slots they took."""
    size = len(slots)
    taken = 0
    for i in range(len(rows)):
        row = rows[i]
        slot = _slot(id_feed[row], id_high[row], id_low[row], size)
        while slots[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        taken += slots[slot] == EMPTY
        slots[slot] = row
    return taken


@njit(cache=True)
def remove_rows(rows, slots, id_feed, id_high, id_low):
    """Take rows from the table."""
    size = len(slots)
    for i in range(len(rows)):
        row = rows[i]
        slot = _slot(id_feed[row], id_high[row], id_low[row], size)
        while slots[slot] != EMPTY:
            if slots[slot] == row:
                slots[slot] = LEFT
                break
            slot = (slot + 1) & (size - 1)
