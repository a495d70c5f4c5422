"""The same facts through one worker that nobody disturbs: what the disturbed run is compared with."""

from __future__ import annotations

import asyncio

from confluent_kafka import Message

from drills.outcome import Outcome, outcome
from drills.stage import Stage
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.topics import RAW


def copy_raw(source: KafkaSettings, target: KafkaSettings) -> int:
    """Copy the raw log record by record, partition by partition; the number copied."""
    writer = producer(target, compression_type="zstd")
    copied = 0

    def write(messages: list[Message]) -> None:
        nonlocal copied
        for message in messages:
            writer.produce(
                RAW.name,
                key=message.key(),
                value=message.value(),
                headers=message.headers() or [],
                partition=message.partition() or 0,
            )
            copied += 1
        writer.flush(30)

    tail = Tail(source, RAW.name, write)
    tail.start()
    if not tail.wait_caught_up(120):
        raise TimeoutError("the raw log was not read in 120 s") from tail.failure
    tail.stop()
    return copied


def undisturbed(source: KafkaSettings) -> Outcome:
    """Run the source's raw log through a stage of its own and collect what comes out."""
    with Stage() as stage:
        copied = copy_raw(source, stage.kafka)
        stage.start("sink")
        stage.start("process")
        wait_idle(stage, copied)
        return asyncio.run(outcome(stage.kafka, stage.dsn))


def wait_idle(stage: Stage, facts: int, timeout_s: float = 180) -> None:
    """Block until the workers' group has acknowledged every fact and the sink every stone."""
    stage.wait(lambda: stage.lag("adamas-process") == 0, timeout_s, f"{facts} facts to be processed")
    stage.wait(lambda: stage.lag("adamas-sink") == 0, timeout_s, "the sink to catch up")
