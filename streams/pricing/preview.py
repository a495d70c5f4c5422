"""A draft tried on the whole stock: how many prices it moves, by how much, which rows do it, and what it would break.

Pure. What it says of a stone is what publishing the draft does to it, as long as the stone itself does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.conditions import TYPES
from schemas.ruleset import HOME_CURRENCY, RATE_ONE, WHOLE_BPS, PublishedRuleSet
from streams.pricing.bulk import BulkBook, Lot
from streams.pricing.engine import sides
from streams.pricing.guards import Break, Guards, Limits
from streams.pricing.shelf import Shelf

MOVES_BPS: Final = (-5_000, -2_000, -1_000, -500, -200, -100, 0, 100, 200, 500, 1_000, 2_000, 5_000)
"""Bounds between the bars of the histogram, in basis points of the present price."""
BANDS: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Bounds between bands of weight, in carats; a bound belongs to the band above."""
TOP: Final = 10

_HIGH: Final = 20


class Mover(msgspec.Struct, frozen=True):
    """A stone and its price before and after; cents are minor units of the draft's currency."""

    id: str
    before_cents: int
    after_cents: int
    move_bps: int
    rule: str


class Bar(msgspec.Struct, frozen=True):
    """Stones whose price moves by at least `from_bps` and less than `below_bps`; null for no bound."""

    from_bps: int | None
    below_bps: int | None
    stones: int


class Slice(msgspec.Struct, frozen=True):
    """A part of the stock: its stones, how many of them change, and the money they move."""

    name: str
    stones: int
    changed: int
    change_cents: int


class RowHits(msgspec.Struct, frozen=True):
    """A row: how many stones it prices, and how many it would if no earlier row did."""

    name: str
    hits: int
    holds: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a draft does to the stock; money in minor units of `currency`.

    Attributes:
        dead: rows that price no stone in stock; `shadowed` are those among them whose conditions hold for some.
        breaks: the guardrails it breaks; with any, a publish needs a reason to override them.
    """

    number: int
    currency: str
    stones: int
    changed: int
    changed_bps: int
    risen: int
    fallen: int
    before_cents: int
    after_cents: int
    change_cents: int
    mean_move_bps: float
    histogram: list[Bar]
    risers: list[Mover]
    fallers: list[Mover]
    rows: list[RowHits]
    dead: list[str]
    shadowed: list[str]
    by_type: list[Slice]
    by_shape: list[Slice]
    by_band: list[Slice]
    breaks: list[Break]
    warnings: list[str] = []


class Change(NamedTuple):
    """One stone whose price changes."""

    id: str
    before_cents: int
    after_cents: int
    rule: str


def preview(
    draft: PublishedRuleSet, shelf: Shelf, guards: Guards, present: PublishedRuleSet | None = None
) -> Report:
    """Try a draft on a shelf.

    Args:
        draft: under the number it would get.
        shelf: with the columns of `streams.pricing.shelf.attributes_of(draft)`.
        guards: what it may do.
        present: the rule set it would replace; tells the rate of present prices in another currency.
    """
    book = BulkBook(draft, shelf)
    sums = _Sums(shelf, draft.content.currency, len(book.names))
    before = _Before(shelf, draft, present)
    limit = Limits(draft, guards, book.names)
    for rows in book.lots():
        lot = book.lot(rows)
        was = before.cents(rows)
        sums.add(lot, was)
        limit.add(lot, was, shelf)
    return sums.report(draft, book, limit.breaks(sums.changed, shelf))


def changes(
    draft: PublishedRuleSet, shelf: Shelf, present: PublishedRuleSet | None = None
) -> Iterator[Change]:
    """Every stone whose price a draft changes, in the shelf's order."""
    book, before = BulkBook(draft, shelf), _Before(shelf, draft, present)
    for rows in book.lots():
        lot = book.lot(rows)
        was = before.cents(rows)
        for place in np.flatnonzero(lot.price_cents != was).tolist():
            yield Change(
                shelf.ids[rows.start + place],
                int(was[place]),
                int(lot.price_cents[place]),
                book.names[lot.terms[place]],
            )


