"""The simulated vendor: its stock, its clock, its buyers, its faults, and what each GraphQL field does.

Nothing here knows of HTTP or of GraphQL documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from . import vocabulary as words
from .batch import Batch
from .clock import Clock
from .faults import Faults
from .filters import MoneyRules, Query, compile_query
from .holds import OTHER_BUYER, Hold, Holds
from .index import Index
from .inventory import Inventory
from .life import Life
from .rate import RateWitness
from .settings import SimulatorSettings
from .tokens import Session, Tokens

LIMIT: Final = 50
OFFSET_CAP: Final = 50_000
_ARBITRARY_STONES: Final = 30


class Refused(Exception):
    """The vendor answers with an entry in `errors`; the message is the vendor's."""


@dataclass(frozen=True)
class Page:
    """A page of stones, with the positions of members that are null and of those that are null with an error."""

    batch: Batch
    null_members: frozenset[int]
    failed_members: frozenset[int]


class Vendor:
    """One simulated vendor. Equal settings make an equal one."""

    def __init__(self, settings: SimulatorSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self.inventory = Inventory(
            settings.stones,
            settings.seed,
            settings.bad_share,
            settings.huge_comments,
            settings.unavailable_share,
        )
        self.index = Index(self.inventory)
        self.faults = Faults(self.clock)
        self.tokens = Tokens(settings, self.clock)
        self.holds = Holds(self.inventory, settings.seed)
        self.life = Life(self.inventory, self.holds)
        self.demo = Inventory(
            settings.demo_stones, settings.seed + 10_000, settings.bad_share, huge_comments=False
        )
        """The stock of the second vendor, whose API has another shape; life does not reach it."""
        self.witness = RateWitness(settings.requests_per_s)
        self.operations: Counter[str] = Counter()
        self.orders: list[dict[str, Any]] = []

    def live(self) -> None:
        """Let everything happen that is due by now."""
        now_ms = self.clock.now_ms()
        self.life.advance(self.clock.elapsed_s(), now_ms)
        self.holds.expire(now_ms)

    def page(
        self,
        session: Session,
        query: Mapping[str, Any] | None,
        offset: int | None,
        limit: int | None,
        order: Mapping[str, str] | None,
    ) -> Page:
        """What `diamonds_by_query` gives. Raises Refused for an offset or limit the vendor does not serve."""
        offset, limit = self._window(offset, limit)
        compiled = self._compiled(query)
        if self._hides(query):
            rows = np.array([], dtype=np.int64)
        elif compiled.inverted:
            rows = self._arbitrary(compiled)[:limit]
        else:
            sorting = order or {"type": "createdAt", "direction": "ASC"}
            found = self.index.find(compiled, sorting["type"], sorting["direction"] == "DESC")
            rows = self.served(found[offset : offset + limit].astype(np.int64))
        batch = self.batch(rows, session)
        return Page(batch, self._members("null_items", rows), self._members("partial_data_with_errors", rows))

    def count(self, query: Mapping[str, Any] | None) -> int:
        """What `diamonds_by_query_count` gives; right unless a switch makes it drift."""
        compiled = self._compiled(query)
        if self._hides(query):
            return 0
        if compiled.inverted:
            return len(self._arbitrary(compiled))
        count = self.index.count(compiled)
        if self.faults.hits("count_drift"):
            share = self.faults.parameter("count_drift", "share")
            count += round(count * self.faults.random("count_drift").uniform(-share, share))
        return count

    def by_id(self, session: Session, identifier: str) -> Batch | None:
        """One stone, whatever its availability; nothing when the id is unknown."""
        row = self.inventory.row_of(identifier)
        return None if row is None else self.batch(np.array([row]), session)

    def create_hold(self, session: Session, product_id: str) -> Hold | None:
        """Hold a stone; nothing when the vendor refuses. Raises Refused for an unknown stone."""
        row = self._row(product_id)
        now_ms = self.clock.now_ms()
        if self.faults.hits("hold_taken"):
            self.holds.take(row, OTHER_BUYER, now_ms, self._hold_end_ms())
        if self.faults.hits("hold_denied"):
            return None
        return self.holds.take(row, session.user, now_ms, self._hold_end_ms())

    def cancel_hold(self, session: Session, hold_id: str) -> Hold:
        """End an own hold. Raises Refused when there is none of that id."""
        hold = self.holds.get(hold_id, session.user)
        if hold is None:
            raise Refused("Hold not found")
        self.holds.release(hold_id, self.clock.now_ms())
        return hold

    def create_order(self, session: Session, items: list[dict[str, Any]]) -> str:
        """Sell the stones, all or none, and give the order's id. Raises Refused when one is not to be had."""
        rows = [self._row(item["offerId"]) for item in items]
        own = self.holds.of(session.user)
        for row in rows:
            if self.inventory["availability"][row] != words.AVAILABLE and row not in own:
                raise Refused(f"Diamond {self.inventory.ids.of_rows(np.array([row]))[0]} is not available")
        for row in rows:
            self.holds.sell(row, session.user, self.clock.now_ms())
        order = {"id": self.holds.new_id(), "buyer": session.user, "items": items}
        self.orders.append(order)
        return str(order["id"])

    def batch(self, rows: np.ndarray[Any, Any], session: Session) -> Batch:
        """Rows as this buyer sees them."""
        return Batch(self.inventory, rows.astype(np.int64), self.holds.of(session.user), self.faults.affects)

    def hold_batch(self, hold: Hold, session: Session) -> Batch:
        """The stone of a hold."""
        return self.batch(np.array([hold.row]), session)

    def now_text(self) -> str:
        """The vendor's time, RFC 3339."""
        return datetime.fromtimestamp(self.clock.now_s(), UTC).isoformat(timespec="milliseconds")

    def _hold_end_ms(self) -> int:
        return self.clock.now_ms() + int(self.settings.hold_life_s * 1000)

    def _row(self, identifier: str) -> int:
        row = self.inventory.row_of(identifier)
        if row is None:
            raise Refused(f"Diamond {identifier} not found")
        return row

    def _compiled(self, query: Mapping[str, Any] | None) -> Query:
        money = MoneyRules(self.faults.on("money_in_cents"), self.faults.on("money_ranges_exact"))
        try:
            return compile_query(query, money, self.faults.on("labgrown_omitted_both"))
        except ValueError as error:
            raise Refused(str(error)) from error

    def _hides(self, query: Mapping[str, Any] | None) -> bool:
        wanted = (query or {}).get("availability") or ["AVAILABLE"]
        return "AVAILABLE" not in wanted and self.faults.on("gone_hidden")

    def _window(self, offset: int | None, limit: int | None) -> tuple[int, int]:
        offset, limit = offset or 0, LIMIT if limit is None else limit
        if offset < 0 or limit < 0:
            raise Refused("offset and limit must not be negative")
        if limit > LIMIT and self.faults.on("limit_error"):
            raise Refused(f"limit must not be greater than {LIMIT}")
        if offset > OFFSET_CAP and not self.faults.on("offset_uncapped"):
            raise Refused(f"offset must not be greater than {OFFSET_CAP}")
        return offset, min(limit, LIMIT)

    def _arbitrary(self, query: Query) -> np.ndarray[Any, Any]:
        if not self.faults.on("inverted_range"):
            return np.array([], dtype=np.int64)
        return self.index.arbitrary(query, _ARBITRARY_STONES)

    def served(self, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A page as it leaves: sometimes it lost some of its items, or all, after it was sliced."""
        if len(rows) and self.faults.hits("empty_then_more"):
            return rows[:0]
        if len(rows) > 1 and self.faults.hits("short_page"):
            missing = min(len(rows) - 1, int(self.faults.parameter("short_page", "missing")))
            lost = self.faults.random("short_page").sample(range(len(rows)), missing)
            return np.delete(rows, lost)
        return rows

    def _members(self, fault: str, rows: np.ndarray[Any, Any]) -> frozenset[int]:
        """A tenth of the page's members, at least one."""
        if not len(rows) or not self.faults.hits(fault):
            return frozenset()
        return frozenset(self.faults.random(fault).sample(range(len(rows)), max(1, len(rows) // 10)))
