"""A full sweep of 1.34 million stones: what its plan costs, how even it is, and how long it takes at 25 requests a second.

    make bench-plan              # STONES=1340000 SEED=7

The simulated vendor counts, over its own HTTP application but without the wire; the plan is the real one. The sweep is then
read on paper: the real rules of what to read next, against partitions of the planned size, count every request until
each has ended. It is compared with the least that 50 stones a page allow.
"""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

from bench.options import read_options
from connectors.budget import LIMIT, Budget, Priority
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import Session
from connectors.feeds.protocol import Slice
from connectors.ingest.progress import RunProgress
from connectors.planner import plan_partitions
from connectors.simulator.server import create_app
from connectors.simulator.settings import SimulatorSettings
from drills.report import Figure, finish, print_environment
from runtime.settings import VendorSettings
from schemas.facts import Plan, PlanPartition, RunKind
from schemas.feeds import FEEDS, STANDARD

STONES: Final = 1_340_000
PLAN_GOAL_S: Final = 60
SPREAD_GOAL: Final = 1.5
OFF_GOAL_PERCENT: Final = 2
UNHURRIED: Final = 10_000
"""Requests a second of this bench's budget: what is counted is how many, not when."""


async def plan(simulator: SimulatorSettings) -> dict[str, tuple[int, int, tuple[PlanPartition, ...]]]:
    """By feed: requests of its plan, the vendor's count, and the partitions."""
    settings = VendorSettings(
        url="http://vendor.bench/api/diamonds", username=simulator.username, password=simulator.password
    )
    budget = Budget(1, UNHURRIED)
    found = {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(simulator)), timeout=120) as http:
        session = Session(settings, budget, http)
        for name in STANDARD:
            feed = NivodaFeed(FEEDS[name], session, budget)
            await feed.prepare(Priority.FULL)
            before = budget.last_seq

            async def count(part: Slice, feed: NivodaFeed = feed) -> int:
                with await budget.grant(Priority.FULL) as grant:
                    return await feed.count(part, grant)

            counted, partitions = await plan_partitions(count, offset_cap=feed.offset_cap)
            found[name] = (budget.last_seq - before, counted, partitions)
    return found


def read(feed: str, page_size: int, counted: int, partitions: tuple[PlanPartition, ...]) -> int:
    """Requests until every partition has ended, each holding what it was planned for."""
    progress = RunProgress(
        Plan(
            run="bench",
            feed=feed,
            kind=RunKind.FULL,
            watermark=0,
            page_size=page_size,
            counted=counted,
            partitions=partitions,
        )
    )
    requests = 0
    while (due := progress.next_read()) is not None:
        requests += 1
        partition = progress.partitions[due.partition]
        rows = min(page_size, max(0, partition.plan.estimate - due.page * page_size))
        partition.done(
            due.page, rows, [f"{due.partition}.{due.page}.{place}" for place in range(rows)], due.reread
        )
        partition.closed = partition.ended
    return requests


def spread(partitions: tuple[PlanPartition, ...]) -> float:
    """The largest partition over the mean."""
    sizes = [partition.estimate for partition in partitions]
    return max(sizes) / (sum(sizes) / len(sizes))


def main() -> None:
    """Run the bench and print its figures."""
    arguments = read_options(__doc__, stones=STONES, seed=7)
    print_environment("httpx", "numpy")
    simulator = SimulatorSettings(
        stones=arguments.stones, seed=arguments.seed, requests_per_s=UNHURRIED, violation_answer="none"
    )
    plans = asyncio.run(plan(simulator))
    size = NivodaFeed.page_size
    planning = sum(requests for requests, _, _ in plans.values())
    reading, ideal, figures = 0, 0, []
    for name, (requests, counted, partitions) in plans.items():
        reads = read(name, size, counted, partitions)
        reading, ideal = reading + reads, ideal + -(-counted // size)
        off = 100 * abs(sum(part.estimate for part in partitions) / counted - 1)
        print(
            f"{name}: {counted} stones, {len(partitions)} partitions after {requests} counts, {reads} reads"
        )
        short = FEEDS[name].name.rpartition("-")[2]
        figures += [
            Figure(f"{short}_largest_over_mean", round(spread(partitions), 3), "", f"<= {SPREAD_GOAL}"),
            Figure(f"{short}_estimates_off_percent", round(off, 3), "%", f"<= {OFF_GOAL_PERCENT}"),
        ]
    finish(
        "bench-plan",
        [
            Figure("stones", sum(counted for _, counted, _ in plans.values()), "stones"),
            Figure("plan_requests", planning, "requests", f"<= {PLAN_GOAL_S * LIMIT}"),
            Figure("plan_s", round(planning / LIMIT, 1), "s of the budget", f"<= {PLAN_GOAL_S}"),
            Figure("ideal_pages", ideal, "requests"),
            Figure("reads", reading, "requests"),
            Figure("ideal_s", round(ideal / LIMIT, 1), "s at 25 a second"),
            Figure("sweep_s", round((planning + reading) / LIMIT, 1), "s at 25 a second, plan included"),
            Figure("over_ideal_percent", round(100 * ((planning + reading) / ideal - 1), 2), "%"),
            *figures,
        ],
    )


if __name__ == "__main__":
    main()
