"""Holds and orders: who has which stone, until when. Kept in memory, gone with the process."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from random import Random
from uuid import UUID

from . import vocabulary as words
from .inventory import Inventory

OTHER_BUYER = "another buyer"


@dataclass(frozen=True)
class Hold:
    """A stone kept for a buyer until a time (epoch ms by the vendor's clock)."""

    id: str
    row: int
    buyer: str
    until_ms: int


class Holds:
    """The holds of one inventory."""

    def __init__(self, inventory: Inventory, seed: int) -> None:
        self._inventory = inventory
        self._random = Random(seed)
        self._by_row: dict[int, Hold] = {}
        self._by_id: dict[str, Hold] = {}
        self._expiries: list[tuple[int, str]] = []

    def take(self, row: int, buyer: str, now_ms: int, until_ms: int) -> Hold | None:
        """Hold a stone; nothing when it is not available."""
        if self._inventory["availability"][row] != words.AVAILABLE:
            return None
        hold = Hold(self.new_id(), row, buyer, until_ms)
        self._by_row[row] = self._by_id[hold.id] = hold
        heapq.heappush(self._expiries, (until_ms, hold.id))
        self._inventory.set_availability(row, words.HOLD, now_ms)
        return hold

    def release(self, hold_id: str, now_ms: int) -> Hold | None:
        """End a hold; nothing when it is unknown or over."""
        hold = self._by_id.pop(hold_id, None)
        if hold is None:
            return None
        del self._by_row[hold.row]
        self._inventory.set_availability(hold.row, words.AVAILABLE, now_ms)
        return hold

    def sell(self, row: int, buyer: str, now_ms: int) -> bool:
        """Sell a stone that is available or held by this buyer; a sold stone stays in the index."""
        hold = self._by_row.get(row)
        free = self._inventory["availability"][row] == words.AVAILABLE
        if not (free or (hold is not None and hold.buyer == buyer)):
            return False
        if hold is not None:
            del self._by_row[row], self._by_id[hold.id]
        self._inventory.set_availability(row, words.SOLD, now_ms)
        return True

    def expire(self, now_ms: int) -> None:
        """End every hold whose time is over."""
        while self._expiries and self._expiries[0][0] <= now_ms:
            _, hold_id = heapq.heappop(self._expiries)
            self.release(hold_id, now_ms)

    def get(self, hold_id: str, buyer: str) -> Hold | None:
        """A buyer's own hold."""
        hold = self._by_id.get(hold_id)
        return hold if hold is not None and hold.buyer == buyer else None

    def of(self, buyer: str) -> dict[int, str]:
        """Row to hold id for one buyer: a hold's id is shown to its holder only."""
        return {row: hold.id for row, hold in self._by_row.items() if hold.buyer == buyer}

    def new_id(self) -> str:
        """An id for a hold, refused or not, or an order."""
        return str(UUID(int=self._random.getrandbits(128), version=4))
