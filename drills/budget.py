"""One budget: 25 requests in any second, none wasted, holds first; whoever holds the lease, dies, sleeps or is starved.

Full sweeps of both feeds keep about 30 fetches under way (the vendor takes a second to answer) while five clients of
the gateway hold, release and check stones. The vendor stamps arrivals apart from rendering and is the only witness.

1. Undisturbed for `--seconds`: use of the budget, and how long the clients' calls waited for their turn.
2. With a second `ingest` waiting, the holder of the lease is killed ten times, and stopped and woken at random.
3. With both cores busy.

Parts 2 and 3 are judged by violations and the most in any second; take-overs are measured too.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from adamas.stack import GATEWAY_TOKEN
from connectors.budget import LIMIT
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.vendor import DrillVendor, Witness
from schemas.gateway import WAIT_HEADER

FEED: Final = "nivoda-natural"
CLIENTS: Final = 5
THINK_S: Final = (0.5, 1.5)
SLOW_SEARCH: Final = {
    "latency": {
        "probability": 1,
        "median_ms": 1_150,
        "sigma": 0.3,
        "tail_probability": 0.005,
        "tail_ms": 8_000,
        "operations": ["diamonds_by_query"],
    }
}
"""25 a second at 1.2 s each: 30 fetches under way."""
KILLS: Final = 10
PAUSES: Final = 3
TAKEOVER_GOAL_S: Final = 15
BUSY_S: Final = 40.0
USE_GOAL_PERCENT: Final = 98
WAIT_GOAL_MS: Final = 200


class Client:
    """Holds, releases and checks stones through the gateway, one call after the other."""

    def __init__(self, base: str, stones: list[str], seed: int) -> None:
        self._base = base
        self._stones = stones
        self._draw = random.Random(seed)
        self.waits_ms: list[float] = []
        self.refused = 0

    async def run(self) -> None:
        """Until cancelled."""
        headers = {"Authorization": f"Bearer {GATEWAY_TOKEN}"}
        async with httpx.AsyncClient(
            base_url=self._base, headers=headers, timeout=60, trust_env=False
        ) as http:
            while True:
                await self._hold_and_release(http)
                await self._think()
                await self._call(http, "GET", f"/stones/{self._draw.choice(self._stones)}/availability")
                await self._think()

    async def _hold_and_release(self, http: httpx.AsyncClient) -> None:
        stone = self._draw.choice(self._stones)
        held = await self._call(http, "POST", f"/stones/{stone}/hold")
        if held.status_code == httpx.codes.OK:
            await self._think()
            await self._call(http, "POST", f"/stones/{stone}/release", {"hold": held.json()["hold"]})

    async def _call(
        self, http: httpx.AsyncClient, method: str, path: str, body: object = None
    ) -> httpx.Response:
        reply = await http.request(method, f"/v1/{FEED}{path}", json=body)
        if WAIT_HEADER in reply.headers:
            self.waits_ms.append(float(reply.headers[WAIT_HEADER]))
        self.refused += reply.status_code not in (httpx.codes.OK, httpx.codes.CONFLICT)
        return reply

    async def _think(self) -> None:
        await asyncio.sleep(self._draw.uniform(*THINK_S))


async def ask_for(seconds: float, clients: list[Client]) -> None:
    """Let the clients work for a while."""
    working = [asyncio.create_task(client.run()) for client in clients]
    await asyncio.wait(working, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in working:
        task.cancel()
    for ended in await asyncio.gather(*working, return_exceptions=True):
        if not isinstance(ended, asyncio.CancelledError) and isinstance(ended, BaseException):
            raise ended


def undisturbed(
    stage: Stage, vendor: DrillVendor, seconds: float, seed: int
) -> tuple[Witness, float, Client]:
    """Part 1: what the vendor saw, the share of the budget in percent, and all waits."""
    stage.start("ingest", vendor.environment)
    stage.wait(
        lambda: vendor.witness().operations.get("diamonds_by_query", 0) > 2 * LIMIT, 120, "pages", "ingest"
    )
    stones = vendor.available(FEED, 5_000)
    base = f"http://127.0.0.1:{stage.gateways['ingest']}"
    clients = [Client(base, stones, seed + number) for number in range(CLIENTS)]
    vendor.reset()
    before, began = vendor.witness().requests, time.monotonic()
    asyncio.run(ask_for(seconds, clients))
    seen, took_s = vendor.witness(), time.monotonic() - began
    use = 100 * (seen.requests - before) / (LIMIT * took_s)
    together = clients[0]
    for client in clients[1:]:
        together.waits_ms += client.waits_ms
        together.refused += client.refused
    print(
        f"undisturbed for {took_s:.0f} s: {seen.requests - before} requests, {dict(seen.operations)}, "
        f"{len(together.waits_ms)} calls through the gateway, {together.refused} refused"
    )
    return seen, use, together


def holder(stage: Stage) -> str:
    """The member that holds the lease."""
    row = asyncio.run(stage.fetch("SELECT holder FROM leases ORDER BY epoch DESC LIMIT 1"))[0]
    pid = int(row["holder"].rpartition(":")[2])
    return next(name for name, child in stage.children.items() if child.pid == pid)


def wait_sending(stage: Stage, vendor: DrillVendor, than: int, what: str) -> float:
    """Block until the vendor has seen more requests; the seconds it took."""
    return stage.wait(lambda: vendor.witness().requests > than, 60, what)


def kill_holder(stage: Stage, vendor: DrillVendor, draw: random.Random) -> float:
    """Kill the holder at some moment of its sending; seconds until the other one sends."""
    time.sleep(draw.uniform(0.2, 2.5))
    victim = holder(stage)
    stage.children[victim].process.kill()
    stage.children[victim].process.wait()
    time.sleep(0.1)
    took_s = 0.1 + wait_sending(stage, vendor, vendor.witness().requests, f"a take-over after {victim}")
    stage.start(victim, vendor.environment)
    print(f"killed {victim}: the other one sent after {took_s:.1f} s")
    return took_s


def pause_holder(stage: Stage, vendor: DrillVendor, draw: random.Random, longest_s: float) -> int:
    """Stop the holder and wake it; requests that somebody sent meanwhile."""
    time.sleep(draw.uniform(0.2, 2.5))
    process = stage.children[holder(stage)].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    before, pause_s = vendor.witness().requests, draw.uniform(2, longest_s)
    time.sleep(pause_s)
    meanwhile = vendor.witness().requests - before
    process.send_signal(signal.SIGCONT)
    took_s = wait_sending(stage, vendor, vendor.witness().requests, "the holder to go on")
    print(
        f"paused the holder for {pause_s:.0f} s: {meanwhile} requests meanwhile, went on after {took_s:.1f} s"
    )
    return meanwhile


@contextmanager
def busy_cores() -> Iterator[None]:
    """Something else wants every core."""
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=180, help="length of the undisturbed part")
    parser.add_argument("--longest-pause", type=float, default=60, help="longest SIGSTOP, seconds")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("httpx", "uvicorn")
    stones = int(LIMIT * 50 * (arguments.seconds + 200))
    with (
        Stage() as stage,
        DrillVendor(stage.folder, stones, arguments.seed, violation_answer="none") as vendor,
    ):
        vendor.set_faults(SLOW_SEARCH)
        first, use, calls = undisturbed(stage, vendor, arguments.seconds, arguments.seed)
        vendor.reset()
        stage.start("ingest-2", vendor.environment)
        time.sleep(3)
        takeovers = [kill_holder(stage, vendor, draw) for _ in range(KILLS)]
        beside = sum(pause_holder(stage, vendor, draw, arguments.longest_pause) for _ in range(PAUSES))
        with busy_cores():
            before = vendor.witness().requests
            time.sleep(BUSY_S)
            busy = (vendor.witness().requests - before) / BUSY_S
        last = vendor.witness()
    waits = sorted(calls.waits_ms)
    finish(
        "drill-budget",
        [
            Figure("violations", first.violations + last.violations, "requests", "== 0"),
            Figure(
                "most_in_a_second",
                max(first.most_in_a_second, last.most_in_a_second),
                "requests",
                f"<= {LIMIT}",
            ),
            Figure("use_percent", round(use, 2), "%", f">= {USE_GOAL_PERCENT}"),
            Figure("hold_p99_ms", round(waits[int(0.99 * len(waits))], 1), "ms", f"<= {WAIT_GOAL_MS}"),
            Figure("hold_p50_ms", round(waits[len(waits) // 2], 1), "ms"),
            Figure("calls", len(waits), "calls", ">= 1"),
            Figure("calls_refused", calls.refused, "calls", "== 0"),
            Figure("kills", len(takeovers), "kills", f"== {KILLS}"),
            Figure("takeover_s", round(max(takeovers), 1), "s", f"<= {TAKEOVER_GOAL_S}"),
            Figure("beside_a_paused_holder", beside, "requests", "== 0"),
            Figure("busy_requests_per_s", round(busy, 2), "requests/s"),
        ],
    )


if __name__ == "__main__":
    main()
