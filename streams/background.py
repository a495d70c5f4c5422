"""What the owner does while no fresh fact waits: repairs first, then stones that a newer rule set changes.

Small lots, each from the memory as it is then: a new owner, or this one after a crash, simply goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import numpy as np

from schemas.feeds import FEEDS
from streams import figures
from streams.memory import Memory
from streams.outbox import Outbox
from streams.records import repriced
from streams.tried import Tried
from streams.worker import Worker

LOT: Final = 500
"""Stones at once: what was decided is still in the processor's caches when it is produced."""


class Background:
    """Fills outboxes with repairs and re-priced stones of owned feeds."""

    def __init__(self, memory: Memory, worker: Worker, tried: Tried) -> None:
        self._memory = memory
        self._worker = worker
        self._tried = tried

    @property
    def todo(self) -> int:
        """Stones known to wait for a newer price."""
        return sum(map(len, self._tried.waiting.values()))

    def left(self, feed: str, number: int) -> int:
        """Stones of a feed that this number is to be tried on yet, or changes and that are not written."""
        # Looking through the memory takes 10 ms of a million stones: not while it is known how many wait.
        waiting = self._tried.waiting.get(feed, ()) if self._tried.number == number else ()
        return len(waiting) or len(self._memory.rows_below_rules(feed, number))

    def fill(
        self,
        feeds: Collection[str],
        now_ms: int,
        out: Outbox,
        may_reprice: Callable[[str], bool] = lambda feed: True,
    ) -> bool:
        """Add at most a lot of work for these feeds to an outbox; whether there was any.

        Args:
            feeds: the owned ones.
            now_ms: milliseconds since 1970.
            out: takes it.
            may_reprice: whether the number tried is the newest, the readers keep up and nobody has stopped it; asked of
                each feed that has stones to re-price. Repairs are few and do not wait.
        """
        repaired = self._repairs(feeds, out)
        for feed in feeds:
            if len(self._tried.waiting.get(feed, ())) and may_reprice(feed):
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
