"""Where a worker begins: at the group's place, or, with a canonical topic made anew, at the beginning of the raw log.

Which canonical topic the group has written to stands in Kafka, beside the group's offsets: a group of its own has
committed the topic's id. A topic made anew has another id, and Kafka forgets the commits of a deleted one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.kafka import admin, consumer, topic_id, watermarks
from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Retriable
from schemas.topics import mark_group

log = structlog.stdlib.get_logger(__name__)

TIMEOUT_S: Final = 15.0
PATIENCE_S: Final = 120.0
"""How long members of the group that still read for the former topic may take to leave."""


def settle_beginning(
    kafka: KafkaSettings, group: str, raw: str, canonical: str, slots: Iterable[int]
) -> bool:
    """Set the group back to the beginning of the raw log where the canonical topic is not the one it wrote to. Blocking.

    Returns:
        Whether it was set back.

    Raises:
        Retriable: Kafka does not answer.
        Fatal: other members of the group do not leave.
    """
    present = topic_id(admin(kafka), canonical)
    mark = TopicPartition(canonical, 0, 0, metadata=present)
    try:
        keeper = consumer(kafka, mark_group(group))
        try:
            known = keeper.committed([TopicPartition(canonical, 0)], timeout=TIMEOUT_S)[0]
            if known.metadata == present:
                return False
            moved = _set_back(kafka, group, [TopicPartition(raw, slot) for slot in slots])
            keeper.commit(offsets=[mark], asynchronous=False)
        finally:
            keeper.close()
    except KafkaException as error:
        raise Retriable(f"Kafka does not answer: {error.args[0].str()}") from error
    if moved:
        log.warning(
            "process.canonical_is_new", topic_id=present, action_taken="reads the raw log from its beginning"
        )
    return moved


def _set_back(kafka: KafkaSettings, group: str, places: list[TopicPartition]) -> bool:
    reader = consumer(kafka, group)
    try:
        committed = reader.committed(places, timeout=TIMEOUT_S)
        back = [
            TopicPartition(place.topic, place.partition, watermarks(reader, place, TIMEOUT_S)[0])
            for place in committed
            if place.offset > 0
        ]
        if back:
            _commit(reader, back)
        return bool(back)
    finally:
        reader.close()


def _commit(reader: Consumer, places: list[TopicPartition]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            reader.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            # Kafka refuses while the group has members: they will notice the new topic too, and leave.
            if time.monotonic() > deadline:
                raise Fatal(f"the group could not be set back: {error.args[0].str()}") from error
            time.sleep(1)
        else:
            return
