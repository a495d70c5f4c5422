"""Each process goes on while another is dead or busy, and nothing is restarted that only waits.

    make drill-apart SEED=7 ARGS='--stones 100000 --seconds 60'

1. `ingest` is killed: every search is answered as before, and the age that it states grows.
2. During a full sweep: how fast pages are fetched while the API rests, while it is dead, and under ten times its load.
3. For a minute each, a full queue at the gateway, the firewall's 403 and a breaker held open by a vendor that answers 503:
   `/health/live` of every process stays good, so that no orchestrator would restart one, and what is asked for is
   answered afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime
from threading import Event
from typing import Any, Final

import httpx

from adamas.stack import GATEWAY_TOKEN
from adamas.supervisor import in_background
from api.keys import ALL_SCOPES, ensure_key, new_key
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage
from drills.stage import Stage
from drills.vendor import DrillVendor
from schemas.feeds import STANDARD
from schemas.gateway import DEADLINE_HEADER

STONES: Final = 100_000
SECONDS: Final = 60.0
RATE_S: Final = 20.0
"""How long a rate of fetching is measured."""
USUAL_PER_S: Final = 20
TIMES: Final = 10
QUEUE: Final = 400
"""Calls that wait at the gateway all the time: 16 seconds of the whole budget."""
APART_GOAL_PERCENT: Final = 5
MEMBERS: Final = ("ingest", "process", "sink", "api")
SETTINGS: Final = {"ADAMAS_INGEST_INCREMENTAL_EVERY_S": 86_400}
PAGES: Final = "diamonds_by_query"
SEARCH: Final = "/v1/diamonds?shape=ROUND&sort=price_cents&limit=50"


class Searches:
    """Asks the API at a steady pace on a thread of its own; use it as a context."""

    def __init__(self, base: str, key: str, per_s: float) -> None:
        self._base = base
        self._key = key
        self._per_s = per_s
        self._stop = Event()
        self._running: Future[None] | None = None
        self.asked = 0
        self.bad: list[str] = []
        self.ages_s: list[float] = []

    def __enter__(self) -> Searches:
        self._running = in_background(lambda: asyncio.run(self._run()))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._running is not None:
            self._running.result()

    async def _run(self) -> None:
        headers = {"X-API-Key": self._key}
        async with (
            httpx.AsyncClient(base_url=self._base, headers=headers, timeout=20, trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            began = time.monotonic()
            while not self._stop.is_set():
                tasks.create_task(self._ask(http))
                self.asked += 1
                await asyncio.sleep(max(0.0, began + self.asked / self._per_s - time.monotonic()))

    async def _ask(self, http: httpx.AsyncClient) -> None:
        try:
            reply = await http.get(SEARCH)
        except httpx.HTTPError as error:
            self.bad.append(f"{type(error).__name__}: {error}")
            return
        page: Any = reply.json()
        if not reply.is_success or not page["items"] or page["as_of"] is None:
            self.bad.append(f"{reply.status_code}: {reply.text[:200]}")
            return
        self.ages_s.append(time.time() - datetime.fromisoformat(page["as_of"]).timestamp())


class Drill:
    """The steps, and what they found."""

    def __init__(self, runs: RunsStage, key: str, seconds: float) -> None:
        self._runs = runs
        self._stage = runs.stage
        self._vendor = runs.vendor
        self._key = key
        self._seconds = seconds
        self.not_alive: list[str] = []

    def without_ingest(self) -> Searches:
        """Step 1: what was searched meanwhile."""
        child = self._stage.children["ingest"]
        child.process.kill()
        child.process.wait()
        with self._searches(USUAL_PER_S) as searches:
            time.sleep(self._seconds)
        self._runs.start("ingest")
        self._stage.wait_ready("ingest")
        grown = searches.ages_s[-1] - searches.ages_s[0] if searches.ages_s else 0.0
        print(
            f"ingest dead: {searches.asked} searches, {len(searches.bad)} bad; the age grew by {grown:.1f} s"
        )
        return searches

    def rates(self) -> dict[str, float]:
        """Step 2: pages a second with the API at rest, dead and busy."""
        self._runs.begin("full")
        asked = self._pages()
        self._runs.wait(lambda: self._pages() > asked + 50, "pages")
        found = {"at rest": self._rate()}
        with self._searches(TIMES * USUAL_PER_S) as searches:
            time.sleep(2)
            found["busy"] = self._rate()
        print(f"{searches.asked} searches under load, {len(searches.bad)} bad")
        api = self._stage.children["api"]
        api.process.kill()
        api.process.wait()
        found["dead"] = self._rate()
        if not self._runs.query("SELECT FROM runs WHERE state = 'running'"):
            raise RuntimeError("the sweeps ended before all rates were measured: take more stones")
        self._runs.start("api")
        self._stage.wait_ready("api", 120)
        print("pages a second, the API " + ", ".join(f"{name} {rate:.2f}" for name, rate in found.items()))
        return found

    def waiting(self) -> None:
        """Step 3."""
        with self._watched("a full queue"):
            refused = asyncio.run(self._fill_queue())
        if refused:
            self.not_alive.append(f"{refused} queued calls were not answered")
        for name, fault in (("the firewall's 403", "http_403_html"), ("a vendor that is down", "outage")):
            with self._watched(name):
                self._runs.begin("full")
                self._vendor.set_faults({fault: {"probability": 1}})
                time.sleep(self._seconds)
                self._vendor.set_faults({fault: None})
                self._runs.wait(self._goes_on(self._pages()), f"pages after {name}")

    def _goes_on(self, before: int) -> Any:
        return lambda: self._pages() > before + 25

    async def _fill_queue(self) -> int:
        """Many patient callers at once, each asking again as soon as it is answered; how many had no answer."""
        stones = self._vendor.available(STANDARD[0], QUEUE)
        base = f"http://127.0.0.1:{self._stage.gateways['ingest']}/v1/{STANDARD[0]}"
        headers = {"Authorization": f"Bearer {GATEWAY_TOKEN}", DEADLINE_HEADER: "300000"}
        limits, until, refused = httpx.Limits(max_connections=QUEUE), time.monotonic() + self._seconds, 0

        async def ask(http: httpx.AsyncClient, stone: str) -> None:
            nonlocal refused
            while time.monotonic() < until:
                reply = await http.get(f"{base}/stones/{stone}/availability")
                refused += not reply.is_success

        async with (
            httpx.AsyncClient(headers=headers, timeout=310, limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as tasks,
        ):
            for stone in stones:
                tasks.create_task(ask(http, stone))
        return refused

    @contextmanager
    def _watched(self, what: str) -> Iterator[None]:
        """Ask every process each second whether it lives."""
        stop, began, before = Event(), time.monotonic(), len(self.not_alive)

        def watch() -> None:
            while not stop.wait(1):
                for name in MEMBERS:
                    self._stage.children[name].check()
                    try:
                        self._stage.get_json(name, "/health/live")
                    except OSError as error:
                        self.not_alive.append(f"{what}: {name}: {error}")

        watching = in_background(watch)
        try:
            yield
        finally:
            stop.set()
            watching.result()
        print(f"{what}, {time.monotonic() - began:.0f} s: {len(self.not_alive) - before} failing answers")

    def _searches(self, per_s: float) -> Searches:
        return Searches(f"http://127.0.0.1:{self._stage.ports['api']}", self._key, per_s)

    def _pages(self) -> int:
        return self._vendor.witness().operations.get(PAGES, 0)

    def _rate(self) -> float:
        before, began = self._pages(), time.monotonic()
        time.sleep(RATE_S)
        return (self._pages() - before) / (time.monotonic() - began)


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each trouble")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("httpx", "fastapi")
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        key = new_key()
        ensure_key(stage.dsn, "drill", ALL_SCOPES, key)
        runs = RunsStage(stage, vendor, SETTINGS)
        runs.start("sink", "process", "api", "ingest")
        stage.wait_ready("api")
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "first sweeps")
        first = [str(runs.last_run(feed, "full")) for feed in STANDARD]
        runs.wait_settled(first, 60 + arguments.stones / 100)
        drill = Drill(runs, key, arguments.seconds)
        searches = drill.without_ingest()
        rates = drill.rates()
        drill.waiting()
        seen = vendor.witness()
    print("\n".join([*searches.bad[:5], *drill.not_alive[:10]]))
    apart = {name: 100 * (rates[name] / rates["at rest"] - 1) for name in ("busy", "dead")}
    grown = searches.ages_s[-1] - searches.ages_s[0] if searches.ages_s else 0.0
    finish(
        "drill-apart",
        [
            Figure("bad_searches", len(searches.bad), "searches", "== 0"),
            Figure("searches", searches.asked, "searches", ">= 1"),
            Figure("age_grew_s", round(grown, 1), "s", f">= {0.9 * arguments.seconds:g}"),
            Figure(
                "fetching_api_busy_percent", round(abs(apart["busy"]), 2), "%", f"<= {APART_GOAL_PERCENT}"
            ),
            Figure(
                "fetching_api_dead_percent", round(abs(apart["dead"]), 2), "%", f"<= {APART_GOAL_PERCENT}"
            ),
            Figure("not_alive", len(drill.not_alive), "answers", "== 0"),
            Figure("violations", seen.violations, "violations", "== 0"),
        ],
    )


if __name__ == "__main__":
    main()
