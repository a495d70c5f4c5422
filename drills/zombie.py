"""A worker is paused in mid-batch for longer than the session time-out, another takes over, the first wakes up.

    make drill-zombie SEED=7

The woken worker's records in flight carry older facts at later offsets, which compaction would keep. The owner must
have appended the newer ones again: two fresh readers, Postgres and the compacted topic, after the cleaner has passed,
must agree with an undisturbed run on every stone. A run in which no woken worker wrote anything late proves nothing
and does not count as met (`late_records`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from typing import Final

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from drills.outcome import last_values, late_records, outcome
from drills.process_kill import ITEMS, Flow, caught_up_after_s, compare
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import undisturbed, wait_idle
from runtime.kafka import admin
from schemas.topics import CANONICAL

STONES: Final = 2_000
PAGES_PER_S: Final = 120
PAUSES: Final = 4
PAUSE_S: Final = 20
TAKEOVER_GOAL_S: Final = 45
EAGER_CLEANER: Final = {"log.cleaner.backoff.ms": "200"}
EAGER_TOPIC: Final = {
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "1000",
    "segment.bytes": str(1 << 20),
}


def compact_now(stage: Stage) -> int:
    """Let the cleaner pass over everything written so far; the records it left.

    The cleaner never touches the segment that is being written, so every partition is given one more record.
    """
    client = admin(stage.kafka)
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        for name, value in EAGER_TOPIC.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, CANONICAL.name, incremental_configs=entries)
    for future in client.incremental_alter_configs([resource]).values():
        future.result(30)
    stage.roll_canonical()
    previous = -1
    quiet = 0
    while quiet < 5:
        time.sleep(1)
        records = stage.count_canonical()
        quiet = quiet + 1 if records == previous else 0
        previous = records
    return previous


def pause_one(stage: Stage, flow: Flow, names: list[str], draw: random.Random) -> float:
    """Stop a busy worker for longer than the session time-out and wake it; seconds until the other caught up."""
    victim = draw.choice(names)
    stage.wait(lambda: stage.metric(victim, ITEMS) > 0, 60, f"{victim} to own a feed", victim)
    process = stage.children[victim].process
    with flow.hurrying():
        time.sleep(draw.uniform(1.0, 3.0))
        process.send_signal(signal.SIGSTOP)
    took_s = caught_up_after_s(stage)
    time.sleep(max(0.0, PAUSE_S - took_s))
    process.send_signal(signal.SIGCONT)
    print(f"paused {victim} for {max(PAUSE_S, took_s):.0f} s: the other caught up after {took_s:.1f} s")
    time.sleep(5)
    if stage.children[victim].exit_code is not None:
        print(f"{victim} {stage.children[victim].ending()}; started again")
        stage.start(victim)
    stage.wait_ready(victim)
    return took_s


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    draw = random.Random(parser.parse_args().seed)
    print_environment("faust-streaming", "confluent-kafka")
    with Stage(process=2, kafka_overrides=EAGER_CLEANER) as stage:
        traffic = Traffic(stage.kafka, STONES, seed=draw.randrange(1 << 30), moved=0.5)
        for name in ("sink", "process", "process-2"):
            stage.start(name)
        stage.wait_ready("process")
        stage.wait_ready("process-2")
        with Flow(traffic, PAGES_PER_S) as flow:
            takeovers = [pause_one(stage, flow, ["process", "process-2"], draw) for _ in range(PAUSES)]
        wait_idle(stage, traffic.log.written)
        stage.wait_settled()
        before = last_values(stage.kafka)
        late = late_records(stage.kafka)
        written, left = stage.count_canonical(), compact_now(stage)
        print(f"the cleaner left {left} of {written} records")
        found = asyncio.run(outcome(stage.kafka, stage.dsn))
        expected = undisturbed(stage.kafka)
    differences = compare(found, expected)
    disagree = sum(before.get(stone) != value for stone, value in found.stones.items())
    finish(
        "drill-zombie",
        [
            Figure("kills", len(takeovers), "pauses", f"== {PAUSES}"),
            Figure("lost", differences["lost"], "stones", "== 0"),
            Figure("doubled", differences["doubled"], "rows", "== 0"),
            Figure("wrong", differences["wrong"] + disagree, "stones", "== 0"),
            Figure("takeover_s", round(max(takeovers), 2), "s", f"<= {TAKEOVER_GOAL_S}"),
            Figure("late_records", late, "records", ">= 1"),
            Figure("cleaned", written - left, "records", ">= 1"),
            Figure("stones", len(expected.stones), "stones"),
        ],
    )


if __name__ == "__main__":
    main()
