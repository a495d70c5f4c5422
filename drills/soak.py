"""Everything together for hours: a living vendor, searches, kills. Memory stays flat, the budget holds, answers are right.

    make drill-soak SEED=7 ARGS='--hours 1'

One `process` worker and one API replica are killed at random, in the second half `ingest` too; the others run through. Each
member's memory in the last eighth, `ingest`'s in the last before its first kill, is held beside what it was after the first
quarter; a median of each, for the collector makes waves of it. What is mapped from files is shown beside it: the records of the
API fill a file of 64 MiB before its stale ones are given up, and the kernel takes that memory where it is wanted. Every answer
of a replica that says it is ready must be sorted, filtered, as large as the other one's, and carry the prices that its costs
and the rule set give; at the end every stone must be the vendor's.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import time
from typing import Any, Final

import httpx
import psutil

from api.keys import ALL_SCOPES, ensure_key, new_key
from drills.living import wrong_fields
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage, alive, for_sale
from drills.stage import Stage
from drills.vendor import DrillVendor
from schemas.feeds import STANDARD
from schemas.ruleset import BaseMargins
from streams.pricing.engine import base_rule, base_terms, price_cents

STONES: Final = 20_000
HOURS: Final = 1.0
LIFE: Final = {"price_moves": 15, "sales": 0.5, "holds": 1, "new": 0.5, "media": 0.5, "hold_s": 30}
FAULTS: Final = {"latency": {"probability": 1, "median_ms": 150}, "http_5xx": {"probability": 0.005}}
VICTIMS: Final = ("process-2", "api-2")
STEADY: Final = ("api", "process", "sink")
REPLICAS: Final = ("api", "api-2")
KILL_EVERY_S: Final = 90.0
ASK_EVERY_S: Final = 0.25
READINGS: Final = 64
GROWTH_GOAL_PERCENT: Final = 10
APART_SHARE: Final = 0.02
"""How far two replicas may be apart that read the same topic a moment later."""
SORTS: Final = ("price_cents", "-price_cents", "carat", "-carat")


class Searches:
    """Asks the replicas that are ready, and counts what is wrong.

    Args:
        stage: with the replicas.
        key: of the API.
        draw: what is asked for.
    """

    def __init__(self, stage: Stage, key: str, draw: random.Random) -> None:
        self._stage = stage
        self._http = httpx.Client(headers={"X-API-Key": key}, timeout=20, trust_env=False)
        self._draw = draw
        self._margins = {base_rule(kind): terms.bps for kind, terms in base_terms(BaseMargins()).items()}
        self.asked = 0
        self.wrong: list[str] = []

    def ask(self) -> None:
        """One search to each replica that is ready, and what must hold of its answer."""
        sort = self._draw.choice(SORTS)
        low = self._draw.choice((0.3, 0.5, 1.0))
        totals = [
            self._check(name, sort, low) for name in REPLICAS if self._get(name, "/health/ready").is_success
        ]
        if min(totals, default=0) < (1 - APART_SHARE) * max(totals, default=0):
            self.wrong.append(f"the replicas found {totals}")

    def _check(self, name: str, sort: str, low: float) -> int:
        self.asked += 1
        reply = self._get(name, f"/v1/diamonds?sort={sort}&carat_min={low}&limit=50")
        if not reply.is_success:
            self.wrong.append(f"{name}: status {reply.status_code}")
            return 0
        items: list[dict[str, Any]] = reply.json()["items"]
        field = sort.lstrip("-")
        values = [item[field] for item in items]
        if values != sorted(values, reverse=sort.startswith("-")):
            self.wrong.append(f"{name}: not sorted by {sort}")
        self.wrong += [
            f"{name}: {item['id']} is not what was asked for, or not at its price"
            for item in items
            if item["availability"] != "available"
            or item["carat"] < low
            or item["price_cents"] != price_cents(item["cost_cents"], self._margins[item["rule"]])
        ]
        return int(reply.json()["total"])

    def _get(self, name: str, path: str) -> httpx.Response:
        try:
            return self._http.get(f"http://127.0.0.1:{self._stage.ports[name]}{path}")
        except httpx.ConnectError:
            # It was killed and has not come back: nobody would be sent there.
            return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)


class Memory:
    """What members hold, read again and again.

    Args:
        stage: with the members.
        whole_s: how long the drill takes.
    """

    def __init__(self, stage: Stage, whole_s: float) -> None:
        self._stage = stage
        self._whole_s = whole_s
        # Of each member: what is its own, and what is mapped from files.
        self._read: list[tuple[float, dict[str, tuple[int, int]]]] = []

    def look(self, gone_s: float) -> None:
        """Read it, where the last time is long enough ago."""
        share = gone_s / self._whole_s
        if not self._read or share - self._read[-1][0] > 1 / READINGS:
            self._read.append((share, {name: self._resident(name) for name in ("ingest", *STEADY)}))

    def growth(self) -> dict[str, float]:
        """By how many percent each member's memory has grown; printed with what it was over the time."""
        growths = {}
        for name in ("ingest", *STEADY):
            end = 0.5 if name == "ingest" else 1.0
            early, late = self._median(name, 0.25), self._median(name, end - 0.125)
            growths[name] = 100 * (late / early - 1)
            waves = " ".join(
                f"{own >> 20}+{mapped >> 20}" for own, mapped in (read[name] for _, read in self._read)
            )
            print(f"memory of {name}: {growths[name]:+.1f} %, MiB, its own + of files: {waves}")
        return growths

    def _median(self, name: str, since: float) -> float:
        return statistics.median(
            read[name][0] for share, read in self._read if since <= share < since + 0.125
        )

    def _resident(self, name: str) -> tuple[int, int]:
        found = psutil.Process(self._stage.children[name].pid).memory_info()
        return found.rss - found.shared, found.shared


