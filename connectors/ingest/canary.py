"""The canary: now and then one page is compared with the fields that we rely on, before stones fall ill of a change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from connectors.alerts import Alerts
from connectors.feeds.drift import drift
from connectors.feeds.mappings import MAPPINGS
from connectors.feeds.protocol import Feed, Slice
from connectors.ingest.asking import Asker
from schemas.errors import Invalid
from schemas.events import Kind

log = structlog.stdlib.get_logger(__name__)

EVERY_S: Final = 3600.0
FIRST_AFTER_S: Final = 60.0
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Canary:
    """One feed's.

    Attributes:
        feed: whose replies are looked at.
        asker: asks for the page.
        alerts: told of drift, and of its end.
    """

    feed: Feed
    asker: Asker
    alerts: Alerts

    async def run(self) -> None:
        """For ever: a minute after the start, then every hour."""
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> list[str]:
        """Compare one page; what has drifted."""
        found = await self._found()
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            self.alerts.raised(Kind.SCHEMA_DRIFT, self.feed.name, "; ".join(found[:_SHOWN]) + more)
        else:
            self.alerts.resolved(Kind.SCHEMA_DRIFT, self.feed.name)
        log.info("ingest.canary", feed=self.feed.name, drifted=len(found))
        return found

    async def _found(self) -> list[str]:
        try:
            page, _ = await self.asker.ask(lambda grant: self.feed.search(Slice(), 0, grant))
            return drift(page.body, MAPPINGS[self.feed.name].form)
        except Invalid as error:
            # The vendor refuses the question itself: its schema has lost a field that we ask for.
            return [str(error)]
