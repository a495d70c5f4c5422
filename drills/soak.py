"""Everything together for hours: a living vendor, searches, kills. Memory stays flat, the budget holds, answers are right.

    make drill-soak SEED=7 ARGS='--hours 1'

`ingest`, one `process` worker and one API replica are killed at random; the others run through, and their memory at the end is
held beside what it was after the first quarter. Every answer must be whole, and carry prices that follow from its
cost and the rule set; at the end every stone must be the vendor's.
"""

from __future__ import annotations

import argparse
import random
import signal
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

STONES: Final = 20_000
HOURS: Final = 1.0
LIFE: Final = {"price_moves": 15, "sales": 0.5, "holds": 1, "new": 0.5, "media": 0.5, "hold_s": 30}
FAULTS: Final = {"latency": {"probability": 1, "median_ms": 150}, "http_5xx": {"probability": 0.005}}
VICTIMS: Final = ("ingest", "process-2", "api-2")
STEADY: Final = ("api", "process", "sink")
KILL_EVERY_S: Final = 90.0
ASK_EVERY_S: Final = 0.25
GROWTH_GOAL_PERCENT: Final = 10
SORTS: Final = ("price_cents", "-price_cents", "carat", "-carat")


class Searches:
    """Asks the steady replica, and counts what is wrong."""

    def __init__(self, base: str, key: str, draw: random.Random) -> None:
        self._http = httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=20, trust_env=False)
        self._draw = draw
        self.asked = 0
        self.wrong: list[str] = []

    def ask(self) -> None:
        """One search, and what must hold of its answer."""
        sort = self._draw.choice(SORTS)
        low = self._draw.choice((0.3, 0.5, 1.0))
        self.asked += 1
        reply = self._http.get("/v1/diamonds", params={"sort": sort, "carat_min": low, "limit": 50})
        if reply.status_code != httpx.codes.OK:
            self.wrong.append(f"status {reply.status_code}")
            return
        items: list[dict[str, Any]] = reply.json()["items"]
        field = sort.lstrip("-")
        values = [item[field] for item in items]
        if values != sorted(values, reverse=sort.startswith("-")):
            self.wrong.append(f"not sorted by {sort}")
        self.wrong += [
            f"{item['id']} is not what was asked for"
            for item in items
            if item["availability"] != "available"
            or item["carat"] < low
            or item["price_cents"] < item["cost_cents"]
        ]


def resident(stage: Stage) -> dict[str, int]:
    """Bytes of memory of the members that run through."""
    return {name: psutil.Process(stage.children[name].pid).memory_info().rss for name in STEADY}


def soak(runs: RunsStage, searches: Searches, hours: float, draw: random.Random) -> tuple[int, float]:
    """Let everything run; kills, and the greatest growth of memory since the first quarter, in percent."""
    stage, kills = runs.stage, 0
    began = time.monotonic()
    next_kill, early = began + KILL_EVERY_S, dict[str, int]()
    while (gone := time.monotonic() - began) < hours * 3600:
        if not early and gone > hours * 3600 / 4:
            early = resident(stage)
        if time.monotonic() > next_kill:
            victim = draw.choice(VICTIMS)
            child = stage.children[victim]
            child.check()
            child.process.send_signal(signal.SIGKILL)
            child.process.wait()
            runs.start(victim)
            kills += 1
            next_kill = time.monotonic() + KILL_EVERY_S * draw.uniform(0.5, 1.5)
            print(
                f"{gone / 60:.0f} min: killed {victim}; {searches.asked} searches, {len(searches.wrong)} wrong"
            )
        for name in STEADY:
            stage.children[name].check()
        searches.ask()
        time.sleep(ASK_EVERY_S)
    late = resident(stage)
    growth = {name: 100 * (late[name] / early[name] - 1) for name in STEADY}
    print("memory: " + ", ".join(f"{name} {late[name] >> 20} MiB ({growth[name]:+.1f} %)" for name in STEADY))
    return kills, max(growth.values())


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
        searches = Searches(f"http://127.0.0.1:{stage.ports['api']}", key, draw)
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