def soak(runs: RunsStage, searches: Searches, hours: float, draw: random.Random) -> tuple[int, float]:
    """Let everything run; kills, and the greatest growth of a member's memory since the first quarter, in percent."""
    stage, kills = runs.stage, 0
    began, whole_s = time.monotonic(), hours * 3600
    next_kill = began + min(KILL_EVERY_S, whole_s / 8)
    memory = Memory(stage, whole_s)
    while (gone := time.monotonic() - began) < whole_s:
        memory.look(gone)
        if time.monotonic() > next_kill:
            victim = draw.choice((*VICTIMS, "ingest") if gone > whole_s / 2 else VICTIMS)
            child = stage.children[victim]
            child.check()
            child.process.send_signal(signal.SIGKILL)
            child.process.wait()
            runs.start(victim)
            kills += 1
            next_kill = time.monotonic() + min(KILL_EVERY_S, whole_s / 8) * draw.uniform(0.5, 1.5)
            print(
                f"{gone / 60:.0f} min: killed {victim}; {searches.asked} searches, {len(searches.wrong)} wrong"
            )
        for name in STEADY:
            stage.children[name].check()
        searches.ask()
        time.sleep(ASK_EVERY_S)
    return kills, max(memory.growth().values())


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--hours", type=float, default=HOURS)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("faust-streaming", "confluent-kafka", "fastapi")
    with (
        Stage(process=2) as stage,
        DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor,
    ):
        key = new_key()
        ensure_key(stage.dsn, "drill", ALL_SCOPES, key)
        runs = RunsStage(stage, vendor, {})
        runs.start("sink", "process", "process-2", "api", "api-2", "ingest")
        stage.wait_ready("api")
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "first sweeps")
        runs.wait_settled([str(runs.last_run(feed, "full")) for feed in STANDARD])
        vendor.set_faults(FAULTS)
        vendor.set_life(**LIFE, seed=draw.randrange(1 << 30))
        searches = Searches(stage, key, draw)
        kills, growth = soak(runs, searches, arguments.hours, draw)
        vendor.set_life()
        vendor.set_faults(dict.fromkeys(FAULTS))
        time.sleep(float(LIFE["hold_s"]) + 1)
        runs.sweep()
        runs.wait_idle()
        red = runs.query("SELECT run FROM runs WHERE ledger ->> 'verdict' = 'red'")
        stock, truth, seen = runs.stock(), vendor.truth(), vendor.witness()
    fields = wrong_fields(stock, truth, draw)
    print("\n".join([*searches.wrong[:10], *fields[:10]]))
    apart = alive(truth) ^ for_sale(stock)
    finish(
        "drill-soak",
        [
            Figure("hours", round(arguments.hours, 3), "h"),
            Figure("violations", seen.violations, "violations", "== 0"),
            Figure("wrong", len(searches.wrong) + len(fields) + len(apart) + len(red), "answers", "== 0"),
            Figure("memory_growth_percent", round(growth, 1), "%", f"<= {GROWTH_GOAL_PERCENT}"),
            Figure("kills", kills, "kills"),
            Figure("searches", searches.asked, "searches", ">= 1"),
        ],
    )


if __name__ == "__main__":
    main()
