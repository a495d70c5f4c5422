"""The price history as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from operating.price_export import COLUMNS, Wanted, lines
from runtime.postgres import Database
from schemas.errors import Invalid

STONES, FIRST = 2_500, datetime(2026, 1, 31, 23, tzinfo=UTC)


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        async with opened.link() as link:
            await link.execute(
                "SELECT make_price_history_month(day) FROM unnest('{2026-01-01,2026-02-01}'::date[]) AS day"
            )
            await link.execute(
                "INSERT INTO price_history SELECT 'f:' || n, n, 1, 1, 100 + n, NULL, 'USD', 100, 4000,"
                " CASE WHEN n % 2 = 0 THEN 'a, \"b\"' ELSE 'c' END, 'new', $1::timestamptz + n * interval '2 s', NULL"
                " FROM generate_series(0, $2::int - 1) AS n",
                FIRST,
                STONES,
            )
        yield opened


async def exported(db: Database, wanted: Wanted) -> list[dict[str, str]]:
    async with db.link() as link:
        text = "".join([piece async for piece in lines(link, wanted)])
    assert text.startswith(",".join(COLUMNS) + "\n")
    return list(csv.DictReader(io.StringIO(text)))


async def test_a_stone_a_rule_or_a_period_comes_whole_and_in_order(db: Database) -> None:
    (one,) = await exported(db, Wanted(stone="f:7"))
    assert (one["price_cents"], one["previous_price_cents"]) == ("107", "")
    assert datetime.fromisoformat(one["changed_at"]) == FIRST + timedelta(seconds=14)
    ruled = await exported(db, Wanted(rule='a, "b"'))
    assert [row["stone_id"] for row in ruled] == [f"f:{n}" for n in range(0, STONES, 2)]
    # Over the end of a month, and a time without a zone is UTC.
    period = await exported(
        db, Wanted(start=FIRST.replace(tzinfo=None), end=FIRST + timedelta(seconds=4_000))
    )
    assert [row["stone_id"] for row in period] == [f"f:{n}" for n in range(2_000)]
    assert await exported(db, Wanted(stone="f:none")) == []


def test_everything_at_once_is_not_wanted_nor_an_empty_period() -> None:
    with pytest.raises(Invalid, match="name a stone"):
        Wanted()
    with pytest.raises(Invalid, match="is not before"):
        Wanted(start=FIRST, end=FIRST)
