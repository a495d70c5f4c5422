"""Asks for the runs that are due, and does what operators asked for when its time has come.

Both stand in Postgres before anything is done about them: whatever was asked for, or delayed, survives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from connectors.ingest.lane import Lane
from connectors.ingest.orders import Orders
from connectors.ingest.schedule import Last, full_is_due, incremental_is_due, sweep_time
from connectors.runs import store
from connectors.runs.states import State
from connectors.runs.transitions import BY_INGEST, born
from runtime.postgres import Database, Link
from runtime.settings import IngestSettings
from schemas.facts import RunKind

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0

_LAST: Final = """
SELECT state, requested_at, changed_at FROM runs WHERE feed = $1 AND kind = $2 ORDER BY requested_at DESC LIMIT 1"""


class Scheduler:
    """Looks every second.

    Args:
        feeds: names of the feeds.
        lanes: told to look when something was asked for.
        orders: does what operators asked for.
    """

    def __init__(
        self,
        settings: IngestSettings,
        database: Database,
        feeds: Sequence[str],
        lanes: Sequence[Lane],
        orders: Orders,
    ) -> None:
        self._settings = settings
        self._database = database
        self._feeds = feeds
        self._lanes = lanes
        self._orders = orders

    async def run(self) -> None:
        """For ever."""
        while True:
            async with self._database.transaction() as link:
                asked = [await self._look(link, feed) for feed in self._feeds]
            done = await self._orders.do_due()
            if any(asked) or done:
                for lane in self._lanes:
                    lane.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, link: Link, feed: str) -> bool:
        now = datetime.now(UTC)
        full, incremental = (
            await _last(link, feed, RunKind.FULL),
            await _last(link, feed, RunKind.INCREMENTAL),
        )
        if full_is_due(full, sweep_time(self._settings.full_sweep_at), now):
            await _ask(link, feed, RunKind.FULL, "the day's sweep" if full else "the first sweep", now)
            return True
        every = timedelta(seconds=self._settings.incremental_every_s)
        if incremental_is_due(incremental, full, every, now) and await store.watermark_of(link, feed):
            await _ask(
                link, feed, RunKind.INCREMENTAL, f"every {self._settings.incremental_every_s:g} s", now
            )
            return True
        return False


async def _last(link: Link, feed: str, kind: RunKind) -> Last | None:
    row = await link.fetchrow(_LAST, feed, kind)
    return None if row is None else Last(State(row["state"]), row["requested_at"], row["changed_at"])


async def _ask(link: Link, feed: str, kind: RunKind, cause: str, now: datetime) -> None:
    await born(link, store.new_name(feed, kind, now), feed, kind, cause, BY_INGEST)
