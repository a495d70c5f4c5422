"""Appending an operator's facts to the raw log, and waiting until the owners have made of them what they make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

from confluent_kafka import KafkaError, KafkaException, Message

from operating.groups import Groups
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.facts import FactHeaders, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.topics import CANONICAL, PROCESS_GROUP, RAW, SINK_GROUP

Place = tuple[int, int]
"""Partition and offset."""

_FLUSH_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5
_GIVE_UP_AFTER_S: Final = 600.0


def append(
    kafka: KafkaSettings, facts: Sequence[tuple[FactHeaders, bytes]], topic: str = RAW.name
) -> list[Place]:
    """Append facts, each to its feed's partition; where they stand, in order. Blocks until Kafka has them all.

    Raises:
        Retriable: Kafka did not take all of them; some may be there all the same.
    """
    places: dict[int, Place] = {}
    failures: list[KafkaError] = []
    sender = producer(kafka, compression_type="zstd")

    def report_of(number: int) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error)
            else:
                places[number] = (message.partition() or 0, message.offset() or 0)

        return report

    try:
        for number, (headers, value) in enumerate(facts):
            sender.produce(
                topic,
                value,
                fact_key(headers.feed, None, None),
                FEEDS[headers.feed].slot,
                report_of(number),
                headers=cast(list[tuple[str, str | bytes | None]], to_headers(headers)),
            )
            sender.poll(0)
        left = sender.flush(_FLUSH_S)
    except (KafkaException, BufferError) as error:
        raise Retriable(f"Kafka did not take the facts: {error}") from error
    if left or failures:
        raise Retriable(f"Kafka did not take all facts: {failures[0].str() if failures else 'no answer'}")
    return [places[number] for number in range(len(facts))]


async def wait_processed(groups: Groups, places: Iterable[Place], alive: Callable[[], None]) -> None:
    """Wait until the owners have acknowledged these places of the raw log; `alive` is called meanwhile.

    Raises:
        Retriable: they have not in ten minutes.
    """
    await _wait(groups, PROCESS_GROUP, RAW.name, _ends(places), alive)


async def wait_stored(groups: Groups, slot: int, alive: Callable[[], None]) -> None:
    """Wait until what the canonical partition holds now is in Postgres. Raises as `wait_processed` does."""
    end = (await asyncio.to_thread(groups.bounds, CANONICAL.name, [slot]))[slot][1]
    await _wait(groups, SINK_GROUP, CANONICAL.name, {slot: end}, alive)


def _ends(places: Iterable[Place]) -> dict[int, int]:
    ends: dict[int, int] = {}
    for slot, offset in places:
        ends[slot] = max(ends.get(slot, 0), offset + 1)
    return ends


async def _wait(
    groups: Groups, group: str, topic: str, ends: dict[int, int], alive: Callable[[], None]
) -> None:
    deadline = time.monotonic() + _GIVE_UP_AFTER_S
    while True:
        committed = await asyncio.to_thread(groups.committed, group, topic)
        if all(committed.get(slot, 0) >= end for slot, end in ends.items()):
            return
        if time.monotonic() > deadline:
            raise Retriable(f"{group} has not come to {ends} of {topic} in {_GIVE_UP_AFTER_S:g} s")
        alive()
        await asyncio.sleep(_LOOK_EVERY_S)
