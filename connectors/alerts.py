"""Where this package says that an operator should know something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import stamina
import structlog

from connectors.postgres import events
from runtime.postgres import Database
from schemas.errors import Retriable
from schemas.events import Kind

log = structlog.stdlib.get_logger(__name__)

LAST_S: Final = 5.0
"""How long the end of a process waits for Postgres to take what was told."""
_ACTOR: Final = "ingest"


class Alerts(Protocol):
    """Takes alert events. Returns at once and never raises: an alert must not stop what it is about."""

    def raised(self, kind: Kind, subject: str, text: str) -> None:
        """Something is wrong with `subject`; said again while it lasts, it is one event."""

    def resolved(self, kind: Kind, subject: str) -> None:
        """It is over."""


class LoggedAlerts:
    """Alerts as log lines alone."""

    def raised(self, kind: Kind, subject: str, text: str) -> None:
        """Log it."""
        log.error("alert.raised", kind=kind.value, subject=subject, text=text)

    def resolved(self, kind: Kind, subject: str) -> None:
        """Log it."""
        log.info("alert.resolved", kind=kind.value, subject=subject)


@dataclass(frozen=True, slots=True)
class RecordedAlerts(LoggedAlerts):
    """Alerts as events in Postgres, in the order in which they were told; while it is away they wait.

    Attributes:
        database: where events are kept.
    """

    database: Database
    _told: asyncio.Queue[tuple[Kind, str, str | None]] = field(default_factory=asyncio.Queue)

    def raised(self, kind: Kind, subject: str, text: str) -> None:
        """Have it recorded."""
        LoggedAlerts.raised(self, kind, subject, text)
        self._told.put_nowait((kind, subject, text))

    def resolved(self, kind: Kind, subject: str) -> None:
        """Have it resolved, and logged if it was open."""
        self._told.put_nowait((kind, subject, None))

    async def keep_recording(self) -> None:
        """Run for ever."""
        while True:
            await self._record(*await self._told.get())
            self._told.task_done()

    async def recorded(self) -> None:
        """Return when all that was told is in Postgres."""
        await self._told.join()

    async def _record(self, kind: Kind, subject: str, text: str | None) -> None:
        async for attempt in stamina.retry_context(
            on=Retriable, attempts=None, timeout=None, wait_initial=1, wait_max=30
        ):
            with attempt:
                async with self.database.link() as link:
                    if text is not None:
                        await events.record(link, kind, subject, text, actor=_ACTOR)
                    elif await events.resolve(link, kind, subject):
                        LoggedAlerts.resolved(self, kind, subject)


@asynccontextmanager
async def recorded_alerts(database: Database) -> AsyncIterator[RecordedAlerts]:
    """Alerts that are recorded within the block, and until `LAST_S` after it: what ends a process is told just before."""
    alerts = RecordedAlerts(database)
    async with asyncio.TaskGroup() as tasks:
        recording = tasks.create_task(alerts.keep_recording())
        try:
            yield alerts
        finally:
            try:
                async with asyncio.timeout(LAST_S):
                    await alerts.recorded()
            except TimeoutError:
                log.warning("alert.unrecorded", reason=f"Postgres did not take it within {LAST_S:g} s")
            recording.cancel()
