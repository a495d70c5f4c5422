"""Preview: a draft of a hundred rows on the whole stock, on one core, beside the same as SQL on the sink's Postgres.

    make bench-preview           # STONES=1340000 ROUNDS=5

Claim: 1.34 million stones under a second, the report included, and many times faster than SQL.

The stock is written to the canonical topic: real stones of the simulated vendor's pages, and relatives of them
(`drills.stock`). The sink fills Postgres from it, and the stock is read from it. The preview is handed a fresh copy of the stock each time, so
that nothing computed in a former round is used again. The SQL prices every stone by the same table and sums the same
report; both must come to the same figures, or the run fails.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import asyncpg

from bench.options import read_options
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.stock import canonical_stock, fill
from schemas.conditions import Range
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.stone import Content
from streams.pricing.engine import PriceBook
from streams.pricing.guards import Guards
from streams.pricing.preview import BANDS, MOVES_BPS, TOP, Report, preview
from streams.pricing.shelf import attributes_of
from streams.pricing.shelves import Shelves

STONES: Final = 1_340_000
SEED: Final = 11
ROUNDS: Final = 5
SQL_ROUNDS: Final = 3
GOAL_S: Final = 1.0
GOAL_RATIO: Final = 10
GOAL_ENGINE_US: Final = 5
_TIMEOUT_S: Final = 600


def main() -> None:
    """Fill both sides, run the rounds, print the figures."""
    options = read_options(__doc__, stones=STONES, rounds=ROUNDS, seed=SEED)
    print_environment("numpy", "asyncpg", "confluent-kafka")
    with Stage() as stage:
        stage.start("sink")
        stage.wait_ready("sink")
        sample = fill(stage.kafka, canonical_stock(options.stones, options.seed))
        stage.wait(lambda: stage.lag("adamas-sink") == 0, _TIMEOUT_S, "the sink", "sink")
        stage.children["sink"].stop(30)
        print("the stock is in the topic and in Postgres")
        reports = asyncio.run(_measure(stage, options.rounds, options.seed))
    seconds, sql_seconds, stones = reports
    engine_us = _engine_us(sample, options.seed)
    finish(
        "bench-preview",
        [
            Figure("seconds", round(statistics.median(seconds), 3), "s", f"<= {GOAL_S:g}"),
            Figure(
                "ratio_to_sql",
                round(statistics.median(sql_seconds) / statistics.median(seconds), 1),
                "times",
                f">= {GOAL_RATIO}",
            ),
            Figure("engine_us", round(engine_us, 2), "µs", f"<= {GOAL_ENGINE_US:g}"),
            Figure("seconds_max", round(max(seconds), 3), "s"),
            Figure("sql_seconds", round(statistics.median(sql_seconds), 3), "s"),
            Figure("stones", stones, "stones"),
            Figure("rows", 100, "rows"),
        ],
    )


async def _measure(stage: Stage, rounds: int, seed: int) -> tuple[list[float], list[float], int]:
    draft = draft_of_a_hundred_rows(seed)
    attributes = attributes_of(draft)
    shelves = Shelves(stage.kafka)
    began = time.perf_counter()
    await shelves.shelf(attributes)
    print(f"stock read from the topic in {time.perf_counter() - began:.1f} s")
    seconds: list[float] = []
    report: Report | None = None
    # One core: what numpy or the system would spread over more does not count.
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    for _ in range(rounds):
        shelf = await shelves.shelf(attributes)
        began = time.perf_counter()
        report = preview(draft, shelf, Guards())
        seconds.append(time.perf_counter() - began)
    assert report is not None
    os.sched_setaffinity(0, cores)
    await shelves.close()
    print(f"preview: {', '.join(f'{one:.3f}' for one in seconds)} s; {report.changed} stones change")
    link = await asyncpg.connect(stage.dsn)
    try:
        # As an analyst's session would: one core, statistics up to date, everything that fits in memory.
        await link.execute("SET max_parallel_workers_per_gather = 0; SET work_mem = '256MB'; SET jit = off")
        await link.execute("VACUUM ANALYZE diamonds")
        sql_seconds = [await _in_sql(link, draft, report) for _ in range(SQL_ROUNDS)]
    finally:
        await link.close()
    print(f"SQL: {', '.join(f'{one:.3f}' for one in sql_seconds)} s")
    return seconds, sql_seconds, report.stones


async def _in_sql(link: Any, draft: PublishedRuleSet, report: Report) -> float:
    """The same report from Postgres; the seconds it took.

    Raises:
        RuntimeError: it comes to other figures.
    """
    began = time.perf_counter()
    await link.execute(f"CREATE TEMPORARY TABLE tried AS {sql_of(draft)}")
    totals = await link.fetchrow(
        "SELECT count(*) AS stones, count(*) FILTER (WHERE after <> before) AS changed,"
        " coalesce(sum(after - before), 0)::bigint AS change, count(*) FILTER (WHERE after < cost) AS below FROM tried"
    )
    rows = await link.fetch("SELECT place, count(*) FROM tried GROUP BY place")
    slices = [
        await link.fetch(
            f"SELECT {by} AS name, count(*) AS stones, count(*) FILTER (WHERE after <> before) AS changed,"
            f" sum(after - before)::bigint AS change FROM tried GROUP BY 1"
        )
        for by in ("kind", "shape", f"width_bucket(carat, ARRAY[{', '.join(map(str, BANDS))}]::float8[])")
    ]
    bars = await link.fetch(
        "SELECT width_bucket(floor((after - before) * 10000.0 / before)::bigint,"
        f" ARRAY[{', '.join(map(str, MOVES_BPS))}]::bigint[]) AS bar, count(*) FROM tried WHERE after <> before GROUP BY 1"
    )
    for order in ("DESC", "ASC"):
        await link.fetch(
            f"SELECT id, before, after FROM tried WHERE after <> before ORDER BY (after - before)::numeric / before {order} LIMIT {TOP}"
        )
    seconds = time.perf_counter() - began
    await link.execute("DROP TABLE tried")
    found = {
        "totals": (totals["stones"], totals["changed"], totals["change"]),
        "rows": sorted(row["count"] for row in rows),
        "bars": sorted(bar["count"] for bar in bars),
        "slices": [sorted((row["stones"], row["changed"], row["change"]) for row in part) for part in slices],
    }
    wanted = {
        "totals": (report.stones, report.changed, report.change_cents),
        "rows": sorted(row.hits for row in report.rows if row.hits),
        "bars": sorted(bar.stones for bar in report.histogram if bar.stones),
        "slices": [
            sorted((one.stones, one.changed, one.change_cents) for one in part)
            for part in (report.by_type, report.by_shape, report.by_band)
        ],
    }
    if found != wanted:
        raise RuntimeError(f"SQL comes to other figures:\n{found}\n{wanted}")
    return seconds


def _engine_us(stones: Sequence[Content], seed: int) -> float:
    """Median time of the scalar engine for one stone's price and rating, microseconds."""
    book = PriceBook(draft_of_a_hundred_rows(seed))
    took: list[int] = []
    for _ in range(2):
        took.clear()
        for stone in stones:
            began = time.perf_counter_ns()
            book.margin(stone, None).price(stone.cost_cents)
            book.rating(stone, None)
            took.append(time.perf_counter_ns() - began)
    return statistics.median(took) / 1000


