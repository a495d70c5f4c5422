"""`kill -9` of ingest at any moment, with a vendor that does everything wrong: every run adds up, and every stone is there.

    make drill-ingest-kill SEED=7 ARGS='--stones 100000 --kills 50'

Short pages, empty pages with more behind them, counts so wrong that partitions are split while they are read, 429,
403 with HTML, 5xx, replies that never come, revoked tokens; and the process is killed, at times before it has planned, at
times while it resumes. Sweeps follow one another until all kills are done. Then every run's ledger must balance, and
the distinct stones of each run's pages in the raw log must be the vendor's inventory.
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections import defaultdict
from typing import Final, cast

import msgspec
from confluent_kafka import Message

from drills.replies import Reply
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage
from drills.stage import Stage
from drills.vendor import DrillVendor
from runtime.tail import Tail
from schemas.facts import FactHeaders, Kind
from schemas.feeds import STANDARD
from schemas.headers import Headers, from_headers
from schemas.topics import RAW

STONES: Final = 100_000
KILLS: Final = 50
FAULTS: Final = {
    "short_page": {"probability": 0.03, "missing": 7},
    "empty_then_more": {"probability": 0.01},
    # Far enough off that a partition reaches twice its estimate.
    "count_drift": {"probability": 0.3, "share": 0.9},
    "http_429": {"probability": 0.003, "retry_after_s": 1},
    "http_5xx": {"probability": 0.02},
    "hang": {"probability": 0.001, "hang_s": 5},
    "token_revoked": {"probability": 0.003},
    "partial_data_with_errors": {"probability": 0.005},
    "latency": {"probability": 1, "median_ms": 250, "tail_probability": 0.005, "tail_ms": 6_000},
}
BAN: Final = {"http_403_html": {"probability": 1, "duration_s": 0.2}}
BANNED_SHARE: Final = 0.06
"""Share of the kills before which the vendor's firewall turns us away for a moment."""
SETTINGS: Final = {"ADAMAS_INGEST_INCREMENTAL_EVERY_S": 86_400}
COMPLETE: Final = """
SELECT count(*) FILTER (WHERE state = 'completed') AS done, count(*) AS all FROM runs WHERE kind = 'full'"""


def with_seeds(draw: random.Random) -> dict[str, dict[str, float]]:
    """The faults, each with a seed of its own."""
    return {name: {**fault, "seed": draw.randrange(1 << 30)} for name, fault in FAULTS.items()}


def kill_some(runs: RunsStage, draw: random.Random, kills: int) -> int:
    """Kill and start again so often; new sweeps begin when the former ones are done. How many were killed while idle."""
    stage, idle = runs.stage, 0
    for number in range(kills):
        # From "not even the lease" to "in the middle of many pages".
        time.sleep(draw.choice([draw.uniform(0.0, 2.0), draw.uniform(2.0, 9.0)]))
        if draw.random() < BANNED_SHARE:
            runs.vendor.set_faults({"http_403_html": {**BAN["http_403_html"], "seed": number}})
        row = runs.query(COMPLETE)[0]
        if row["done"] == row["all"] and row["all"]:
            idle += 1
            for feed in STANDARD:
                runs.adamas("runs", "start", feed, "full")
        child = stage.children["ingest"]
        child.check()
        child.process.send_signal(signal.SIGKILL)
        child.process.wait()
        if number % 10 == 9:
            print(f"{number + 1} kills, {row['done']} of {row['all']} sweeps complete")
        runs.start("ingest")
    return idle


def stones_by_run(runs: RunsStage) -> dict[str, set[str]]:
    """The distinct stones in each run's pages, as the raw log has them."""
    found: defaultdict[str, set[str]] = defaultdict(set)

    def collect(messages: list[Message]) -> None:
        for message in messages:
            headers = from_headers(cast(Headers, message.headers()), FactHeaders)
            if headers.kind is Kind.PAGE and headers.run:
                reply = msgspec.json.decode(message.value() or b"", type=Reply)
                found[headers.run].update(
                    f"{headers.feed}:{item.diamond.id}"
                    for item in reply.data.diamonds_by_query.items
                    if item and item.diamond and item.diamond.id
                )

    tail = Tail(runs.stage.kafka, RAW.name, collect)
    tail.start()
    if not tail.wait_caught_up(300):
        raise TimeoutError("the raw log was not read in 300 s") from tail.failure
    tail.stop()
    return dict(found)


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--kills", type=int, default=KILLS)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("confluent-kafka", "asyncpg")
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        vendor.set_faults(with_seeds(draw))
        runs = RunsStage(stage, vendor, SETTINGS)
        runs.start("sink", "process", "ingest")
        idle = kill_some(runs, draw, arguments.kills)
        runs.wait(
            lambda: (row := runs.query(COMPLETE)[0])["done"] == row["all"] > 0,
            "all sweeps to be complete",
            600 + arguments.stones / 100,
        )
        names = [row["run"] for row in runs.query("SELECT run FROM runs WHERE kind = 'full'")]
        runs.wait_settled(names, 300)
        rows = runs.query("SELECT run, feed, ledger, splits FROM runs WHERE kind = 'full' ORDER BY run")
        verdicts = {row["run"]: msgspec.json.decode(row["ledger"])["verdict"] for row in rows}
        completed = runs.query("SELECT run FROM run_transitions WHERE to_state = 'completed'")
        found = stones_by_run(runs)
        truth = vendor.truth()
        missing = sum(
            len(
                {s for s, real in truth.items() if real["feed"] == row["feed"] and real["available"]}
                - found[row["run"]]
            )
            for row in rows
        )
        seen = vendor.witness()
    print(f"{len(rows)} sweeps: {verdicts}; {idle} kills found them complete")
    finish(
        "drill-ingest-kill",
        [
            Figure("kills", arguments.kills, "kills", f"== {arguments.kills}"),
            Figure("unbalanced", sum(verdict == "red" for verdict in verdicts.values()), "runs", "== 0"),
            Figure("missing", missing, "stones", "== 0"),
            Figure(
                "completed_twice", len(completed) - len({row["run"] for row in completed}), "runs", "== 0"
            ),
            Figure("violations", seen.violations, "violations", "== 0"),
            Figure("sweeps", len(rows), "runs", ">= 1"),
            Figure("splits", sum(len(row["splits"]) for row in rows), "partitions", ">= 1"),
        ],
    )


if __name__ == "__main__":
    main()
