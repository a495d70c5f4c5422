"""Finding stones: one order by price per carat for each feed, kept true while prices move.

A range of price per carat is a slice of that order, found in O(log n); stones whose price changed since the order was
made are looked at one by one, and the order is made anew when they are many. Everything else a query asks for is
checked on the rows of the slice. Answers are kept until the inventory changes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .filters import Query
from .inventory import Inventory, Rows

_KEPT_ANSWERS: Final = 64
_MOVED_AT_MOST: Final = 2_000
_SORT_KEYS: Final = {
    "price": "price_cents",
    "size": "carat_x100",
    "color": "color",
    "clarity": "clarity",
    "cut": "cut",
}


def per_carat(inventory: Inventory, rows: Rows | slice) -> NDArray[np.float64]:
    """Dollars per carat: cents over hundredths of a carat is just that."""
    prices: NDArray[np.float64] = inventory["price_cents"][rows] / inventory["carat_x100"][rows]
    return prices


class _Order:
    """The rows of one feed by price per carat, as they stood when `seen` price changes were known."""

    def __init__(self, inventory: Inventory, labgrown: bool) -> None:
        members = np.flatnonzero(inventory["lab"] == labgrown)
        keys = per_carat(inventory, members)
        order = np.argsort(keys, kind="stable")
        self._inventory = inventory
        self._labgrown = labgrown
        self.rows: NDArray[np.int32] = members[order].astype(np.int32)
        self.keys = keys[order]
        self._seen = len(inventory.price_log)
        self._moved: set[int] = set()

    @property
    def worn(self) -> bool:
        """Whether so much moved that a new order is cheaper."""
        self._catch_up()
        return len(self._moved) > max(_MOVED_AT_MOST, len(self.rows) // 50)

    def bounds(self, low: float, high: float, high_included: bool) -> tuple[int, int]:
        """The slice of the order with keys from `low` to `high`."""
        start = int(np.searchsorted(self.keys, low, side="left"))
        end = int(np.searchsorted(self.keys, high, side="right" if high_included else "left"))
        return start, max(start, end)

    def within(self, low: float, high: float, high_included: bool) -> Rows:
        """The rows with a price per carat in a range, in no particular order."""
        if low <= 0 and high == float("inf"):
            return np.flatnonzero(self._inventory["lab"] == self._labgrown)
        self._catch_up()
        start, end = self.bounds(low, high, high_included)
        rows = self.rows[start:end].astype(np.int64)
        if not self._moved:
            return rows
        moved = np.fromiter(self._moved, dtype=np.int64, count=len(self._moved))
        keys = per_carat(self._inventory, moved)
        inside = (keys >= low) & ((keys <= high) if high_included else (keys < high))
        return np.concatenate([rows[~np.isin(rows, moved)], moved[inside]])

    def _catch_up(self) -> None:
        log = self._inventory.price_log
        if self._seen < len(log):
            lab = self._inventory["lab"]
            self._moved.update(row for row in log[self._seen :] if bool(lab[row]) == self._labgrown)
            self._seen = len(log)

    @property
    def untouched(self) -> bool:
        """Whether the slice bounds alone are the truth."""
        self._catch_up()
        return not self._moved


class Index:
    """Answers queries about an inventory."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._orders: dict[bool, _Order] = {}
        self._answers: OrderedDict[tuple[str, str], tuple[int, NDArray[np.int32]]] = OrderedDict()

    def find(self, query: Query, order: str = "createdAt", descending: bool = False) -> NDArray[np.int32]:
        """The rows a query selects, in the order asked for; equal keys keep the order of creation."""
        key = (query.key, f"{order}:{descending}")
        kept = self._answers.get(key)
        if kept and kept[0] == self._inventory.version:
            self._answers.move_to_end(key)
            return kept[1]
        rows = self._sorted(self._matching(query), order, descending).astype(np.int32)
        self._answers[key] = (self._inventory.version, rows)
        if len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return rows

    def count(self, query: Query) -> int:
        """How many stones a query selects: O(log n) where only the feed and a price per carat are asked for."""
        if query.is_only_price_per_carat:
            orders = [self._order(feed) for feed in query.feeds]
            if all(order.untouched for order in orders):
                ends = [order.bounds(*query.per_carat) for order in orders]
                return sum(end - start for start, end in ends)
        kept = self._answers.get((query.key, "createdAt:False"))
        if kept and kept[0] == self._inventory.version:
            return len(kept[1])
        return len(self._matching(query))

    def arbitrary(self, query: Query, count: int) -> Rows:
        """Some stones of the feeds, whatever the query says: the vendor's answer to an inverted range."""
        members = np.flatnonzero(np.isin(self._inventory["lab"], np.array(query.feeds)))
        rng = np.random.default_rng(list(query.key.encode()))
        return np.sort(rng.choice(members, min(count, len(members)), replace=False))

    def _order(self, labgrown: bool) -> _Order:
        order = self._orders.get(labgrown)
        if order is None or order.worn:
            order = self._orders[labgrown] = _Order(self._inventory, labgrown)
        return order

    def _matching(self, query: Query) -> Rows:
        """The rows that pass every test of a query, in no particular order."""
        parts = [self._order(feed).within(*query.per_carat) for feed in query.feeds]
        rows = np.concatenate(parts)
        for test in query.tests:
            rows = rows[test(self._inventory, rows)]
        return rows

    def _sorted(self, rows: Rows, order: str, descending: bool) -> Rows:
        rows = np.sort(rows)
        if order in ("createdAt", "none", "popular", "insert", "discount"):
            return rows[::-1] if descending or order == "insert" else rows
        keys = (
            per_carat(self._inventory, rows)
            if order == "price_per_carat"
            else self._inventory[_SORT_KEYS[order]][rows].astype(np.float64)
        )
        ranks = np.argsort(-keys if descending else keys, kind="stable")
        return rows[ranks]
