"""Columns of numbers that are as narrow as their values allow, and exact.

A column stands on a step of its ladder: a type, and how many of its units make one. Money and days begin at 8 or 16
bits, decimals at hundredths in 16 bits, moments at whole seconds in 32; a value that does not fit takes the whole column
one step up. The last step of decimals is the number itself.
"""

from __future__ import annotations

from math import ceil, floor, inf, isnan
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.fields import FIELDS, NUMBERS, Kind
from api.query import Number

Array = NDArray[Any]


class Step:
    """How a column holds its numbers.

    Args:
        dtype: type of the column.
        units: stored units of one.
        each: ones that a stored unit stands for; 1 where a one has several units.

    Attributes:
        floating: whether numbers stand there as they are.
        null: what stands for an unknown number.
        least, most: the bounds of known numbers; infinite for floats.
    """

    def __init__(self, dtype: Any, units: int, each: int = 1) -> None:
        self.dtype = dtype
        self.units = units
        self.each = each
        self.floating = bool(np.dtype(dtype).kind == "f")
        self.null: Any = np.nan if self.floating else int(np.iinfo(dtype).min)
        self.least: Number = -inf if self.floating else self.null + 1
        self.most: Number = inf if self.floating else int(np.iinfo(dtype).max)

    def store(self, values: Array) -> Array | None:
        """Numbers (float64 with NaN, or int64 with the least int64 for null) as they are held; None if one does not fit."""
        if self.floating:
            floats: Array = values.astype(self.dtype)
            return floats
        if values.dtype.kind == "f":
            unknown = np.isnan(values)
            known = np.where(unknown, 0, values)
            scaled = np.rint(known * self.units)
            if not np.array_equal(scaled / self.units, known):
                return None
        else:
            unknown = values == _NULL
            scaled = np.where(unknown, 0, values)
            if self.each != 1:
                scaled, rest = np.divmod(scaled, self.each)
                if rest.any():
                    return None
        if len(scaled) and (scaled.min() < self.least or scaled.max() > self.most):
            return None
        stored: Array = scaled.astype(self.dtype)
        stored[unknown] = self.null
        return stored

    def load(self, stored: Any) -> Number | None:
        """A number as it was given."""
        if self.floating:
            return None if isnan(stored) else float(stored)
        if stored == self.null:
            return None
        return int(stored) * self.each if self.units == 1 else int(stored) / self.units

    def low(self, bound: Number | None) -> Number:
        """The least stored number that is at least this."""
        if bound is None or self.floating:
            return self.least if bound is None else float(bound)
        if self.units == 1:
            return max(self.least, -(-ceil(bound) // self.each))
        # The division is rounded right, so that it gives back each number it was made of.
        stored = floor(bound * self.units) - 1
        while stored / self.units < bound:
            stored += 1
        return max(self.least, stored)

    def high(self, bound: Number | None) -> Number:
        """The greatest stored number that is at most this."""
        if bound is None or self.floating:
            return self.most if bound is None else float(bound)
        if self.units == 1:
            return min(self.most, floor(bound) // self.each)
        stored = ceil(bound * self.units) + 1
        while stored / self.units > bound:
            stored -= 1
        return min(self.most, stored)


_NULL: Final = np.iinfo(np.int64).min
_DECIMALS: Final = (Step(np.int16, 100), Step(np.int32, 10_000), Step(np.float64, 1))
_INTEGERS: Final = (Step(np.int8, 1), Step(np.int16, 1), Step(np.int32, 1), Step(np.int64, 1))
_MONEY: Final = _INTEGERS[2:]
_MOMENTS: Final = (Step(np.int32, 1, each=1000), Step(np.int64, 1))


def _ladder(name: str) -> tuple[Step, ...]:
    if FIELDS[name].kind is Kind.DECIMAL:
        return _DECIMALS
    if FIELDS[name].kind is Kind.MOMENT:
        return _MOMENTS
    return _MONEY if name.endswith("_cents") else _INTEGERS


LADDERS: Final = {name: _ladder(name) for name in NUMBERS}
"""The steps of each attribute's column."""


def fit(name: str, values: Array, level: int) -> tuple[Array, int]:
    """Numbers as a column of at least this level holds them, and the level."""
    steps = LADDERS[name]
    while True:
        stored = steps[level].store(values)
        if stored is not None:
            return stored, level
        level += 1


def widen(name: str, stored: Array, level: int, to: int) -> Array:
    """A column's numbers one or more levels up."""
    old, new = LADDERS[name][level], LADDERS[name][to]
    if new.floating:
        values = stored / old.units
        values[stored == old.null] = np.nan
        return values.astype(new.dtype)
    known = stored != old.null
    widened = stored.astype(new.dtype) * (new.units // old.units * old.each // new.each)
    widened[~known] = new.null
    return widened
