"""Replay: the raw log, already filled, through process, sink and API, everything on this machine.

    make bench-replay            # STONES=200000 ROUNDS=3

Claim: at least 25 000 stones/s from raw to searchable and in Postgres, and at least 8 times what the pipeline of a
tutorial gives (`bench.plain_pipeline`: a Faust event, a Faust send and an upsert a stone), measured in the same round
on the same servers.

The clock starts when the first output record is created and stops when the API has every stone in memory and the sink
has nothing left to write; the stones of the first batch, worked on before the clock started, do not count. Processor
time is what was used while the clock ran.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Any, Final

from confluent_kafka import Message
from confluent_kafka.admin import NewTopic

from bench.accounts import STAGES, Account, Accounts, memory_of, print_account
from bench.options import read_options
from drills.raw_writer import RawWriter
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.vendor_pages import page_bodies
from runtime.kafka import admin, producer
from runtime.tail import Tail
from schemas.feeds import STANDARD
from schemas.topics import CANONICAL
from streams.process import BATCH_PAGES

SEED: Final = 11
PAGE_SIZE: Final = 50
PLAIN_STONES: Final = 6_000
GOAL_STONES_PER_S: Final = 25_000
GOAL_RATIO: Final = 8
_FAR_S: Final = 0.3
_NEAR_S: Final = 0.02


def main() -> None:
    """Run the rounds and print the figures."""
    options = read_options(__doc__, stones=200_000, rounds=3, seed=SEED)
    print_environment("faust-streaming", "confluent-kafka", "asyncpg", "msgspec", "numpy")
    pages = list(page_bodies(options.stones, options.seed))
    print(f"{len(pages)} pages, {sum(len(body) for _, body in pages) / options.stones:.0f} bytes a stone")
    rates, plain_rates = [], []
    for number in range(1, options.rounds + 1):
        with Stage() as stage:
            rates.append(_replay(stage, pages))
            plain_rates.append(_plain(stage, pages))
            print(f"round {number}: {rates[-1]:.0f} stones/s, plain {plain_rates[-1]:.0f} stones/s")
    ratios = [rate / plain for rate, plain in zip(rates, plain_rates, strict=True)]
    finish(
        "bench-replay",
        [
            Figure("stones_per_s", round(statistics.median(rates)), "stones/s", f">= {GOAL_STONES_PER_S}"),
            Figure("ratio_to_plain", round(statistics.median(ratios), 1), "times", f">= {GOAL_RATIO}"),
            Figure("stones_per_s_min", round(min(rates)), "stones/s"),
            Figure("stones_per_s_max", round(max(rates)), "stones/s"),
            Figure("plain_stones_per_s", round(statistics.median(plain_rates)), "stones/s"),
            Figure("stones", options.stones, "stones"),
        ],
    )


def _replay(stage: Stage, pages: list[tuple[str, bytes]]) -> float:
    log = RawWriter(stage.kafka)
    numbers = dict.fromkeys(STANDARD, 0)
    for feed, body in pages:
        log.page(feed, "bench", numbers[feed], body)
        numbers[feed] += 1
    log.flush()
    for name in ("sink", "api"):
        stage.start(name)
    for name in ("sink", "api"):
        stage.wait_ready(name)
    items = sum(body.count(b'"certificate":') for _, body in pages)
    with Accounts(lambda: stage.pids) as accounts:
        stage.start("process")
        processed_at = _reached(stage, "process", "adamas_process_items_total", items)
        stones = int(stage.metric("process", "adamas_process_items_total", outcome="canonical"))
        searchable_at = _reached(stage, "api", "adamas_api_stones", stones)
        stage.wait(lambda: stage.lag("adamas-sink") == 0, 120, "the sink", "sink", every_s=_NEAR_S)
        stored_at = time.time()
    memory = memory_of(stage.pids)
    started_at = _first_record_at(stage)
    used = accounts.between(started_at, max(searchable_at, stored_at))
    _print_usage(used, memory, stones, started_at, processed_at, searchable_at, stored_at)
    for name in ("process", "sink", "api"):
        stage.children[name].stop(30)
    counted = stones - BATCH_PAGES * PAGE_SIZE
    return counted / (max(searchable_at, stored_at) - started_at)


def _reached(stage: Stage, member: str, count: str, goal: int) -> float:
    """When a member's count had reached its goal: asked rarely while it is far, as an answer takes of what is measured."""
    for least, every_s in ((0.97 * goal, _FAR_S), (goal, _NEAR_S)):
        stage.wait(partial(_counts, stage, member, count, least), 120, count, member, every_s=every_s)
    return time.time()


def _counts(stage: Stage, member: str, count: str, least: float) -> bool:
    return stage.metric(member, count) >= least


def _first_record_at(stage: Stage) -> float:
    first: list[int] = []

    def note(messages: list[Message]) -> None:
        first.extend(message.timestamp()[1] for message in messages[:1])

    tail = Tail(stage.kafka, CANONICAL.name, note)
    tail.start()
    tail.wait_caught_up(60)
    tail.stop()
    return min(first) / 1000


def _print_usage(
    used: Account,
    memory: dict[str, float],
    stones: int,
    started_at: float,
    processed_at: float,
    searchable_at: float,
    stored_at: float,
) -> None:
    elapsed_s = max(searchable_at, stored_at) - started_at
    print_account(used, stones, memory)
    busiest = max(STAGES, key=lambda name: used[name])
    total_s = sum(used[name] for name in STAGES)
    print(
        f"  processed after {processed_at - started_at:.1f} s, searchable {searchable_at - started_at:.1f} s, "
        f"in Postgres {stored_at - started_at:.1f} s; {total_s * 1e6 / stones:.1f} us a stone, "
        f"{total_s / elapsed_s:.2f} cores busy; limited by {busiest}"
    )


def _plain(stage: Stage, pages: list[tuple[str, bytes]]) -> float:
    client = admin(stage.kafka)
    topics = [NewTopic(name, 8, 1) for name in ("plain.raw", "plain.priced")]
    for future in client.create_topics(topics).values():
        future.result(30)
    writer = producer(stage.kafka)
    for number, record in enumerate(_records(pages)):
        writer.produce("plain.raw", value=record, partition=number % 8)
        writer.poll(0)
    writer.flush(30)
    done = subprocess.run(
        [sys.executable, "-m", "bench.plain_pipeline"],
        env={
            **os.environ,
            "PLAIN_STONES": str(PLAIN_STONES),
            "PLAIN_KAFKA": stage.kafka.bootstrap,
            "PLAIN_DSN": stage.dsn,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # Faust writes what a program prints as log lines of its own.
    found = re.search(r'\{"stones".*\}', done.stdout + done.stderr)
    if found is None:
        raise RuntimeError(f"the plain pipeline failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    result = json.loads(found.group())
    return float(result["stones"] / result["seconds"])


def _records(pages: list[tuple[str, bytes]]) -> list[bytes]:
    records: list[bytes] = []
    for feed, body in pages:
        reply: Any = json.loads(body)
        items = reply["data"]["diamonds_by_query"]["items"]
        records += [json.dumps({"feed": feed, "item": item}).encode() for item in items]
        if len(records) >= PLAIN_STONES:
            break
    return records[:PLAIN_STONES]


if __name__ == "__main__":
    main()
