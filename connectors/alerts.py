"""Where this package says that an operator should know something."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

import stamina
import structlog

from connectors.postgres import events
from runtime.postgres import Database
from schemas.errors import Retriable
from schemas.events import Kind

log = structlog.stdlib.get_logger(__name__)

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
        """Have it resolved."""
        LoggedAlerts.resolved(self, kind, subject)
        self._told.put_nowait((kind, subject, None))

    async def keep_recording(self) -> None:
        """Run for ever."""
        while True:
            await self._record(*await self._told.get())

    async def _record(self, kind: Kind, subject: str, text: str | None) -> None:
        async for attempt in stamina.retry_context(
            on=Retriable, attempts=None, timeout=None, wait_initial=1, wait_max=30
        ):
            with attempt:
                async with self.database.link() as link:
                    if text is None:
                        await events.resolve(link, kind, subject)
                    else:
                        await events.record(link, kind, subject, text, actor=_ACTOR)
