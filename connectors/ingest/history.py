"""What the raw log says of a feed: the highest lease epoch, and the last run as far as it got.

The log is read backwards from its end, in growing steps, until a plan is found: the facts behind it are the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from runtime.kafka import consumer
from runtime.settings import KafkaSettings
from schemas.errors import Invalid, Retriable
from schemas.facts import FactHeaders, Kind, Plan
from schemas.feeds import FEEDS
from schemas.headers import from_headers
from schemas.topics import RAW

log = structlog.stdlib.get_logger(__name__)

FIRST_STEP: Final = 500
TIMEOUT_S: Final = 15.0


@dataclass(slots=True)
class History:
    """A feed's recent past.

    Attributes:
        highest_epoch: the highest lease epoch seen, 0 when the log is empty.
        plan: the last run's plan; none when there was no run.
        facts: that run's facts behind its plan, in the log's order, without those of writers who had lost the lease.
        complete: whether the run is.
    """

    highest_epoch: int = 0
    plan: Plan | None = None
    facts: list[FactHeaders] = field(default_factory=list)
    complete: bool = False


def read_history(kafka: KafkaSettings, feed: str, raw: str = RAW.name) -> History:
    """Read a feed's partition of the raw log back to its last plan. Blocking.

    Raises:
        Retriable: Kafka does not answer.
    """
    reader = consumer(kafka, fetch_message_max_bytes=16 * 1024 * 1024)
    try:
        return _read(reader, TopicPartition(raw, FEEDS[feed].slot))
    except KafkaException as error:
        raise Retriable(f"Kafka does not answer: {error.args[0].str()}") from error
    finally:
        reader.close()


def _read(reader: Consumer, place: TopicPartition) -> History:
    first, end = reader.get_watermark_offsets(place, timeout=TIMEOUT_S)
    upper, step, newer = end, FIRST_STEP, list[Message]()
    while upper > first:
        lower = max(first, upper - step)
        chunk = list(_between(reader, lower, upper, place))
        newer = chunk + newer
        if any(_kind(message) is Kind.PLAN for message in chunk):
            break
        upper, step = lower, step * 2
    return interpret(newer)


def _between(reader: Consumer, lower: int, upper: int, place: TopicPartition) -> Iterator[Message]:
    reader.assign([TopicPartition(place.topic, place.partition, lower)])
    after = lower
    while after < upper:
        # No more than there is: the client waits until it has as many as it was asked for.
        messages = reader.consume(min(upper - after, 500), timeout=TIMEOUT_S)
        if not messages:
            raise Retriable(f"Kafka stopped answering before offset {upper} of {place.topic}")
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            after = (message.offset() or 0) + 1
            yield _light(message)


def _light(message: Message) -> Message:
    """Without its body, unless the body is ours: thousands of pages must not be kept at once."""
    if _kind(message) in (Kind.PAGE, Kind.EMPTY, Kind.ITEM, None):
        message.set_value(b"")
    return message


def _headers(message: Message) -> FactHeaders | None:
    headers = message.headers()
    pairs = headers.items() if isinstance(headers, dict) else headers
    try:
        return from_headers([(name, _bytes(value)) for name, value in pairs or ()], FactHeaders)
    except Invalid as error:
        log.warning("ingest.unreadable_fact", offset=message.offset(), reason=error.rule)
        return None


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _kind(message: Message) -> Kind | None:
    fact = _headers(message)
    return fact.kind if fact else None


def interpret(messages: list[Message]) -> History:
    """The last run of these records, which are in the log's order and begin at or before its plan."""
    history = History()
    for message in messages:
        fact = _headers(message)
        if fact is None:
            continue
        value = message.value() or b""
        if fact.epoch < history.highest_epoch:
            log.warning("ingest.fact_of_a_lost_lease", offset=message.offset(), epoch=fact.epoch)
            continue
        # A writer's lease fact stands before everything else it writes.
        history.highest_epoch = fact.epoch
        if fact.kind is Kind.PLAN:
            history.plan = msgspec.json.decode(value, type=Plan)
            history.facts, history.complete = [], False
        elif history.plan and fact.run == history.plan.run:
            history.facts.append(fact)
            history.complete = history.complete or fact.kind is Kind.COMPLETE
    return history
