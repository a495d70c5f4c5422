"""Cold starts of the API: from the compacted topic, and from a snapshot.

    make bench-bootstrap         # STONES=1340000 REPRICES=3

Claim: 1.34 million stones searchable within 15 s of the process's start from a real Kafka's compacted topic, also after
three full re-prices that the cleaner had to keep up with; within 2 s from the snapshot of the process before; at most
400 MB of heap beside the mapped files; a change in the topic searchable within 500 ms (p99).

The heap is the process's anonymous memory (`RssAnon`): mapped files are the page cache's, which gives them back.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, cast

import msgspec
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from api.keys import Scope, create_key
from bench.accounts import threads, used_s
from bench.options import read_options
from drills.report import Figure, finish, print_environment
from drills.searches import query_strings
from drills.stage import Stage
from drills.stock import canonical_stock, fill, produce
from runtime.kafka import admin, producer
from schemas.stone import Stone
from schemas.topics import CANONICAL

GOAL_TOPIC_S: Final = 15
GOAL_SNAPSHOT_S: Final = 2
GOAL_HEAP_MB: Final = 400
GOAL_FRESH_MS: Final = 500
PROBES: Final = 200
CHANGES_PER_S: Final = 1_000
FIRST_QUERIES: Final = 600

_KAFKA: Final = {
    "log.cleaner.backoff.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.cleaner.threads": "1",
}
_CLEANED: Final = {"min.compaction.lag.ms": "0", "min.cleanable.dirty.ratio": "0.2"}
_STARTS: Final = 180


def main() -> None:
    """Fill the topic, start again and again, print the figures."""
    options = read_options(__doc__, stones=1_340_000, reprices=3, seed=11)
    print_environment("confluent-kafka", "numpy", "numba", "msgspec")
    with Stage(kafka_overrides=_KAFKA) as stage:
        key = create_key(stage.dsn, "bench", [Scope.READ_DIAMONDS], "bench")
        # The first start ever compiles; every later one finds what it compiled.
        _start(stage)
        _stop(stage)
        _let_compact(stage)
        sample = _fill(stage, options)
        records = stage.count_canonical()
        _forget_snapshot(stage)
        kafka_s = used_s(stage.pids["kafka"])
        topic_s, topic_cpu_s, peak_mb = _start(stage)
        kafka_s = used_s(stage.pids["kafka"]) - kafka_s
        print(f"start from the topic, s of processor time: {_by_thread(stage.children['api'].pid)}")
        total = stage.get_json("api", "/v1/diamonds/count", {"X-API-Key": key})["total"]
        first_ms = _first_answers(stage, key, options.seed)
        fresh_ms = _freshness(stage, key, sample, options.seed)
        heap_mb = _heap_mb(stage.children["api"].pid)
        _stop(stage)
        snapshot_s, snapshot_cpu_s, _ = _start(stage)
        print(f"start from the snapshot, s of processor time: {_by_thread(stage.children['api'].pid)}")
        again_ms = _first_answers(stage, key, options.seed + 1)
        assert stage.get_json("api", "/v1/diamonds/count", {"X-API-Key": key})["total"] == total
        _stop(stage)
    finish(
        "bench-bootstrap",
        [
            Figure("topic_s", round(topic_s, 2), "s", f"<= {GOAL_TOPIC_S}"),
            Figure("snapshot_s", round(snapshot_s, 2), "s", f"<= {GOAL_SNAPSHOT_S}"),
            Figure("topic_cpu_s", round(topic_cpu_s, 2), "s of processor time"),
            Figure("topic_kafka_cpu_s", round(kafka_s, 2), "s of processor time"),
            Figure("snapshot_cpu_s", round(snapshot_cpu_s, 2), "s of processor time"),
            Figure("heap_mb", round(heap_mb), "MB", f"<= {GOAL_HEAP_MB}"),
            Figure("fresh_p99_ms", round(_p99(fresh_ms), 1), "ms", f"<= {GOAL_FRESH_MS}"),
            Figure("fresh_p50_ms", round(statistics.median(fresh_ms), 1), "ms"),
            Figure("peak_heap_mb", round(peak_mb), "MB"),
            Figure("first_p99_ms_topic", round(_p99(first_ms), 1), "ms"),
            Figure("first_p99_ms_snapshot", round(_p99(again_ms), 1), "ms"),
            Figure("stones", options.stones, "stones"),
            Figure("available", total, "stones"),
            Figure("records", records, "records left by the cleaner"),
            Figure("reprices", options.reprices, "times"),
        ],
    )


def _start(stage: Stage) -> tuple[float, float, float]:
    """Start the API; seconds until it was ready, its processor time, and the most heap it had until then."""
    started = time.monotonic()
    pid = stage.start("api").pid
    peak_mb = 0.0
    url = f"http://127.0.0.1:{stage.ports['api']}/health/ready"
    while True:
        stage.children["api"].check()
        peak_mb = max(peak_mb, _heap_mb(pid))
        try:
            with urllib.request.urlopen(url, timeout=5):
                return time.monotonic() - started, used_s(pid), peak_mb
        except OSError:
            if time.monotonic() - started > _STARTS:
                raise
        time.sleep(0.05)


def _by_thread(pid: int) -> str:
    """What each thread has used."""
    used = sorted(threads("api", pid).items(), key=lambda thread: -thread[1])
    return ", ".join(f"{name.partition('/')[2]} {seconds:.2f}" for name, seconds in used if seconds >= 0.1)


def _stop(stage: Stage) -> None:
    if not stage.children["api"].stop(60):
        raise RuntimeError("the API did not end when told to")


def _forget_snapshot(stage: Stage) -> None:
    for path in stage.folder.glob("api-*/snapshot*/manifest.json"):
        path.unlink()


def _heap_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _let_compact(stage: Stage) -> None:
    """What the cleaner is given an hour for, it may do at once here."""
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in _CLEANED.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, CANONICAL.name, incremental_configs=entries)
    client = admin(stage.kafka)
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)


def _fill(stage: Stage, options: argparse.Namespace) -> list[Stone]:
    """Write the stock and re-price it; a sample of it."""
    began = time.monotonic()
    sample = fill(stage.kafka, canonical_stock(options.stones, options.seed))
    print(f"{options.stones} stones written in {time.monotonic() - began:.0f} s")
    for number in range(1, options.reprices + 1):
        began = time.monotonic()
        stock = canonical_stock(options.stones, options.seed)
        sample = fill(stage.kafka, (_repriced(stone, number) for stone in stock))
        print(f"re-price {number} written in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    size = _wait_cleaned(stage)
    print(f"the cleaner was waited for {time.monotonic() - began:.0f} s; {size >> 20} MiB in the topic")
    return sample


def _repriced(stone: Stone, number: int) -> Stone:
    return msgspec.structs.replace(stone, price_cents=stone.price_cents + number, rules_version=1 + number)


def _wait_cleaned(stage: Stage) -> int:
    """Until the topic's files have stopped shrinking; their bytes."""
    held, since = _topic_bytes(stage), time.monotonic()
    began = since
    while time.monotonic() - since < 12 and time.monotonic() - began < 300:
        time.sleep(1)
        now = _topic_bytes(stage)
        if now != held:
            held, since = now, time.monotonic()
    return held


