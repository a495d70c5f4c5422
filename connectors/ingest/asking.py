"""Asking until there is an answer: what each fate of a request means for the next one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina
import structlog

from connectors.budget import Budget, Grant, Priority, StaleGrant
from connectors.ingest.activity import Activity
from connectors.ingest.metrics import RETRIES
from schemas.errors import Retriable, SlowDown
from schemas.seq import Seq

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a feed's vendor, or Kafka, again and again until it answers.

    Nothing but `Invalid` and `Fatal` gets through: they are for whoever runs the feed.
    """

    feed: str
    priority: Priority
    budget: Budget
    activity: Activity

    @property
    def who(self) -> str:
        """Whose progress this is: a feed's runs of one class."""
        return f"{self.feed} {self.priority.name.lower()}"

    async def ask(self, call: Callable[[Grant], Awaitable[T]], grant: Grant | None = None) -> tuple[T, Seq]:
        """One answered request and the seq of the grant that brought it; `grant` serves the first attempt."""
        async for attempt in self._attempts():
            with attempt:
                held, grant = grant or await self.budget.grant(self.priority), None
                with held:
                    answer = await call(held)
                self.activity.progressed(self.who)
                return answer, held.seq
        raise AssertionError("there is no last attempt")

    async def until_done(self, call: Callable[[], Awaitable[T]]) -> T:
        """The same for a call that takes no grant."""
        async for attempt in self._attempts():
            with attempt:
                result = await call()
                self.activity.progressed(self.who)
                return result
        raise AssertionError("there is no last attempt")

    def _attempts(self) -> AsyncIterable[stamina.Attempt]:
        return stamina.retry_context(
            on=self._pause_after,
            attempts=None,
            timeout=None,
            wait_initial=0.25,
            wait_max=30,
            wait_jitter=0.25,
        )

    def _pause_after(self, error: Exception) -> bool | float:
        """Whether to try again; a number is the pause in seconds, true one that doubles."""
        if isinstance(error, StaleGrant):
            return 0.0
        if not isinstance(error, Retriable):
            return False
        RETRIES.labels(self.feed, type(error).__name__).inc()
        self.activity.waits(self.who, str(error))
        if isinstance(error, SlowDown):
            # The pause is the budget's: it holds back everybody whom it concerns, this call too.
            return 0.0
        log.warning("ingest.tries_again", feed=self.feed, cause=str(error))
        return True
