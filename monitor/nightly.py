"""Once a day the stores are compared (`operating.stores`); a night that was missed is made up once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog

from connectors.ingest.schedule import last_time_of, sweep_time
from operating import stores
from runtime import jobs
from runtime.postgres import Database
from schemas.errors import Invalid, Retriable

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 30.0
ACTOR: Final = "monitor"


async def compare_stores(database: Database, at: str) -> None:
    """Ask for a comparison every day at a time of day, UTC; for ever."""
    started_at = datetime.now(UTC)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            await ask_if_due(database, at, started_at, datetime.now(UTC))
        except Retriable as error:
            log.warning("monitor.not_compared", reason=str(error))


async def ask_if_due(database: Database, at: str, started_at: datetime, now: datetime) -> bool:
    """Ask unless it was asked for since the last time of day; where it never was, count from the monitor's start."""
    async with database.link() as link:
        last = await jobs.last(link, stores.KIND, stores.SUBJECT)
        if (last.created_at if last else started_at) >= last_time_of(sweep_time(at), now):
            return False
        try:
            await stores.ask_for(link, ACTOR)
        except Invalid:
            # Another monitor was quicker.
            return False
    return True