def _topic_bytes(stage: Stage) -> int:
    total = 0
    for path in stage.folder.glob(f"kafka/**/{CANONICAL.name}-*/*.log"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _first_answers(stage: Stage, key: str, seed: int) -> list[float]:
    """Milliseconds of the first searches after a start."""
    taken = []
    for query in query_strings(FIRST_QUERIES, seed):
        began = time.perf_counter()
        stage.get_json("api", f"/v1/diamonds?{query}", {"X-API-Key": key})
        taken.append(1000 * (time.perf_counter() - began))
    return taken


def _freshness(stage: Stage, key: str, sample: list[Stone], seed: int) -> list[float]:
    """Milliseconds from a change's production until it is searched, while others go on."""
    writer, chance, done = producer(stage.kafka, linger_ms=0), random.Random(seed), Event()
    noise = Thread(target=_change, args=(stage, sample[PROBES:], done))
    noise.start()
    taken = []
    try:
        for number, stone in enumerate(sample[:PROBES]):
            price = 10**9 + number
            began = time.perf_counter()
            produce(writer, msgspec.structs.replace(stone, price_cents=price, availability="available"))
            query = f"/v1/diamonds?id={stone.id}&price_cents_min={price}&limit=1"
            while not cast(Any, stage.get_json("api", query, {"X-API-Key": key}))["total"]:
                if time.perf_counter() - began > 30:
                    raise TimeoutError("a change was not searchable within 30 s")
            taken.append(1000 * (time.perf_counter() - began))
            time.sleep(chance.uniform(0, 0.05))
    finally:
        done.set()
        noise.join()
        writer.flush(10)
    return taken


def _change(stage: Stage, stones: list[Stone], done: Event) -> None:
    writer = producer(stage.kafka)
    for number, stone in enumerate(_again_and_again(stones)):
        if done.is_set():
            break
        produce(writer, msgspec.structs.replace(stone, price_cents=stone.price_cents + number))
        if number % 50 == 49:
            time.sleep(50 / CHANGES_PER_S)
    writer.flush(10)


def _again_and_again(stones: list[Stone]) -> Iterator[Stone]:
    while True:
        yield from stones


def _p99(values: list[float]) -> float:
    return sorted(values)[max(0, -(-99 * len(values) // 100) - 1)]


if __name__ == "__main__":
    main()
