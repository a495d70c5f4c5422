"""A living inventory: prices move, stones are sold, held, listed and photographed at set rates.

What is due is done when somebody looks (every request does), each change at the time at which it was due.
"""

from __future__ import annotations

from random import Random
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from . import vocabulary as words
from .columns import CERTIFICATE_IMAGE, IMAGE, V360, VIDEO
from .density import NATURAL_SHARE
from .holds import OTHER_BUYER, Holds
from .inventory import Inventory

_CHANGES_AT_ONCE: Final = 50_000
"""What a long pause is worth at most, so that the first look after it answers in time."""
_TRIES: Final = 200
_ALL_MEDIA: Final = IMAGE | VIDEO | CERTIFICATE_IMAGE | V360


class LifeRates(BaseModel):
    """Changes a second."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_moves: float = Field(default=0, ge=0, le=5_000)
    sales: float = Field(default=0, ge=0, le=5_000)
    holds: float = Field(default=0, ge=0, le=5_000)
    new: float = Field(default=0, ge=0, le=5_000)
    media: float = Field(default=0, ge=0, le=5_000)
    hold_s: float = Field(default=600, gt=0)
    """How long other buyers hold a stone."""
    seed: int = 0


class Life:
    """Applies the rates to an inventory."""

    def __init__(self, inventory: Inventory, holds: Holds) -> None:
        self._inventory = inventory
        self._holds = holds
        self.rates = LifeRates()
        self.done = dict.fromkeys(("price_moves", "sales", "holds", "new", "media"), 0)
        self._due = dict.fromkeys(self.done, 0.0)
        self._random = Random(0)
        self._lived_s = 0.0

    def set(self, rates: LifeRates) -> None:
        """New rates, from now on."""
        self.rates = rates
        self._random = Random(rates.seed)
        self._due = dict.fromkeys(self.done, 0.0)

    def advance(self, elapsed_s: float, now_ms: int) -> None:
        """Live until `elapsed_s` (the clock's elapsed seconds), which is `now_ms` on the vendor's clock."""
        passed_s = max(0.0, elapsed_s - self._lived_s)
        self._lived_s = max(self._lived_s, elapsed_s)
        for event in self.done:
            self._due[event] += passed_s * getattr(self.rates, event)
            count = min(int(self._due[event]), _CHANGES_AT_ONCE)
            self._due[event] -= int(self._due[event])
            for number in range(count):
                at_ms = now_ms - int(passed_s * 1000 * (1 - (number + 1) / count))
                self.done[event] += self.happen(event, at_ms)

    def happen(self, event: str, at_ms: int) -> bool:
        """Let one change happen; false when no stone is left for it."""
        if event == "new":
            self._inventory.add_stone(self._random.random() > NATURAL_SHARE, at_ms)
            return True
        row = self._some_row(missing_media=event == "media")
        if row is None:
            return False
        if event == "price_moves":
            self._move_price(row, at_ms)
        elif event == "sales":
            self._holds.sell(row, OTHER_BUYER, at_ms)
        elif event == "holds":
            self._holds.take(row, OTHER_BUYER, at_ms, at_ms + int(self.rates.hold_s * 1000))
        else:
            self._inventory.add_media(row, _ALL_MEDIA, at_ms)
        return True

    def sell_share(self, share: float, seed: int, now_ms: int) -> int:
        """Sell a share of what is available at once; returns how many were sold."""
        random = Random(seed)
        available = (self._inventory["availability"] == words.AVAILABLE).nonzero()[0].tolist()
        sold = random.sample(available, round(len(available) * share))
        for row in sold:
            self._holds.sell(row, OTHER_BUYER, now_ms)
        self.done["sales"] += len(sold)
        return len(sold)

    def restock(self, share: float, seed: int, now_ms: int) -> int:
        """Bring a share of what was sold back at once; returns how many came."""
        random = Random(seed)
        sold = (self._inventory["availability"] == words.SOLD).nonzero()[0].tolist()
        back = random.sample(sold, round(len(sold) * share))
        for row in back:
            self._inventory.set_availability(row, words.AVAILABLE, now_ms)
        return len(back)

    def _move_price(self, row: int, at_ms: int) -> None:
        """Lab-grown prices mostly fall; natural ones wander."""
        low, high = (-0.08, 0.02) if self._inventory["lab"][row] else (-0.04, 0.04)
        before = int(self._inventory["price_cents"][row])
        after = round(before * (1 + self._random.uniform(low, high)))
        self._inventory.set_price(row, max(100, after + (after == before)), at_ms)

    def _some_row(self, missing_media: bool) -> int | None:
        availability, media = self._inventory["availability"], self._inventory["media"]
        if self._inventory.rows == 0:
            return None
        for _ in range(_TRIES):
            row = self._random.randrange(self._inventory.rows)
            fits = media[row] != _ALL_MEDIA if missing_media else True
            if availability[row] == words.AVAILABLE and fits:
                return row
        return None
