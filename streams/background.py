"""What the owner does while no fresh fact waits: repairs first, then stones that a newer rule set changes.

Small lots, each from the memory as it is then: a new owner, or this one after a crash, simply goes on. A new rule set
is tried on all stones first, and the columns for the next one are read while nothing else is to be done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

import numpy as np
import structlog

from runtime.heap import give_back
from schemas.feeds import FEEDS
from schemas.ruleset import PublishedRuleSet
from streams import figures
from streams.memory import Memory
from streams.outbox import Outbox
from streams.records import repriced
from streams.tried import Tried
from streams.worker import Worker

log = structlog.stdlib.get_logger(__name__)

LOT: Final = 500
"""Stones at once: what was decided is still in the processor's caches when it is produced."""
_READ_STONES: Final = 2_000
_LOOK_AGAIN_S: Final = 1.0
_TIDY_EVERY_S: Final = 30.0


class Background:
    """Fills outboxes with repairs and re-priced stones of owned feeds."""

    def __init__(self, memory: Memory, worker: Worker, tried: Tried) -> None:
        self._memory = memory
        self._worker = worker
        self._tried = tried
        self._tried_for: tuple[int, list[str]] = (0, [])
        self._cancelled: dict[str, int] = {}
        self._look_again_at = 0.0
        self._tidy_at = 0.0

    @property
    def todo(self) -> int:
        """Stones known to wait for a newer price."""
        return sum(
            len(places) for feed, places in self._tried.waiting.items() if not self._is_cancelled(feed)
        )

    def left(self, feed: str, number: int) -> int:
        """Stones of a feed that this number is to be tried on yet, or changes and that are not written."""
        # Looking through the memory takes 10 ms of a million stones: not while it is known how many wait.
        waiting = self._tried.waiting.get(feed, ()) if self._tried.number == number else ()
        return len(waiting) or len(self._memory.rows_below_rules(feed, number))

    def cancel(self, feed: str, number: int) -> None:
        """Leave what is left of a feed as it is, until there is another number."""
        self._cancelled[feed] = number

    def has_tried(self, number: int, feeds: list[str]) -> bool:
        """Whether a number was tried on the stones of these feeds."""
        return self._tried_for == (number, feeds)

    async def try_rules(self, published: PublishedRuleSet, feeds: list[str], *, quiet: bool) -> bool:
        """Read a lot of stones into the columns, or try a rule set on all of them; whether there was any to read.

        Args:
            published: the newest rule set.
            feeds: the owned ones.
            quiet: whether no facts came lately: beside them only what was not tried yet is worth the time.
        """
        tried = self.has_tried(published.number, feeds)
        if tried and (self.todo or not quiet):
            return False
        left = await asyncio.to_thread(self._tried.read, published, feeds, _READ_STONES)
        figures.REPRICE_UNREAD.set(left)
        if not left and (not tried or self._some_wait(published.number, feeds)):
            same = await asyncio.to_thread(self._tried.look, published)
            log.info("process.rules_tried", number=published.number, same=same, others=self.todo)
            self._tried_for = (published.number, feeds)
        return left > 0

    def _some_wait(self, number: int, feeds: list[str]) -> bool:
        """Whether stones were left, or have come since, that nobody tried the number on."""
        if time.monotonic() < self._look_again_at:
            return False
        self._look_again_at = time.monotonic() + _LOOK_AGAIN_S
        return any(self.left(feed, number) for feed in feeds if self._cancelled.get(feed) != number)

    def _is_cancelled(self, feed: str) -> bool:
        return self._cancelled.get(feed) == self._tried.number

    async def tidy(self) -> None:
        """Nothing is to do: now and then, give back what a flood of pages took."""
        if time.monotonic() > self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_EVERY_S
            await asyncio.to_thread(give_back)

    def fill(
        self,
        feeds: Collection[str],
        now_ms: int,
        out: Outbox,
        may_reprice: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Add at most a lot of work for these feeds to an outbox; whether there was any.

        Args:
            feeds: the owned ones.
            now_ms: milliseconds since 1970.
            out: takes it.
            may_reprice: whether the number tried is the newest and the readers keep up; asked where there are stones to
                re-price. Repairs are few and do not wait.
        """
        repaired = self._repairs(feeds, out)
        for feed in feeds:
            waits = len(self._tried.waiting.get(feed, ())) and not self._is_cancelled(feed)
            if waits and may_reprice():
                self._reprice(feed, now_ms, out)
                return True
        return repaired

    def _repairs(self, feeds: Collection[str], out: Outbox) -> bool:
        mine = [
            stone for stone in self._memory.pending_repairs(LOT)
            if stone.partition(":")[0] in feeds and stone not in out.overlay
        ]  # fmt: skip
        for stone in mine:
            self._worker.repair(stone, out)
            figures.REPAIRED.inc()
        return bool(mine)

    def _reprice(self, feed: str, now_ms: int, out: Outbox) -> None:
        waiting = self._tried.waiting
        places, waiting[feed] = waiting[feed][:LOT], waiting[feed][LOT:]
        given = self._tried.given(places)
        there, known = self._memory.still(given.ids, given.rows, given.offsets)
        # What has moved on since it was tried was priced by whoever wrote it, or is tried again.
        if not out.overlay.keys().isdisjoint(known.ids):
            free = np.array(
                [place for place, stone in enumerate(known.ids) if stone not in out.overlay], np.intp
            )
            there, known = there[free], known.only(free)
        if len(there):
            out.add(
                FEEDS[feed].slot,
                repriced(
                    *(known, given.prices[there], given.terms[there], given.named_terms),
                    *(self._tried.number, now_ms),
                ),
            )
        figures.REPRICED.labels(feed).inc(len(there))
