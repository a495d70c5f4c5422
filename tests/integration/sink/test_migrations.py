import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from migrations import runner
from schemas.errors import Fatal, Retriable
from schemas.sql import SINK_COLUMNS, STONE_COLUMNS


def execute(dsn: str, statement: str) -> list[Any]:
    async def run() -> list[Any]:
        link = await asyncpg.connect(dsn)
        try:
            rows: list[Any] = await link.fetch(statement)
            return rows
        finally:
            await link.close()

    return asyncio.run(run())


@pytest.fixture
def empty_database(postgres: str) -> Iterator[str]:
    name = f"test_{uuid4().hex}"
    execute(postgres, f"CREATE DATABASE {name}")
    yield f"{postgres.rpartition('/')[0]}/{name}"
    execute(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def relations(dsn: str) -> set[str]:
    rows = execute(
        dsn,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')",
    )
    return {row[0] for row in rows} - {"alembic_version"}


def test_there_and_back_and_there_again(empty_database: str) -> None:
    assert runner.current(empty_database) is None
    runner.upgrade(empty_database)
    assert runner.current(empty_database) == runner.head()
    made = relations(empty_database)
    assert {"diamonds", "price_history", "api_keys", "available_diamonds"} <= made
    runner.upgrade(empty_database)
    runner.downgrade(empty_database, "base")
    assert relations(empty_database) == set()
    runner.upgrade(empty_database)
    assert relations(empty_database) == made


def test_processes_that_start_at_once_do_not_trip_over_each_other(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runner.upgrade, [empty_database] * 4))
    assert runner.current(empty_database) == runner.head()


def test_the_table_has_the_records_fields_and_no_others(database: str) -> None:
    rows = execute(
        database,
        "SELECT column_name, data_type, is_nullable = 'YES' FROM information_schema.columns"
        " WHERE table_name = 'diamonds'",
    )
    types = {"timestamptz": "timestamp with time zone"}
    expected = [
        (column.name, types.get(column.sql_type, column.sql_type), column.nullable)
        for column in STONE_COLUMNS + SINK_COLUMNS
    ]
    # Not in order: a column that came with a later version stands last.
    assert sorted(tuple(row) for row in rows) == sorted(expected)


def test_a_database_of_a_newer_version_is_left_alone(empty_database: str) -> None:
    runner.upgrade(empty_database)
    execute(empty_database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Fatal, match="9999"):
        runner.upgrade(empty_database)


def test_postgres_away_can_be_tried_again() -> None:
    with pytest.raises(Retriable):
        runner.upgrade("postgresql://nobody@127.0.0.1:1/none")
