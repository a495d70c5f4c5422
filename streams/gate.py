"""Which feeds a worker leaves unread, and when it must leave its group: limits of its own, and what operators pause.

What is left unread is not acknowledged: the committed offset stays where the feed stopped, and whoever owns the feed
once it goes on reads on from there. Without Postgres a worker keeps to what it last saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from connectors.postgres.pauses import PauseWatch, stop_feed
from runtime.health import Check
from runtime.postgres import Database
from schemas.errors import Retriable
from schemas.feeds import feeds_of
from streams.limits import Limits

log = structlog.stdlib.get_logger(__name__)

_RETRY_S: Final = 1.0
_ACTOR: Final = "process"


class Gate:
    """Asked before a record is taken, told of what became of it.

    Args:
        database: where pauses are kept; without one only the worker's own limits hold.
        group: the worker's consumer group.
    """

    def __init__(self, database: Database | None, group: str) -> None:
        self._database = database
        self._group = group
        self._watch = PauseWatch(database) if database is not None else None
        self._limits = Limits()
        self._own: dict[str, str] = {}
        self._left: set[str] = set()
        self._telling: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Keep looking at what is paused, until cancelled."""
        if self._watch is not None:
            await self._watch.serve()

    def paused(self) -> str | None:
        """Why the worker must not be in its group now."""
        return self._watch.now.groups.get(self._group) if self._watch is not None else None

    def must_leave(self) -> bool:
        """Whether the worker must leave its group: it is paused, or a feed goes on that was left unread."""
        return self.paused() is not None or any(self._stopped(feed) is None for feed in self._left)

    def joined(self) -> None:
        """A new membership begins: everything is read from where it was acknowledged."""
        self._limits.forget(self._left)
        self._left.clear()

    def lets_pass(self, slot: int) -> bool:
        """Whether a record of this partition may be taken."""
        stopped = [feed for feed in feeds_of(slot) if self._stopped(feed) is not None]
        self._left.update(stopped)
        return not stopped

    def stops(self, slot: int) -> bool:
        """Whether this partition stands still because somebody, or too many refusals, stopped it."""
        return any(self._stopped(feed) is not None for feed in feeds_of(slot))

    def count(self, feed: str, refused: Sequence[bool], offset: int) -> None:
        """Learn which of a record's items were refused; stops the feed behind it when there are too many refusals."""
        if self._watch is not None and offset < self._watch.now.waivers.get(feed, 0):
            return
        reason = self._limits.count(feed, refused)
        if reason is not None and feed not in self._own:
            log.error("process.feed_stopped", feed=feed, reason=reason, raw_offset=offset + 1)
            self._own[feed] = reason
            if self._database is not None:
                telling = asyncio.create_task(self._tell(self._database, feed, reason, offset + 1))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)

    def check(self) -> Check:
        """Standing still because somebody wanted it is no failure; it is said."""
        stopped = {feed: reason for feed in self._left if (reason := self._stopped(feed))}
        return Check(True, {"paused": self.paused(), "stopped": stopped})

    def _stopped(self, feed: str) -> str | None:
        known = self._watch.now.feeds.get(feed) if self._watch is not None else None
        return known or self._own.get(feed)

    async def _tell(self, database: Database, feed: str, reason: str, offset: int) -> None:
        """Keep the stop where everybody sees it; from then on only an operator ends it."""
        while True:
            try:
                async with database.transaction() as link:
                    await stop_feed(link, feed, reason, actor=_ACTOR, raw_offset=offset)
                if self._watch is not None:
                    await self._watch.look()
            except Retriable as error:
                log.warning("process.stop_untold", feed=feed, reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                if self._watch is not None and feed in self._watch.now.feeds:
                    self._own.pop(feed, None)
                    return
                await asyncio.sleep(_RETRY_S)