class _Before:
    """Present prices in the draft's currency: others are converted at the present rates, halves up."""

    def __init__(self, shelf: Shelf, draft: PublishedRuleSet, present: PublishedRuleSet | None) -> None:
        self._shelf = shelf
        rates = [side.rate for one in (draft, present) if one for side in sides(one) if side.rate]
        ppm = {HOME_CURRENCY: RATE_ONE, **{rate.currency: rate.ppm for rate in reversed(rates)}}
        wanted = ppm[draft.content.currency]
        self._known = [
            None if text is None or text == draft.content.currency else ppm.get(text)
            for text in shelf.texts["currency"]
        ]
        self._foreign = any(self._known)
        self._wanted = wanted

    def cents(self, rows: slice) -> NDArray[np.int64]:
        """Present prices of these stones."""
        prices: NDArray[np.int64] = self._shelf.arrays["price_cents"][rows]
        if not self._foreign:
            return prices
        converted = prices.copy()
        codes = self._shelf.arrays["currency"][rows]
        for code, ppm in enumerate(self._known):
            if ppm is not None:
                chosen = codes == code
                whole, part = np.divmod(prices[chosen], ppm)
                converted[chosen] = whole * self._wanted + (part * self._wanted + ppm // 2) // ppm
        return converted


@dataclass
class _Sums:
    """Everything that is counted over the lots."""

    shelf: Shelf
    currency: str
    terms: int
    changed: int = 0
    risen: int = 0
    before_cents: int = 0
    after_cents: int = 0
    move_sum: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(MOVES_BPS) + 1, dtype=np.int64))
    moves: list[
        tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._slices = {
            "type": _Slices(list(TYPES)),
            "shape": _Slices([str(text) for text in self.shelf.texts["shape"]]),
            "band": _Slices(_band_names()),
        }

    def add(self, lot: Lot, was: NDArray[np.int64]) -> None:
        """Count a lot."""
        diff = lot.price_cents - was
        self.before_cents += int(was.sum())
        self.after_cents += int(lot.price_cents.sum())
        moved = np.flatnonzero(diff)
        self.changed += len(moved)
        arrays, rows = self.shelf.arrays, lot.rows
        whole = len(moved) == len(diff)

        def part(values: NDArray[Any]) -> NDArray[Any]:
            return values if whole else values[moved]

        by, base = part(diff), part(was)
        for name, codes in (
            ("type", self.shelf.types[rows]),
            ("shape", arrays["shape"][rows]),
            ("band", _bands(arrays["carat"][rows])),
        ):
            self._slices[name].add(codes, part(codes), by)
        if not len(moved):
            return
        self.risen += int(np.count_nonzero(by > 0))
        # A price of nothing moves beyond any measure; a hundredfold stands for it.
        bps = np.where(base > 0, by * WHOLE_BPS // np.maximum(base, 1), 100 * WHOLE_BPS)
        self.move_sum += float(bps.sum())
        self.histogram += _bars(bps)
        self._keep_extremes(rows, moved, bps, base, part(lot.price_cents), part(lot.terms))

    def _keep_extremes(
        self,
        rows: slice,
        moved: NDArray[np.intp],
        bps: NDArray[np.int64],
        base: NDArray[np.int64],
        after: NDArray[np.int64],
        terms: NDArray[np.int32],
    ) -> None:
        if len(bps) > 2 * TOP:
            ends = np.argpartition(bps, (TOP, len(bps) - TOP))
            chosen = np.concatenate([ends[:TOP], ends[-TOP:]])
        else:
            chosen = np.arange(len(bps))
        self.moves.append(
            (bps[chosen], moved[chosen] + rows.start, base[chosen], after[chosen], terms[chosen])
        )

    def movers(self, names: list[str], *, up: bool) -> list[Mover]:
        """The stones that move most in one direction."""
        if not self.moves:
            return []
        bps, rows, base, after, terms = (np.concatenate(parts) for parts in zip(*self.moves, strict=True))
        order = np.lexsort((rows, -bps if up else bps))[:TOP]
        return [
            Mover(self.shelf.ids[rows[at]], int(base[at]), int(after[at]), int(bps[at]), names[terms[at]])
            for at in order.tolist()
            if (bps[at] > 0 or after[at] > base[at]) == up
        ]

    def report(self, draft: PublishedRuleSet, book: BulkBook, breaks: list[Break]) -> Report:
        """The sums as a report."""
        stones = len(self.shelf)
        hits, holds = book.hits.tolist(), book.holds.tolist()
        rows = [RowHits(*row) for row in zip(book.names, hits, holds, strict=True)]
        dead = [row for row in rows if not row.hits and not row.name.startswith("base:")]
        edges = [None, *MOVES_BPS, None]
        return Report(
            number=draft.number,
            currency=self.currency,
            stones=stones,
            changed=self.changed,
            changed_bps=self.changed * WHOLE_BPS // stones if stones else 0,
            risen=self.risen,
            fallen=self.changed - self.risen,
            before_cents=self.before_cents,
            after_cents=self.after_cents,
            change_cents=self.after_cents - self.before_cents,
            mean_move_bps=round(self.move_sum / stones, 2) if stones else 0.0,
            histogram=[
                Bar(edges[place], edges[place + 1], count)
                for place, count in enumerate(self.histogram.tolist())
            ],
            risers=self.movers(book.names, up=True),
            fallers=self.movers(book.names, up=False),
            rows=rows,
            dead=[row.name for row in dead],
            shadowed=[row.name for row in dead if row.holds],
            by_type=self._slices["type"].report(),
            by_shape=self._slices["shape"].report(),
            by_band=self._slices["band"].report(),
            breaks=breaks,
        )


class _Slices:
    """Counts and exact sums by code."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._stones = np.zeros(len(names), dtype=np.int64)
        self._changed = np.zeros(len(names), dtype=np.int64)
        self._cents = np.zeros(len(names), dtype=np.int64)

    def add(self, codes: NDArray[Any], changed: NDArray[Any], by: NDArray[np.int64]) -> None:
        size = len(self._names)
        self._stones += np.bincount(codes, minlength=size)
        if len(changed):
            self._changed += np.bincount(changed, minlength=size)
            # Sums of floats are exact below 2^53; halves of the numbers stay there.
            high, low = by >> _HIGH, by & ((1 << _HIGH) - 1)
            self._cents += np.bincount(changed, high, size).astype(np.int64) << _HIGH
            self._cents += np.bincount(changed, low, size).astype(np.int64)

    def report(self) -> list[Slice]:
        rows = zip(
            self._names, self._stones.tolist(), self._changed.tolist(), self._cents.tolist(), strict=True
        )
        return [Slice(*row) for row in rows if row[1]]


def _bars(bps: NDArray[np.int64]) -> NDArray[np.int64]:
    at_least = [len(bps), *(int(np.count_nonzero(bps >= bound)) for bound in MOVES_BPS), 0]
    return np.array(
        [at_least[place] - at_least[place + 1] for place in range(len(MOVES_BPS) + 1)], dtype=np.int64
    )


def _bands(carat: NDArray[np.float64]) -> NDArray[np.int8]:
    bands = np.zeros(len(carat), dtype=np.int8)
    for bound in BANDS:
        bands += carat >= bound
    return bands


def _band_names() -> list[str]:
    edges = [0, *BANDS]
    return [
        *(f"{low:g} to {high:g} ct" for low, high in zip(edges, BANDS, strict=False)),
        f"{BANDS[-1]:g} ct and more",
    ]
