"""The lease: one process speaks to the vendor. A Postgres session advisory lock, and an epoch that only grows.

A paused holder keeps its session and so its lock: nobody takes over beside it. A session that ended takes everything
with it that its process still had in hand. Each look at the session proves the lease for `PROOF_S`; whoever writes to
the vendor asks for that proof where the bytes go out, so that a process which was paused, or cut off from Postgres,
sends nothing after that time. Postgres in turn gives up a session whose machine is gone, but later than that.

A slow answer is no loss: as long as the session lives nobody else has the lock, so its holder sends nothing and waits.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from runtime.settings import PostgresSettings
from schemas.errors import Retriable

log = structlog.stdlib.get_logger(__name__)

LOCK_KEY: Final = 0x00AD_A3A5
STANDBY_S: Final = 1.0
CHECK_S: Final = 0.5
CONNECT_TIMEOUT_S: Final = 5.0
PROOF_S: Final = 2.5
"""How long after a look at its session a holder may send; a new one first waits as long, and a window more."""
PATIENCE_S: Final = 15.0
"""How long a look may take: Postgres gives up a session that it cannot reach sooner, see `KEEP_ALIVES`."""
KEEP_ALIVES: Final = {
    # A dead machine's session ends 4 + 3 * 2 s after its last word: later than `PROOF_S`, and soon enough for a standby.
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    # The same for a machine that is gone while Postgres waits for it to take an answer, milliseconds.
    "tcp_user_timeout": "10000",
}


class LeaseLost(Retriable):
    """Somebody else may hold the lease by now: drop everything and stand by for it again."""


@dataclass(slots=True)
class Holding:
    """A lease that is held.

    Attributes:
        epoch: above every epoch before it.
        holder: host and process.
    """

    epoch: int
    holder: str
    _connection: asyncpg.Connection
    _looked_at: float

    def is_proven(self) -> bool:
        """Whether the session was seen alive less than `PROOF_S` ago."""
        return time.monotonic() - self._looked_at < PROOF_S

    async def watch(self) -> None:
        """Run until the lease is lost.

        Raises:
            LeaseLost: the session is gone, or Postgres does not answer in it for `PATIENCE_S`.
        """
        while True:
            await asyncio.sleep(CHECK_S)
            looked_at = time.monotonic()
            try:
                await self._connection.execute("SELECT 1", timeout=PATIENCE_S)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                raise LeaseLost(
                    f"the lease is lost: Postgres does not answer ({type(error).__name__})"
                ) from error
            took_s = time.monotonic() - looked_at
            if took_s > PROOF_S:
                log.warning("ingest.lease_unproven", epoch=self.epoch, seconds=round(took_s, 1))
            # From before the question: the answer says nothing of the time since.
            self._looked_at = looked_at


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
        holding = await _wait_and_enter(connection, highest_known, on_wait)
        log.info("ingest.lease_taken", epoch=holding.epoch, holder=holding.holder)
        yield holding
    finally:
        await _close(connection)


async def _wait_and_enter(
    connection: asyncpg.Connection, highest_known: Callable[[], int], on_wait: Callable[[str], None]
) -> Holding:
    try:
        while not await connection.fetchval(
            "SELECT pg_try_advisory_lock($1)", LOCK_KEY, timeout=CONNECT_TIMEOUT_S
        ):
            on_wait("standby: another process holds the lease")
            await asyncio.sleep(STANDBY_S)
        return await _enter(connection, await asyncio.to_thread(highest_known))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise Retriable(f"Postgres does not answer a standby ({type(error).__name__})") from error


async def _connect(settings: PostgresSettings) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            settings.dsn.get_secret_value(), timeout=CONNECT_TIMEOUT_S, server_settings=KEEP_ALIVES
        )
    except (asyncpg.PostgresError, OSError, TimeoutError) as error:
        raise Retriable(f"Postgres cannot be reached ({type(error).__name__})") from error


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        log.warning("ingest.lease_not_given_back", cause=type(error).__name__)
        connection.terminate()


async def _enter(connection: asyncpg.Connection, highest_known: int) -> Holding:
    holder = f"{socket.gethostname()}:{os.getpid()}"
    looked_at = time.monotonic()
    epoch = await connection.fetchval(
        """INSERT INTO leases (epoch, holder, granted_at)
           SELECT 1 + greatest($1, coalesce(max(epoch), 0)), $2, now() FROM leases RETURNING epoch""",
        highest_known,
        holder,
    )
    return Holding(int(epoch), holder, connection, looked_at)
