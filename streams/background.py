"""What the owner does while no fresh fact waits: repairs first, then stones priced under an older rule set.

Small slices, each from the memory as it is then: a new owner, or this one after a crash, simply goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams import figures
from streams.memory import Memory, read_version
from streams.outbox import Outbox
from streams.pricing import PriceBook
from streams.worker import Worker

SLICE: Final = 1_000
LOOK_AGAIN_S: Final = 1.0


class Background:
    """Fills outboxes with repairs and re-priced stones of owned feeds.

    Args:
        clock: seconds, monotonic; paces how often the whole stock is looked through.
    """

    def __init__(
        self, memory: Memory, worker: Worker, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory = memory
        self._worker = worker
        self._clock = clock
        self._todo: dict[str, NDArray[np.int64]] = {}
        self._looked: dict[str, tuple[int, float]] = {}

    @property
    def todo(self) -> int:
        """Stones known to wait for a newer price."""
        return sum(map(len, self._todo.values()))

    def look_again(self) -> None:
        """The memory was told of stones that stay as they are: forget the lists made before."""
        self._todo.clear()

    def fill(
        self,
        feeds: Collection[str],
        book: PriceBook,
        now_ms: int,
        out: Outbox,
        may_reprice: Callable[[str], bool] = lambda feed: True,
    ) -> None:
        """Add at most a slice of work for these feeds to an empty outbox.

        Args:
            feeds: the owned ones.
            book: what to price under.
            now_ms: milliseconds since 1970.
            out: takes it.
            may_reprice: whether the readers keep up and nobody has stopped it; asked of each feed that has stones to
                re-price. Repairs are few and do not wait.
        """
        self._repairs(feeds, out)
        for feed in feeds:
            room = SLICE - len(out.stones)
            if room > 0 and len(self._rows(feed, book.number)) and may_reprice(feed):
                self._reprice(feed, book, now_ms, room, out)

    def _repairs(self, feeds: Collection[str], out: Outbox) -> None:
        for stone in self._memory.pending_repairs(SLICE):
            if stone.partition(":")[0] in feeds:
                self._worker.repair(stone, out)
                figures.REPAIRED.inc()

    def _reprice(self, feed: str, book: PriceBook, now_ms: int, room: int, out: Outbox) -> None:
        rows = self._todo[feed]
        self._todo[feed] = rows[room:]
        before = len(out.stones)
        rows, offsets, bodies = self._memory.records(rows[:room])
        versions = [read_version(body) for body in bodies]
        same = set(self._worker.reprice(versions, book, now_ms, out))
        if same:
            left = np.array([version.id in same for version in versions])
            self._memory.leave_as_they_are(rows[left], offsets[left], book.number)
        figures.REPRICED.labels(feed).inc(len(out.stones) - before)

    def _rows(self, feed: str, number: int) -> NDArray[np.int64]:
        looked_for, looked_at = self._looked.get(feed, (0, 0.0))
        rows = self._todo.get(feed)
        if (
            looked_for == number
            and rows is not None
            and (len(rows) or self._clock() - looked_at < LOOK_AGAIN_S)
        ):
            return rows
        self._looked[feed] = (number, self._clock())
        self._todo[feed] = self._memory.rows_below_rules(feed, number)
        return self._todo[feed]
