"""A published rule set over columns of stones at once: the same prices and ratings as `streams.pricing.engine`, to the cent.

Stones are taken in lots that stay in the processor's cache. Each distinct condition of a table is looked at once a lot,
whichever rows name it; a row is then a few operations on bits. Sums stay within 64 bits: a cost up to `MAX_COST`
times a factor does, and a rate is multiplied in two halves; a dearer stone takes the scalar way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT
from schemas.conditions import AGE, GROUPS, TYPES, Condition, Range
from schemas.ruleset import HOME_CURRENCY, RATE_ONE, WHOLE_BPS, PublishedRuleSet, Row, Side, Terms
from streams.pricing.engine import (
    SCALE,
    TO_THE_CENT,
    Margin,
    base_rule,
    base_terms,
    margin_of,
    price_function,
    sides,
)
from streams.pricing.shelf import Shelf

LOT: Final = 1 << 15
MAX_COST: Final = 10**12
_NO_CEILING: Final = np.iinfo(np.int64).max
_FEW: Final = 3

Bits = NDArray[np.bool_]
Look = Callable[[slice], Bits]


class Lot(NamedTuple):
    """What some stones are given.

    Attributes:
        rows: which stones of the shelf.
        price_cents: their prices.
        terms: whose terms those are: a place in `BulkBook.names`.
        rating: 1 to 10; 0 for none.
    """

    rows: slice
    price_cents: NDArray[np.int64]
    terms: NDArray[np.int32]
    rating: NDArray[np.int8]


class BulkBook:
    """A published rule set for one shelf.

    Attributes:
        names: of all rows and base margins, those of the share first, then those of the rest.
        currencies: what each of them prices in.
        hits: how many stones each of them has priced so far.
        holds: for how many its conditions held, an earlier row's too.
    """

    def __init__(self, published: PublishedRuleSet, shelf: Shelf) -> None:
        at_ms = published.counted_at
        if any(side.content.asks(AGE) for side in sides(published)):
            shelf = shelf.aged(at_ms)
        self._shelf = shelf
        self._share = published.share_bps
        self._sides = [_Side(side, at_ms, shelf) for side in sides(published)]
        self.names = [name for side in self._sides for name in side.names]
        self.currencies = [side.content.currency for side in self._sides for _ in side.names]

    @cached_property
    def margins(self) -> list[Margin]:
        """What each of `names` gives."""
        return [
            margin_of(name, terms, side.content, side.rate)
            for side in self._sides
            for name, terms in zip(side.names, side.terms, strict=True)
        ]

    @property
    def hits(self) -> NDArray[np.int64]:
        """Stones priced so far, by place in `names`."""
        return np.concatenate([side.hits for side in self._sides])

    @property
    def holds(self) -> NDArray[np.int64]:
        """Stones whose conditions held so far, by place in `names`."""
        return np.concatenate([side.table.holds_with_base(side.hits) for side in self._sides])

    def lot(self, rows: slice) -> Lot:
        """Price and rate the stones in these rows."""
        own = self._sides[0]
        if len(self._sides) == 1:
            return Lot(rows, *own.apply(rows, None))
        inside = self._shelf.buckets[rows] < self._share
        rest = self._sides[1]
        prices, terms, ratings = own.apply(rows, inside)
        other_prices, other_terms, other_ratings = rest.apply(rows, ~inside)
        return Lot(
            rows,
            np.where(inside, prices, other_prices),
            np.where(inside, terms, other_terms + len(own.names)).astype(np.int32),
            np.where(inside, ratings, other_ratings).astype(np.int8),
        )

    def lots(self) -> list[slice]:
        """The shelf in lots."""
        return [slice(at, min(at + LOT, len(self._shelf))) for at in range(0, len(self._shelf), LOT)]


class _Side:
    """One of the rule sets of a number."""

    def __init__(self, side: Side, at_ms: int, shelf: Shelf) -> None:
        content = self.content = side.content
        self.rate = side.rate
        rules = sorted(
            (rule for rule in content.rules if rule.valid_at(at_ms)), key=lambda rule: rule.priority
        )
        rated = sorted(
            (rule for rule in content.ratings.rules if rule.valid_at(at_ms)), key=lambda rule: rule.priority
        )
        base = base_terms(content.base)
        self.names = [*(rule.name for rule in rules), *map(base_rule, base)]
        self.hits = np.zeros(len(self.names), dtype=np.int64)
        self.table = _Table(rules, shelf)
        self._ratings = _Table(rated, shelf) if rated else None
        self._rating_values = np.array(
            [*(rule.rating for rule in rated), content.ratings.base or 0], dtype=np.int8
        )
        ppm = RATE_ONE if content.currency == HOME_CURRENCY or side.rate is None else side.rate.ppm
        self.terms: list[Terms] = [*rules, *base.values()]
        self._money = _Money(self.terms, ppm)
        self._shelf = shelf
        self._rules = len(rules)

    def apply(
        self, rows: slice, counted: Bits | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
        """Prices, terms and ratings; only the counted stones are counted as hits."""
        won = self.table.first(rows, counted)
        # Types are bytes, and a table has more rows than a byte can count.
        base = self._shelf.types[rows].astype(np.int32) + self._rules
        terms = np.where(won < self._rules, won, base)
        seen = terms if counted is None else terms[counted]
        self.hits += np.bincount(seen, minlength=len(self.names))
        prices = self._money.prices(self._shelf.arrays["cost_cents"][rows], terms)
        if self._ratings is None:
            ratings = np.full(len(terms), self._rating_values[-1], dtype=np.int8)
        else:
            ratings = self._rating_values[self._ratings.first(rows, None)]
        return prices, terms, ratings


class _Table:
    """Rows in their order; finds the first that holds for each stone."""

    def __init__(self, rows: Sequence[Row], shelf: Shelf) -> None:
        self._shelf = shelf
        self._looks: list[Look] = []
        self._known: dict[tuple[str, Condition], int] = {}
        self._rows = [self._group(row.when) for row in rows]
        self._holds = np.zeros(len(rows), dtype=np.int64)

    def holds_with_base(self, hits: NDArray[np.int64]) -> NDArray[np.int64]:
        """For how many stones each row held; a base margin holds where it is taken."""
        return np.concatenate([self._holds, hits[len(self._holds) :]])

    def first(self, rows: slice, counted: Bits | None) -> NDArray[np.int32]:
        """The place of the first row that holds, one past the last where none does."""
        size = rows.stop - rows.start
        won = np.full(size, len(self._rows), dtype=np.int32)
        left = np.ones(size, dtype=np.bool_)
        seen: dict[int, Bits] = {}
        for place, group in enumerate(self._rows):
            held = self._bits(group, rows, seen)
            if held is None:
                continue
            self._holds[place] += np.count_nonzero(held if counted is None else held & counted)
            held = held & left
            np.copyto(won, place, where=held)
            left ^= held
        return won

    def _bits(self, group: _Group, rows: slice, seen: dict[int, Bits]) -> Bits | None:
        """Where a group holds; null where it does for no stone of the lot."""
        bits: Bits | None = None
        for look in group.looks:
            found = seen.get(look)
            if found is None:
                found = seen[look] = self._looks[look](rows)
            bits = found if bits is None else bits & found
        for alternatives in group.any_of:
            parts = [part for inner in alternatives if (part := self._bits(inner, rows, seen)) is not None]
            if not parts:
                return None
            some = parts[0] if len(parts) == 1 else np.logical_or.reduce(parts)
            bits = some if bits is None else bits & some
        for inner in group.all_of:
            part = self._bits(inner, rows, seen)
            if part is None:
                return None
            bits = part if bits is None else bits & part
        return bits if bits is not None and bits.any() else None

    def _group(self, when: Mapping[str, Any]) -> _Group:
        looks, any_of, all_of = [], [], []
        for name, condition in when.items():
            if name == "any":
                any_of.append([self._group(group) for group in condition])
            elif name in GROUPS:
                all_of += [self._group(group) for group in condition]
            else:
                looks.append(self._look(name, condition))
        return _Group(looks, any_of, all_of)

    def _look(self, name: str, condition: Condition) -> int:
        key = (name, condition)
        if key not in self._known:
            self._known[key] = len(self._looks)
            self._looks.append(_look(self._shelf, name, condition))
        return self._known[key]


class _Group(NamedTuple):
    looks: list[int]
    any_of: list[list[_Group]]
    all_of: list[_Group]


def _look(shelf: Shelf, name: str, condition: Condition) -> Look:
    """One condition as a function of rows."""
    if isinstance(condition, Range):
        if name == "cost_per_carat_cents":
            return _span(shelf.cost_per_carat_cents, condition)
        return _span(shelf.arrays[name], condition)
    if isinstance(condition, bool):
        flags, wanted = shelf.arrays[name], int(condition)
        return lambda rows: flags[rows] == wanted
    if name == "id":
        return _among(shelf, condition)
    if name == "type":
        return _codes(shelf.types, [TYPES.index(text) for text in condition if text in TYPES], len(TYPES))
    texts = shelf.texts[name]
    wanted_texts = set(condition)
    codes = [code for code, text in enumerate(texts) if text is not None and text in wanted_texts]
    return _codes(shelf.arrays[name], codes, len(texts))


def _codes(column: NDArray[Any], codes: list[int], size: int) -> Look:
    if len(codes) > _FEW:
        table = np.zeros(size, dtype=np.bool_)
        table[codes] = True
        return lambda rows: table[column[rows]]

    def look(rows: slice) -> Bits:
        part = column[rows]
        if not codes:
            return np.zeros(len(part), dtype=np.bool_)
        bits = part == codes[0]
        for code in codes[1:]:
            bits |= part == code
        return cast(Bits, bits)

    return look


def _among(shelf: Shelf, ids: tuple[str, ...]) -> Look:
    found = sorted(shelf.rows[stone] for stone in set(ids) if stone in shelf.rows)

    def look(rows: slice) -> Bits:
        bits = np.zeros(rows.stop - rows.start, dtype=np.bool_)
        bits[[row - rows.start for row in found if rows.start <= row < rows.stop]] = True
        return bits

    return look


def _span(column: NDArray[Any], span: Range) -> Look:
    tests: list[tuple[Any, Any]] = []
    if span.min is not None:
        tests.append((np.greater_equal, span.min))
    elif column.dtype.kind == "i":
        # The null of integers lies below every bound; NaN compares false by itself.
        tests.append((np.not_equal, NULL_INT))
    if span.max is not None:
        tests.append((np.less_equal, span.max))
    if span.below is not None:
        tests.append((np.less, span.below))

    def look(rows: slice) -> Bits:
        part = column[rows]
        (compare, bound), *others = tests
        bits = compare(part, bound)
        for compare, bound in others:
            bits &= compare(part, bound)
        return cast(Bits, bits)

    return look


class _Money:
    """Costs to prices by terms; see `streams.pricing.engine.price_function`, whose results these are."""

    def __init__(self, terms: Sequence[Terms], ppm: int) -> None:
        self._scalar = [price_function(one, ppm) for one in terms]
        self._ppm = ppm
        self._factor = np.array([WHOLE_BPS + one.bps for one in terms], dtype=np.int64)
        roundings = [one.rounding or TO_THE_CENT for one in terms]
        self._to = np.array([one.to_cents for one in roundings], dtype=np.int64)
        self._ending = np.array([one.ending_cents for one in roundings], dtype=np.int64)
        self._half_up = np.array([one.mode == "half_up" for one in roundings])
        self._up = np.array([one.mode == "up" for one in roundings])
        self._amount = np.array([one.amount_cents for one in terms], dtype=np.int64)
        self._floor = np.array([max(0, one.floor_cents or 0) for one in terms], dtype=np.int64)
        self._ceiling = np.array(
            [_NO_CEILING if one.ceiling_cents is None else one.ceiling_cents for one in terms], dtype=np.int64
        )
        self._special = np.array(
            [
                one.rounding is not None or bool(one.amount_cents) or bool(one.floor_cents)
                or one.ceiling_cents is not None or ppm != RATE_ONE
                for one in terms
            ]
        )  # fmt: skip

    def prices(self, cost: NDArray[np.int64], terms: NDArray[np.int32]) -> NDArray[np.int64]:
        """The price of each stone, by its cost and the place of its terms."""
        prices = (cost * self._factor[terms] + WHOLE_BPS // 2) // WHOLE_BPS
        special = np.flatnonzero(self._special[terms])
        if len(special):
            prices[special] = self._rounded(cost[special], terms[special])
        for row in np.flatnonzero(cost > MAX_COST).tolist():
            prices[row] = self._scalar[terms[row]](int(cost[row]))
        return prices

    def _rounded(self, cost: NDArray[np.int64], terms: NDArray[np.int32]) -> NDArray[np.int64]:
        high, low = np.divmod(cost * self._factor[terms], SCALE)
        carried, part = np.divmod(low * self._ppm, SCALE)
        to, ending = self._to[terms], self._ending[terms]
        # The exact price is `whole` and `part` of SCALE parts more.
        whole = high * self._ppm + carried + self._amount[terms] - ending
        steps, over = np.divmod(whole, to)
        over2 = 2 * over
        up = self._half_up[terms] & ((over2 >= to) | ((over2 == to - 1) & (2 * part >= SCALE)))
        up |= self._up[terms] & ((over > 0) | (part > 0))
        prices = np.maximum(steps + up, 0) * to + ending
        limited = np.maximum(np.minimum(prices, self._ceiling[terms]), self._floor[terms])
        return cast(NDArray[np.int64], limited)
