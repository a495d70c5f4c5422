"""The lease: one process speaks to the vendor. A Postgres session advisory lock, and an epoch that only grows.

A paused holder keeps its session and so its lock: nobody takes over beside it. When the session ends, so does the
process: whatever it still had in hand belongs to a lease that is gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from runtime.settings import PostgresSettings
from schemas.errors import Fatal, Retriable

log = structlog.stdlib.get_logger(__name__)

LOCK_KEY: Final = 0x00AD_A3A5
STANDBY_S: Final = 1.0
CHECK_S: Final = 0.5
CHECK_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 5.0
PREDECESSOR_S: Final = CHECK_S + CHECK_TIMEOUT_S
"""How long a holder that has lost its session may still send; a new one first waits as long, and a window more."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease that is held.

    Attributes:
        epoch: above every epoch before it.
        holder: host and process.
    """

    epoch: int
    holder: str
    _connection: asyncpg.Connection

    async def watch(self) -> None:
        """Run until the lease is lost.

        Raises:
            Fatal: the session is gone, or Postgres does not answer in it.
        """
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self._connection.execute("SELECT 1", timeout=CHECK_TIMEOUT_S)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                raise Fatal(
                    f"the lease is lost: Postgres does not answer ({type(error).__name__})"
                ) from error


@asynccontextmanager
async def lease(
    settings: PostgresSettings, highest_known: Callable[[], int], on_wait: Callable[[str], None]
) -> AsyncIterator[Holding]:
    """Hold the lease while the block runs; waits for as long as somebody else has it.

    Args:
        settings: where Postgres is.
        highest_known: the highest epoch that Kafka knows, asked in a thread once the lock is held; a database that was
            restored must not count backwards.
        on_wait: told what is waited for.

    Raises:
        Retriable: Postgres cannot be reached.
    """
    connection = await _connect(settings)
    try:
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
            on_wait("standby: another process holds the lease")
            await asyncio.sleep(STANDBY_S)
        holding = await _enter(connection, await asyncio.to_thread(highest_known))
        log.info("ingest.lease_taken", epoch=holding.epoch, holder=holding.holder)
        yield holding
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)


async def _connect(settings: PostgresSettings) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(settings.dsn.get_secret_value(), timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise Retriable(f"Postgres cannot be reached ({type(error).__name__})") from error


async def _enter(connection: asyncpg.Connection, highest_known: int) -> Holding:
    holder = f"{socket.gethostname()}:{os.getpid()}"
    epoch = await connection.fetchval(
        """INSERT INTO leases (epoch, holder, granted_at)
           SELECT 1 + greatest($1, coalesce(max(epoch), 0)), $2, now() FROM leases RETURNING epoch""",
        highest_known,
        holder,
    )
    return Holding(int(epoch), holder, connection)
