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
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')",
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


def test_the_history_moves_into_months_and_back(empty_database: str) -> None:
    runner.upgrade(empty_database, "0009")
    for month, day in enumerate(("2026-01-31 23:59:59.999+00", "2026-02-01 00:00+00", "2025-07-04 12:00+02")):
        execute(
            empty_database,
            "INSERT INTO price_history (stone_id, seq, mapper_version, rules_version, price_cents, currency, cost_cents,"
            f" margin_bps, rule, cause, changed_at) VALUES ('f:s', {month}, 1, 1, 5, 'USD', 4, 1, 'r', 'new', '{day}')",
        )
    rows = execute(empty_database, "SELECT * FROM price_history ORDER BY seq")
    runner.upgrade(empty_database, "0010")
    assert execute(empty_database, "SELECT * FROM price_history ORDER BY seq") == rows
    months = execute(empty_database, "SELECT tableoid::regclass::text FROM price_history ORDER BY seq")
    assert [month[0][-7:] for month in months] == ["2026_01", "2026_02", "2025_07"]
    runner.downgrade(empty_database, "0009")
    assert execute(empty_database, "SELECT * FROM price_history ORDER BY seq") == rows


def test_the_history_is_append_only(empty_database: str) -> None:
    runner.upgrade(empty_database)
    execute(
        empty_database,
        "INSERT INTO price_history (stone_id, seq, mapper_version, rules_version, price_cents, currency, cost_cents,"
        " margin_bps, rule, cause, changed_at) VALUES ('f:s', 1, 1, 1, 5, 'USD', 4, 1, 'r', 'new', now())",
    )
    for change in ("UPDATE price_history SET price_cents = 6", "DELETE FROM price_history"):
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            execute(empty_database, change)


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
