"""What a first start is filled with: a database with the schema, a rule set, a key with every scope."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import asyncpg

from api.keys import ALL_SCOPES, Scope, ensure_key, new_key
from migrations import runner
from runtime.settings import KafkaSettings
from streams.rules.store import ensure_default

DATABASE: Final = "adamas"
KEY_NAME: Final = "demo"
MONITOR_KEY_NAME: Final = "monitor"
ACTOR: Final = "make-up"

ResultT = TypeVar("ResultT")


def make_database(admin_dsn: str) -> None:
    """Create the database when it is missing and bring it to the newest schema."""
    _with_connection(admin_dsn, _create_missing)
    runner.upgrade(f"{admin_dsn.rpartition('/')[0]}/{DATABASE}")


async def _create_missing(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
        await connection.execute(f"CREATE DATABASE {DATABASE}")


def publish_first_rules(dsn: str, kafka: KafkaSettings) -> None:
    """Publish the default margins when no rule set was published yet."""
    _with_connection(dsn, lambda connection: ensure_default(connection, kafka))


def key_of(dsn: str, data: Path) -> str:
    """The demo key: made once and kept beside the data, so that every start prints the same."""
    return _kept_key(dsn, data, KEY_NAME, ALL_SCOPES)


def monitor_key_of(dsn: str, data: Path) -> str:
    """The key under which the monitor asks the API's replicas for their sums, kept likewise."""
    return _kept_key(dsn, data, MONITOR_KEY_NAME, (Scope.OPERATE,))


def _kept_key(dsn: str, data: Path, name: str, scopes: tuple[Scope, ...]) -> str:
    file = data / f"{name}-key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(new_key())
    key = file.read_text()
    ensure_key(dsn, name, scopes, key, ACTOR)
    return key


def _with_connection(
    dsn: str, work: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[ResultT]]
) -> ResultT:
    async def run() -> ResultT:
        connection = await asyncpg.connect(dsn)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())
