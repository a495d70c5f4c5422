"""The highest lease epoch that the raw log knows: a database that was restored must not count backwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connectors.runs.projection import to_told
from runtime.kafka import consumer, watermarks
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.feeds import FEEDS
from schemas.topics import MAX_RECORD_BYTES, RAW

LOOK_BACK: Final = 500
"""Records from a partition's end. Every record carries its writer's epoch, and a writer that lost its lease writes no
more than what it had under way."""
TIMEOUT_S: Final = 15.0


def highest_epoch(kafka: KafkaSettings, raw: str = RAW.name) -> int:
    """The highest lease epoch near the end of any feed's partition, 0 in an empty log. Blocking.

    Raises:
        Retriable: Kafka does not answer.
    """
    reader = consumer(kafka, fetch_message_max_bytes=2 * MAX_RECORD_BYTES)
    try:
        slots = {feed.slot for feed in FEEDS.values()}
        return max(_highest(reader, TopicPartition(raw, slot)) for slot in slots)
    except KafkaException as error:
        raise Retriable(f"Kafka does not answer: {error.args[0].str()}") from error
    finally:
        reader.close()


def _highest(reader: Consumer, place: TopicPartition) -> int:
    first, end = watermarks(reader, place, TIMEOUT_S)
    lower = max(first, end - LOOK_BACK)
    told = map(to_told, _between(reader, lower, end, place))
    return max((fact.headers.epoch for fact in told if fact), default=0)


def _between(reader: Consumer, lower: int, upper: int, place: TopicPartition) -> Iterator[Message]:
    reader.assign([TopicPartition(place.topic, place.partition, lower)])
    after = lower
    while after < upper:
        # No more than there is: the client waits until it has as many as it was asked for.
        messages = reader.consume(upper - after, timeout=TIMEOUT_S)
        if not messages:
            raise Retriable(f"Kafka stopped answering before offset {upper} of {place.topic}")
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            after = (message.offset() or 0) + 1
            yield message
