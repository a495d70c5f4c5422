"""The keys in memory: a request is let in without asking Postgres, and reads go on while Postgres is away."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

import asyncpg
import structlog

from api.keys import KEY_PATTERN, hash_key
from runtime.health import Check

log = structlog.stdlib.get_logger(__name__)

REFRESH_EVERY_S: Final = 5.0
"""A revoked key works no longer than this, as long as Postgres answers."""

_ASK_AGAIN_AFTER_S: Final = 1.0
_TIMEOUT_S: Final = 5
_ACTIVE: Final = "SELECT name, hash, scopes FROM api_keys WHERE revoked_at IS NULL"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    scopes: frozenset[str]


class Keys(Protocol):
    """Tells a key's owner."""

    @property
    def loaded(self) -> bool:
        """Whether the keys are known at all."""

    def known(self, key: str) -> Caller | None:
        """The key's owner, or None if there is no such key in memory."""

    async def find(self, key: str) -> Caller | None:
        """The key's owner, or None if there is no such key."""


class KeyRing:
    """All active keys of Postgres, read again every few seconds and when an unknown key shows up."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._callers: dict[bytes, Caller] = {}
        self._link: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._loaded = False
        self._away: str | None = None

    @property
    def loaded(self) -> bool:
        """Whether Postgres was reached at least once."""
        return self._loaded

    def known(self, key: str) -> Caller | None:
        """The key's owner, or None if there is no such key in memory."""
        if not KEY_PATTERN.fullmatch(key):
            return None
        # What is looked up is a digest of what the caller sent: the time it takes tells nothing about the key.
        return self._callers.get(hash_key(key))

    async def find(self, key: str) -> Caller | None:
        """The key's owner, or None if there is no such key. A key made a moment ago is looked up."""
        caller = self.known(key)
        if caller is None and KEY_PATTERN.fullmatch(key):
            await self._refresh_soon()
            caller = self.known(key)
        return caller

    async def keep_fresh(self) -> None:
        """Read the keys again and again, until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_EVERY_S)

    async def refresh(self) -> None:
        """Read the keys; what was known stays when Postgres is away."""
        async with self._lock:
            self._asked_at = monotonic()
            try:
                rows = await self._read()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._note_away(f"{type(error).__name__}: {error}")
                return
            self._callers = {bytes(row[1]): Caller(row[0], frozenset(row[2])) for row in rows}
            self._loaded, self._away = True, None

    async def close(self) -> None:
        """Give the connection back."""
        if self._link is not None:
            await self._link.close(timeout=_TIMEOUT_S)

    def check(self) -> Check:
        """Known once Postgres was reached; after that it may go away."""
        return Check(self._loaded, {"keys": len(self._callers), "postgres": self._away or "answers"})

    async def _refresh_soon(self) -> None:
        # Whoever tries keys at random costs Postgres one question a second, no more.
        if monotonic() - self._asked_at >= _ASK_AGAIN_AFTER_S:
            await self.refresh()

    async def _read(self) -> list[asyncpg.Record]:
        if self._link is None or self._link.is_closed():
            self._link = await asyncpg.connect(
                self._dsn,
                timeout=_TIMEOUT_S,
                command_timeout=_TIMEOUT_S,
                server_settings={"application_name": "adamas-api"},
            )
        rows: list[asyncpg.Record] = await self._link.fetch(_ACTIVE)
        return rows

    def _note_away(self, reason: str) -> None:
        if self._link is not None:
            self._link.terminate()
            self._link = None
        if self._away is None:
            log.warning("api.postgres_away", reason=reason)
        self._away = reason
