"""What a first start is filled with: a database with the schema, a rule set, a key with every scope."""

import asyncio
from pathlib import Path
from typing import Final

import asyncpg

from migrations import runner
from runtime.settings import Settings

DATABASE: Final = "adamas"
KEY_FILE: Final = "demo-key"
KEY_NAME: Final = "demo"
ACTOR: Final = "make up"
RULES_FILE: Final = Path(__file__).parent.parent / "docs" / "examples" / "rules.yaml"


def make_database(admin_dsn: str) -> None:
    """Create the database when it is missing and bring it to the newest schema."""
    asyncio.run(_create_missing(admin_dsn))
    runner.upgrade(f"{admin_dsn.rpartition('/')[0]}/{DATABASE}")


async def _create_missing(admin_dsn: str) -> None:
    connection = await asyncpg.connect(admin_dsn)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()


def publish_first_rules(settings: Settings) -> None:
    """Publish the example rule set when none was published yet."""


def key_of(dsn: str, data: Path) -> str:
    """The demo key: made once, kept beside the data, so that every start prints the same."""
    raise NotImplementedError
