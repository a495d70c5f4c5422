"""Brings a database to a revision of the schema.

Alembic orders the revisions and renders them as SQL; asyncpg runs that SQL in one transaction, under a lock, so
that several processes may start at once. A revision therefore is plain SQL and cannot look at data from Python:
what ran can be read, and the same script can be handed to whoever operates the database.
"""

from __future__ import annotations

import asyncio
from io import StringIO
from pathlib import Path
from typing import Final

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from schemas.errors import Fatal, Retriable

log = structlog.stdlib.get_logger(__name__)

HEAD: Final = "head"
BASE: Final = "base"
_LOCK: Final = 0x_ADA_A5
_CONNECT_TIMEOUT_S: Final = 10


def upgrade(dsn: str, to: str = HEAD) -> None:
    """Bring the schema to a revision, by default the newest. Nothing happens when it is there already.

    Raises:
        Retriable: Postgres does not answer.
        Fatal: the database has a revision this code does not know (it was written by a newer version).
    """
    asyncio.run(_migrate(dsn, to, forwards=True))


def downgrade(dsn: str, to: str) -> None:
    """Take the schema back to a revision; `base` drops everything. Raises as `upgrade` does."""
    asyncio.run(_migrate(dsn, to, forwards=False))


def current(dsn: str) -> str | None:
    """The database's revision; None for an empty database. Raises `Retriable` when Postgres does not answer."""
    return asyncio.run(_current(dsn))


def head() -> str:
    """The newest revision this code knows."""
    return str(ScriptDirectory.from_config(_config(StringIO())).get_current_head())


def render(start: str | None, to: str, *, forwards: bool = True) -> str:
    """The SQL between two revisions, without BEGIN and COMMIT; empty when there is nothing to do."""
    script = ScriptDirectory.from_config(_config(StringIO()))
    target = script.as_revision_number(to)
    if start == target:
        return ""
    output = StringIO()
    run = command.upgrade if forwards else command.downgrade
    run(_config(output), f"{start or BASE}:{to}", sql=True)
    return output.getvalue()


def _config(output: StringIO) -> Config:
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


async def _migrate(dsn: str, to: str, *, forwards: bool) -> None:
    connection = await _connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            start = await _revision(connection)
            _refuse_unknown(start)
            # Rendering runs alembic's own environment, which must not find our event loop's thread busy.
            script = await asyncio.to_thread(render, start, to, forwards=forwards)
            if start is None:
                # Left empty by a way back to base; the script makes it anew.
                await connection.execute("DROP TABLE IF EXISTS alembic_version")
            if script:
                await connection.execute(script)
            log.info("migrations.done", start=start, to=to, changed=bool(script))
    finally:
        await connection.close()


async def _current(dsn: str) -> str | None:
    connection = await _connect(dsn)
    try:
        return await _revision(connection)
    finally:
        await connection.close()


async def _connect(dsn: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, asyncpg.PostgresConnectionError, TimeoutError) as error:
        raise Retriable(f"Postgres does not answer: {error}") from error


async def _revision(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if revision is None else str(revision)


def _refuse_unknown(revision: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(_config(StringIO())).walk_revisions()}
    if revision is not None and revision not in known:
        raise Fatal(f"the database has schema revision {revision}, which this version does not know")
