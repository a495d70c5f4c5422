"""What a publish may do without being asked for a reason, and what of a draft goes beyond it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.ruleset import HOME_CURRENCY, RATE_ONE, WHOLE_BPS, PublishedRuleSet, Rate
from streams.pricing.bulk import Lot
from streams.pricing.engine import SCALE, sides
from streams.pricing.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Guards:
    """What a publish may do without being asked for a reason.

    Attributes:
        min_margin_bps: a price may not be lower than the cost and this margin.
        max_move_bps: no price may move by more, up or down.
        max_changed_bps: no larger share of the stones may change. Half of them by default: what moves more is a change
            of base margins or currency, which somebody wants and can say why, or a mistake in a table.
    """

    min_margin_bps: int = 0
    max_move_bps: int = 5_000
    max_changed_bps: int = 5_000


class Break(msgspec.Struct, frozen=True):
    """A guardrail that a draft breaks: which one, its limit, what the draft does, for how many stones, and one of them."""

    guard: str
    limit: int
    found: int
    stones: int
    example: str | None = None


class Limits:
    """Looks for stones beyond what the guards allow."""

    def __init__(self, draft: PublishedRuleSet, guards: Guards, names: list[str]) -> None:
        self._guards = guards
        self._rates = _rate_of_each(draft, names)
        self._below = _Worst()
        self._moved = _Worst()

    def add(self, lot: Lot, was: NDArray[np.int64], shelf: Shelf) -> None:
        """Look at a lot."""
        ppm, start = self._rates[lot.terms], lot.rows.start
        least = least_cents(shelf.arrays["cost_cents"][lot.rows], self._guards.min_margin_bps, ppm)
        self._below.add(start, np.flatnonzero(lot.price_cents < least), least - lot.price_cents)
        diff = np.abs(lot.price_cents - was)
        far = np.flatnonzero(diff > was // WHOLE_BPS * self._guards.max_move_bps)
        far = far[diff[far] * WHOLE_BPS > was[far] * self._guards.max_move_bps]
        self._moved.add(start, far, diff * WHOLE_BPS // np.maximum(was, 1))

    def breaks(self, changed: int, shelf: Shelf) -> list[Break]:
        """The guardrails that are broken."""
        guards, found = self._guards, []
        if self._below.stones:
            found.append(self._below.as_break("below_cost", guards.min_margin_bps, shelf))
        if self._moved.stones:
            found.append(self._moved.as_break("max_move", guards.max_move_bps, shelf))
        if len(shelf) and changed * WHOLE_BPS > guards.max_changed_bps * len(shelf):
            share = changed * WHOLE_BPS // len(shelf)
            found.append(Break("max_changed", guards.max_changed_bps, share, changed))
        return found


class _Worst:
    """How many stones break a limit, and the one that does so most."""

    def __init__(self) -> None:
        self.stones, self.found, self.row = 0, 0, -1

    def add(self, start: int, places: NDArray[np.intp], by: NDArray[np.int64]) -> None:
        if len(places):
            self.stones += len(places)
            worst = int(places[np.argmax(by[places])])
            if int(by[worst]) > self.found or self.row < 0:
                self.found, self.row = int(by[worst]), start + worst

    def as_break(self, guard: str, limit: int, shelf: Shelf) -> Break:
        return Break(guard, limit, self.found, self.stones, shelf.ids[self.row])


def least_cents(
    cost_cents: NDArray[np.int64], margin_bps: int, ppm: NDArray[np.int64] | int
) -> NDArray[np.int64]:
    """The lowest price that is not below cost and margin, in minor units at a rate; fractions count as a whole one."""
    high, low = np.divmod(cost_cents * (WHOLE_BPS + margin_bps), SCALE)
    return cast(NDArray[np.int64], high * ppm - (-low * ppm // SCALE))


def _rate_of_each(draft: PublishedRuleSet, names: list[str]) -> NDArray[np.int64]:
    own, *rest = (_ppm(side.content.currency, side.rate) for side in sides(draft))
    if not rest:
        return np.full(len(names), own, dtype=np.int64)
    first = names.index("base:fancy") + 1
    return np.array([own] * first + [rest[0]] * (len(names) - first), dtype=np.int64)


def _ppm(currency: str, rate: Rate | None) -> int:
    return RATE_ONE if currency == HOME_CURRENCY or rate is None else rate.ppm
