"""SIGTERM to each process while a sweep runs and a shop asks: out within 30 s, nothing lost, nobody notices.

    make drill-terminate SEED=7

A full sweep is read at the vendor's limit while two clients ask two replicas of the API without a pause; a client that
is refused a connection asks the other replica, as a balancer would. Then each process in turn, in an order drawn by the
seed, is told to stop, and started again once it has. At the end the stock must be the vendor's, no page may stand in the
log twice but those of one batch, no version of a stone either, and no request may have failed. Last, a worker is
stopped in its tracks (SIGSTOP): it must be seen to be dead within its limit.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread
from typing import Final

from confluent_kafka import Message

from api.keys import ALL_SCOPES, ensure_key, new_key
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage, alive, for_sale
from drills.stage import Stage
from drills.vendor import DrillVendor
from runtime.tail import Tail
from schemas.facts import FactHeaders, Kind
from schemas.feeds import STANDARD
from schemas.headers import Headers, from_headers
from schemas.stone import decode_version, is_position
from schemas.topics import CANONICAL, RAW
from streams.process import BATCH_PAGES

STONES: Final = 120_000
PAGE: Final = 50
EXIT_GOAL_S: Final = 30
PROBE_S: Final = 2.0
PROBES: Final = 3
"""So often a probe must fail, one every `PROBE_S`, before a process counts as dead."""
REPLICAS: Final = ("api", "api-2")
CLIENTS: Final = 2


@dataclass
class Shop:
    """Clients that ask the replicas in turn; use it as a context."""

    stage: Stage
    key: str
    asked: int = 0
    elsewhere: int = 0
    failed: list[str] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def __enter__(self) -> Shop:
        self._threads = [Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, first: int) -> None:
        for turn in count(first):
            if self._stop.is_set():
                return
            self._ask(turn)
            time.sleep(0.01)

    def _ask(self, turn: int) -> None:
        self.asked += 1
        for attempt in range(len(REPLICAS)):
            name = REPLICAS[(turn + attempt) % len(REPLICAS)]
            url = f"http://127.0.0.1:{self.stage.ports[name]}/v1/diamonds?limit=10"
            request = urllib.request.Request(url, headers={"X-API-Key": self.key})
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    json.load(reply)
            except urllib.error.HTTPError as error:
                self.failed.append(f"{name}: {error.code}")
            except urllib.error.URLError as error:
                if isinstance(error.reason, ConnectionRefusedError):
                    self.elsewhere += 1
                    continue
                self.failed.append(f"{name}: {error.reason!r}")
            except OSError as error:
                self.failed.append(f"{name}: {error!r}")
            return
        self.failed.append("both replicas refused")


def terminate(runs: RunsStage, name: str) -> tuple[float, int]:
    """Tell a member to stop and start it again once it has; the seconds it took and its exit code."""
    child = runs.stage.children[name]
    began = time.monotonic()
    child.process.send_signal(signal.SIGTERM)
    code = child.process.wait(2 * EXIT_GOAL_S)
    took_s = time.monotonic() - began
    print(f"{name}: exit code {code} after {took_s:.1f} s")
    runs.start(name)
    if name in REPLICAS or name == "monitor":
        runs.stage.wait_ready(name)
    return took_s, code


def repeats(stage: Stage) -> tuple[int, int]:
    """Pages that stand in the raw log more than once, and versions of stones in canonical."""
    pages: Counter[tuple[object, ...]] = Counter()
    versions: Counter[tuple[object, ...]] = Counter()

    def count_pages(messages: list[Message]) -> None:
        for message in messages:
            told: Headers = message.headers() or []  # type: ignore[assignment]
            fact = from_headers(told, FactHeaders)
            if fact.kind is Kind.PAGE:
                pages[fact.run, fact.partition, fact.page, fact.reread] += 1

    def count_versions(messages: list[Message]) -> None:
        for message in messages:
            key, value = message.key(), message.value()
            if key is not None and value is not None and not is_position(key):
                stone = decode_version(value)
                versions[key, stone.seq, stone.mapper_version, stone.rules_version] += 1

    for topic, apply in ((RAW.name, count_pages), (CANONICAL.name, count_versions)):
        tail = Tail(stage.kafka, topic, apply)
        tail.start()
        if not tail.wait_caught_up(120):
            raise TimeoutError(f"{topic} was not read in 120 s") from tail.failure
        tail.stop()
    return pages.total() - len(pages), versions.total() - len(versions)


def seen_dead_after_s(stage: Stage, name: str) -> float:
    """Stop a member in its tracks; seconds until its liveness has failed so often that it would be killed."""
    stage.children[name].process.send_signal(signal.SIGSTOP)
    began, failures = time.monotonic(), 0
    while failures < PROBES:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{stage.ports[name]}/health/live", timeout=PROBE_S):
                failures = 0
        except OSError:
            failures += 1
        if time.monotonic() - began > 2 * EXIT_GOAL_S:
            return float("inf")
    took_s = time.monotonic() - began
    stage.children[name].process.send_signal(signal.SIGCONT)
    return took_s


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("faust-streaming", "confluent-kafka", "fastapi")
    key = new_key()
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        ensure_key(stage.dsn, "drill", ALL_SCOPES, key)
        runs = RunsStage(stage, vendor, {})
        runs.start("sink", "process", *REPLICAS, "monitor")
        for name in (*REPLICAS, "monitor"):
            stage.wait_ready(name)
        runs.start("ingest")
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "first sweeps")
        victims = ["process", "sink", "ingest", "monitor", *REPLICAS]
        draw.shuffle(victims)
        ended: dict[str, tuple[float, int]] = {}
        under_load = 0
        with Shop(stage, key) as shop:
            for name in victims:
                time.sleep(draw.uniform(0.5, 2.0))
                under_load += bool(runs.query("SELECT FROM runs WHERE ledger IS NULL LIMIT 1"))
                ended[name] = terminate(runs, name)
            runs.wait_settled([str(runs.last_run(feed, "full")) for feed in STANDARD])
        runs.wait_idle()
        twice = repeats(stage)
        stock, truth, seen = runs.stock(), vendor.truth(), vendor.witness()
        rows = {row["id"] for row in runs.query("SELECT id FROM available_diamonds")}
        history = runs.query(
            "SELECT count(*) - count(DISTINCT (stone_id, seq, rules_version, mapper_version)) AS n"
            " FROM price_history"
        )
        dead_s = seen_dead_after_s(stage, "process")
    living, selling = alive(truth), for_sale(stock)
    print("\n".join(shop.failed[:10]))
    finish(
        "drill-terminate",
        [
            Figure(
                "slowest_exit_s", round(max(took for took, _ in ended.values()), 1), "s", f"<= {EXIT_GOAL_S}"
            ),
            Figure("stopped_under_load", under_load, "processes", f"== {len(victims)}"),
            Figure("bad_exits", sum(code != 0 for _, code in ended.values()), "processes", "== 0"),
            Figure("lost", len(living - selling) + len(living - rows), "stones", "== 0"),
            Figure("too_many", len(selling - living) + len(rows - living), "stones", "== 0"),
            Figure("pages_twice", twice[0], "pages", f"<= {BATCH_PAGES}"),
            Figure("versions_twice", twice[1], "records", f"<= {BATCH_PAGES * PAGE}"),
            Figure("history_twice", history[0]["n"], "rows", "== 0"),
            Figure("requests", shop.asked, "requests", ">= 1000"),
            Figure("failed_requests", len(shop.failed), "requests", "== 0"),
            Figure("asked_elsewhere", shop.elsewhere, "requests"),
            Figure("stopped_worker_seen_s", round(dead_s, 1), "s", f"<= {EXIT_GOAL_S}"),
            Figure("stones", len(living), "stones"),
            Figure("violations", seen.violations, "violations", "== 0"),
        ],
    )


if __name__ == "__main__":
    main()
