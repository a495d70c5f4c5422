"""Searches of the API and the same in SQL on the Postgres that the sink filled: equal totals, equal pages.

    make drill-same-pages SEED=11    # STONES=1340000 QUERIES=500

A vendor's stock goes page by page through the raw log and `process` to both; then each query of a mix like production's is
asked of both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from typing import Any, Final

import asyncpg

from api.keys import Scope, create_key
from api.parameters import read_parameters, split
from drills.raw_writer import RawWriter
from drills.report import Figure, finish, print_environment
from drills.searches import query_strings
from drills.sql_search import SqlSearch
from drills.stage import Stage
from drills.vendor_pages import page_bodies

_SHOWN: Final = 5
_LONG_S: Final = 900
_NEWEST: Final = (
    *("sort=-first_seen", "shape=OVAL&sort=first_seen,-carat", "lab_grown=true&sort=-first_seen&offset=240"),
    *(
        "first_seen_min=2025-12-20T00:00:00Z",
        "first_seen_min=2025-12-10T07:30:11.5Z&first_seen_max=2025-12-11T00:00:00Z",
    ),
)
"""What the production's mix never asked: when stones came."""


def main() -> None:
    """Fill, ask both, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--stones", type=int, default=int(os.environ.get("STONES", "1340000")))
    parser.add_argument("--queries", type=int, default=int(os.environ.get("QUERIES", "500")))
    options = parser.parse_args()
    print_environment("asyncpg", "numpy", "numba")
    with Stage() as stage:
        key = create_key(stage.dsn, "drill", [Scope.READ_DIAMONDS], "drill")
        for name in ("process", "sink", "api"):
            stage.start(name)
        stones = _fill(stage, options.stones, options.seed)
        queries = [*query_strings(options.queries, options.seed), *_NEWEST]
        different, api_ms, sql_ms = asyncio.run(_compare(stage, key, queries))
    finish(
        "drill-same-pages",
        [
            Figure("different", different, "queries", "== 0"),
            Figure("queries", len(queries), "queries", f">= {options.queries}"),
            Figure("stones", stones, "stones"),
            Figure("api_p50_ms", round(statistics.median(api_ms), 2), "ms"),
            Figure("sql_p50_ms", round(statistics.median(sql_ms), 2), "ms"),
        ],
    )


def _fill(stage: Stage, wanted: int, seed: int) -> int:
    """Let a vendor's stock flow until both have it; how many stones it came to, without those that nobody understands."""
    log, items = RawWriter(stage.kafka), 0
    for page, (feed, body) in enumerate(page_bodies(wanted, seed)):
        log.page(feed, "drill", page, body)
        items += body.count(b'"certificate":')
    log.flush()
    processed = "adamas_process_items_total"
    stage.wait(lambda: stage.metric("process", processed) >= items, _LONG_S, "process", "process")
    stones = int(stage.metric("process", processed, outcome="canonical"))
    stage.wait(lambda: stage.metric("api", "adamas_api_stones") >= stones, _LONG_S, "the API", "api")
    stage.wait(lambda: stage.lag("adamas-sink") == 0, _LONG_S, "the sink", "sink")
    return stones


async def _compare(stage: Stage, key: str, queries: list[str]) -> tuple[int, list[float], list[float]]:
    link = await asyncpg.connect(stage.dsn)
    different, api_ms, sql_ms = 0, list[float](), list[float]()
    try:
        # On a whole stock each statement would otherwise read all of it, and the drill take hours.
        await link.execute("CREATE INDEX ON diamonds (lab_grown, shape, carat)")
        await link.execute("VACUUM ANALYZE diamonds")
        for text in queries:
            began = time.perf_counter()
            body = stage.get_json("api", f"/v1/diamonds?{text}", {"X-API-Key": key})
            api_ms.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            expected = await in_sql(link, text)
            sql_ms.append(1000 * (time.perf_counter() - began))
            found = (body["total"], [item["id"] for item in body["items"]])
            if found != expected:
                different += 1
                if different <= _SHOWN:
                    print(f"{text}\n  API {found}\n  SQL {expected}")
    finally:
        await link.close()
    return different, api_ms, sql_ms


async def in_sql(link: Any, text: str) -> tuple[int, list[str]]:
    """Total and page of a query string, by SQL."""
    search = SqlSearch(read_parameters(split(text.encode()), lambda _: ()).query())
    total = await link.fetchval(search.total, *search.arguments)
    return total, [row["id"] for row in await link.fetch(search.page, *search.arguments)]


if __name__ == "__main__":
    main()