def draft_of_a_hundred_rows(seed: int) -> PublishedRuleSet:
    """A table like a shop's: by shape, weight, grade and kind; some rows with alternatives, some with a finish."""
    shapes = (
        "ROUND",
        "OVAL",
        "EMERALD",
        "CUSHION",
        "RADIANT",
        "PEAR",
        "PRINCESS",
        "MARQUISE",
        "ASSCHER",
        "HEART",
    )
    rows = []
    for number in range(100):
        low = (number // 10) * 0.4 + 0.3
        when: dict[str, Any] = {
            "shape": shapes[number % 10],
            "carat": {"min": round(low, 2), "below": round(low + 0.5, 2)},
        }
        if number % 2:
            when["lab_grown"] = number % 4 == 1
        if number % 3 == 0:
            when["any"] = [
                {"color": ["D", "E", "F"]},
                {"clarity": ["IF", "VVS1", "VVS2"], "cut": ["EX", "ID"]},
            ]
        if number % 5 == 0:
            when["cost_cents"] = {"min": 50_000}
        rows.append(
            {
                "name": f"row {number}", "priority": 10 * number, "when": when,
                "margin_bps": 2_500 + (number * 37 + seed) % 60 * 100,
            }
        )  # fmt: skip
    content = RuleSet.model_validate({"rules": rows, "base": {"natural_bps": 4_100}})
    return PublishedRuleSet(number=2, published_at=0, actor="bench", reason="bench", content=content)


def sql_of(draft: PublishedRuleSet) -> str:
    """The draft as a query: what each stone costs, is asked for, and would be asked for."""
    kind = (
        "CASE WHEN color = 'FANCY' OR fancy_color IS NOT NULL THEN 'fancy'"
        " WHEN lab_grown THEN 'lab_grown' ELSE 'natural' END"
    )
    rules = sorted(draft.content.rules, key=lambda rule: rule.priority)
    place = " ".join(f"WHEN {_sql_group(rule.when)} THEN {number}" for number, rule in enumerate(rules))
    base = draft.content.base
    bases = " ".join(
        f"WHEN '{name}' THEN {bps}"
        for name, bps in (
            ("natural", base.natural_bps),
            ("lab_grown", base.lab_grown_bps),
            ("fancy", base.fancy_bps),
        )
    )
    margins = ", ".join(str(rule.bps) for rule in rules)
    margin = f"coalesce((ARRAY[{margins}])[place + 1], CASE kind {bases} END)"
    return f"""
SELECT id, shape, carat, kind, coalesce(place::text, kind) AS place, cost, before,
       (cost * (10000 + {margin}) + 5000) / 10000 AS after
FROM (SELECT id, shape, carat, cost_cents AS cost, price_cents AS before, {kind} AS kind, CASE {place} END AS place
      FROM diamonds WHERE retired_at IS NULL) AS stones"""


def _sql_group(when: dict[str, Any]) -> str:
    return "(" + " AND ".join(_sql_tests(when)) + ")"


def _sql_tests(when: dict[str, Any]) -> Iterator[str]:
    for name, condition in when.items():
        if name in ("any", "all"):
            joined = (" OR " if name == "any" else " AND ").join(_sql_group(group) for group in condition)
            yield f"({joined})"
        elif isinstance(condition, bool):
            yield name if condition else f"NOT {name}"
        elif isinstance(condition, Range):
            for bound, operator in ((condition.min, ">="), (condition.max, "<="), (condition.below, "<")):
                if bound is not None:
                    yield f"{name} {operator} {bound}"
        else:
            yield f"{name} IN ({', '.join(repr(text) for text in condition)})"


if __name__ == "__main__":
    main()
