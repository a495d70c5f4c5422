"""The list of runs stays quick however many there were: 100 000 runs, 95 of 100 lists within 50 ms.

make bench-runs-list
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from adamas.embedded.postgres import EmbeddedPostgres
from adamas.ports import free_ports
from connectors.runs import store
from drills.report import Figure, finish, print_environment
from migrations import runner
from runtime.postgres import Database

RUNS: Final = 100_000
LISTS: Final = 400
GOAL_MS: Final = 50

_FILL: Final = """
INSERT INTO runs (run, feed, kind, state, requested_at, requested_by, watermark, counted, ended_at, pages, rows, ledger,
                  archived_at)
SELECT 'run-' || n, CASE WHEN n % 2 = 0 THEN 'nivoda-natural' ELSE 'nivoda-labgrown' END,
       CASE WHEN n % 1440 < 2 THEN 'full' ELSE 'incremental' END,
       CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'completed' END,
       now() - make_interval(secs => 30 * n), 'ingest', now(), 1000, now(), 20, 1000,
       jsonb_build_object('verdict', 'green', 'distinct', 1000, 'outcomes', jsonb_build_object('canonical', 1000)),
       CASE WHEN n > 20000 THEN now() END
FROM generate_series(1, $1::int) AS n"""


async def measure(dsn: str) -> dict[str, list[float]]:
    """Milliseconds of each list, by what was asked for."""
    async with Database(dsn, "bench") as database, database.link() as link:
        await link.execute(_FILL, RUNS)
        await link.execute("ANALYZE runs")
        middle = await link.fetchval(
            "SELECT requested_at FROM runs ORDER BY requested_at LIMIT 1 OFFSET $1", RUNS // 2
        )
        asked: dict[str, dict[str, Any]] = {
            "newest": {},
            "of a feed": {"feed": "nivoda-natural", "kind": "full"},
            "failed": {"state": "failed"},
            "from the middle": {"before": middle},
        }
        took: dict[str, list[float]] = {name: [] for name in asked}
        for _ in range(LISTS):
            for name, filters in asked.items():
                began = time.perf_counter()
                found = await store.recent(link, limit=50, **filters)
                took[name].append(1000 * (time.perf_counter() - began))
                assert len(found) == 50
    return took


def main() -> None:
    """Measure and print."""
    print_environment("asyncpg")
    with tempfile.TemporaryDirectory(prefix="adamas-bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres", free_ports(1)[0])
        server.prepare()
        server.launch()
        try:
            server.wait_ready()
            runner.upgrade(server.dsn)
            took = asyncio.run(measure(server.dsn))
        finally:
            server.stop()
    for name, values in took.items():
        print(f"{name}: median {statistics.median(values):.2f} ms, p95 {np.percentile(values, 95):.2f} ms")
    every = [value for values in took.values() for value in values]
    finish(
        "bench-runs-list",
        [
            Figure("p95_ms", round(float(np.percentile(every, 95)), 2), "ms", f"<= {GOAL_MS}"),
            Figure("p50_ms", round(statistics.median(every), 2), "ms"),
            Figure("runs", RUNS, "runs"),
        ],
    )


if __name__ == "__main__":
    main()
