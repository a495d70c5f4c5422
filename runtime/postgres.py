"""Postgres for commands, routes and jobs: a small pool that connects when it is first used, and tells when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeAlias

import asyncpg

from schemas.errors import Retriable

CONNECT_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_S: Final = 60.0
LONG_STATEMENT_TIMEOUT_S: Final = 1800.0
"""Of a job's statement over a feed's whole stock."""

Link: TypeAlias = asyncpg.Connection
"""What statements are sent over."""

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
"""What asyncpg raises when Postgres is away, starting or stopping, or has no connection left."""


class Database:
    """Connections to one database. Use it as a context, or call `close`.

    Args:
        dsn: where Postgres is.
        name: who connects, as Postgres shows it.
        size: connections at most.
        settings: what the server is told of each connection besides.
    """

    def __init__(
        self, dsn: str, name: str, *, size: int = 4, settings: Mapping[str, str] | None = None
    ) -> None:
        self._dsn = dsn
        self._settings = {"application_name": name, "timezone": "UTC", **(settings or {})}
        self._size = size
        self._pool: Any = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A connection of one's own for a while.

        Raises:
            Retriable: Postgres is away, whether before or in the middle.
        """
        try:
            pool = await self._connected()
            async with pool.acquire(timeout=CONNECT_TIMEOUT_S) as link:
                yield link
        except AWAY as error:
            raise Retriable(f"Postgres does not answer: {type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Link]:
        """A connection within a transaction; raises as `link` does."""
        async with self.link() as link, link.transaction():
            yield link

    async def close(self) -> None:
        """Give all connections back."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    async def _connected(self) -> Any:
        async with self._lock:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,
                    max_size=self._size,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=STATEMENT_TIMEOUT_S,
                    server_settings=self._settings,
                )
        return self._pool
