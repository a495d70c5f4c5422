"""A query as the engine runs it: forbidden bits, spans of the clusters, and what is left to be looked at row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine import texts
from api.engine.clusters import carat_units
from api.engine.encoding import CARAT_UNITS
from api.engine.limits import GREATEST, LEAST
from api.engine.numbers import Step
from api.engine.signature import GONE, SIGNED, forbidden
from api.engine.stock import Stock
from api.query import Number, Query, Range

FEW_ROWS: Final = 512
"""Up to so many rows found by their texts are looked at alone; more of them become a condition of a scan."""

WEIGHTS: Final = Step(np.int32, CARAT_UNITS)


@dataclass(slots=True)
class Plan:
    """What must hold.

    Attributes:
        no_front, no_rear: forbidden bits.
        low, high: price in integer cents.
        carat_low, carat_high: weight in ten-thousandths of a carat.
        codes: columns of codes, and one byte a code that says whether it will do.
        numbers: columns of numbers, and the least and greatest that will do.
        rows: the only rows that can match, ascending; None when there is no such list.
        nothing: whether nothing can match.
    """

    no_front: int = GONE
    no_rear: int = 0
    low: int = LEAST
    high: int = GREATEST
    carat_low: int = 0
    carat_high: int = GREATEST
    codes: list[tuple[NDArray[Any], NDArray[np.uint8]]] = field(default_factory=list)
    numbers: list[tuple[NDArray[Any], Number, Number]] = field(default_factory=list)
    rows: NDArray[Any] | None = None
    nothing: bool = False

    @property
    def weighed(self) -> bool:
        """Whether the weight matters."""
        return self.carat_low > 0 or self.carat_high < GREATEST

    @property
    def by_row(self) -> bool:
        """Whether rows must be looked at."""
        return bool(self.codes or self.numbers)


class Planner:
    """Makes plans for one stock."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    def plan(self, query: Query, leave_out: str = "") -> Plan:
        """The plan of a query, without its filter on one attribute."""
        plan = Plan()
        for name, values in query.lists.items():
            if name != leave_out:
                self._list(plan, name, values)
        for name, truth in query.flags.items():
            if name != leave_out:
                self._flag(plan, name, truth)
        for name, wanted in query.ranges.items():
            if name != leave_out:
                self._range(plan, name, wanted)
        for name, beginnings in query.prefixes.items():
            self._rows(plan, self._beginning(name, beginnings))
        return plan

    def _list(self, plan: Plan, name: str, values: tuple[str, ...]) -> None:
        if name in SIGNED:
            if not self._sign(plan, name, values):
                self._codes(plan, name, map(self._stock.codes(name).find, values))
        elif name == "id":
            found = map(self._stock.row, values)
            self._rows(plan, np.array([row for row in found if row is not None], dtype=np.int64))
        elif name in self._stock.packed:
            self._rows(plan, self._equal(name, values))
        else:
            self._codes(plan, name, map(self._stock.codes(name).find, values))

    def _flag(self, plan: Plan, name: str, truth: bool) -> None:
        if name not in SIGNED or not self._sign(plan, name, (truth,)):
            self._codes(plan, name, [1 + truth])

    def _sign(self, plan: Plan, name: str, wanted: tuple[Any, ...]) -> bool:
        no_front, no_rear, whole = forbidden(name, wanted)
        plan.no_front |= no_front
        plan.no_rear |= no_rear
        return whole

    def _codes(self, plan: Plan, name: str, wanted: Iterable[int | None]) -> None:
        allowed = np.zeros(len(self._stock.texts(name)), dtype=np.uint8)
        allowed[[code for code in wanted if code is not None]] = 1
        plan.codes.append((self._stock.coded[name], allowed))

    def _range(self, plan: Plan, name: str, wanted: Range) -> None:
        step = self._stock.step(name)
        if name == "carat" and not step.floating:
            plan.carat_low, plan.carat_high = _weights(wanted.low, wanted.high)
            return
        low, high = step.low(wanted.low), step.high(wanted.high)
        if low > high:
            plan.nothing = True
        elif name == "price_cents" and step.dtype is np.int32:
            # As long as the column is this narrow, the clusters' prices are the prices.
            plan.low, plan.high = int(low), int(high)
        else:
            if name == "carat":
                # The clusters' weights are rounded down: near enough, and the column decides.
                plan.carat_low = 0 if wanted.low is None else max(0, carat_units(wanted.low, up=False))
                if wanted.high is not None:
                    plan.carat_high = carat_units(wanted.high, up=True)
            plan.numbers.append((self._stock.numbers[name], low, high))

    def _rows(self, plan: Plan, rows: NDArray[Any]) -> None:
        rows = np.unique(rows)
        if plan.rows is not None:
            rows = np.intersect1d(plan.rows, rows)
        plan.rows = rows
        plan.nothing = plan.nothing or not len(rows)

    def _equal(self, name: str, values: tuple[str, ...]) -> NDArray[Any]:
        numbers = [number for number in map(texts.number_of, values) if number is not None]
        column = self._stock.packed[name][: self._stock.used]
        found = np.isin(column, np.array(numbers, dtype=np.uint64)) if len(numbers) > 1 else None
        if found is None:
            found = column == np.uint64(numbers[0]) if numbers else np.zeros(len(column), dtype=np.bool_)
        return self._with_odd(name, found, self._stock.odd[name].equal(values))

    def _beginning(self, name: str, beginnings: tuple[str, ...]) -> NDArray[Any]:
        column = self._stock.packed[name][: self._stock.used]
        found = np.zeros(len(column), dtype=np.bool_)
        for span in filter(None, map(texts.span_of, beginnings)):
            found |= (column >= np.uint64(span[0])) & (column <= np.uint64(span[1]))
        return self._with_odd(name, found, self._stock.odd[name].beginning(beginnings))

    def _with_odd(self, name: str, found: NDArray[np.bool_], odd: list[int]) -> NDArray[Any]:
        found[self._stock.odd[name].rows()] = False
        found[odd] = True
        return np.flatnonzero(found)


@lru_cache(maxsize=1024)
def _weights(low: Number | None, high: Number | None) -> tuple[int, int]:
    """A range in the unit of the clusters; remembered, for the same few ranges are asked for again and again."""
    return int(max(0, WEIGHTS.low(low))), int(WEIGHTS.high(high))


def rows_condition(rows: NDArray[Any], capacity: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A list of rows as a condition of `Plan.codes`."""
    column = np.zeros(capacity, dtype=np.uint8)
    column[rows] = 1
    return column, np.array([0, 1], dtype=np.uint8)
