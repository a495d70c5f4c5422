"""Kafka clients with this project's defaults, and the topics as they must exist.

The factories take any librdkafka property as an override, by its own name or with underscores for dots:
`producer(settings, compression_type="zstd")`.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar
from uuid import uuid4

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Retriable
from schemas.topics import MAX_RECORD_BYTES, Topic

log = structlog.stdlib.get_logger(__name__)

DELIVERY_TIMEOUT_MS = 30_000
REQUEST_TIMEOUT_S = 15.0

_CALLBACKS = frozenset(
    {"error_cb", "throttle_cb", "stats_cb", "oauth_cb", "on_delivery", "on_commit", "logger"}
)
_PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "delivery.timeout.ms": DELIVERY_TIMEOUT_MS,
    "message.max.bytes": MAX_RECORD_BYTES,
}
_CONSUMER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": False,
    "session.timeout.ms": 10_000,
}

# The client's own `retriable()` speaks of transactions only: it says no of a leader that is being chosen.
_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
_ASK_AGAIN_S = 0.1

ResultT = TypeVar("ResultT")


class TopicDrift(Fatal):
    """A topic exists otherwise than `schemas.topics` says; the message names topic, key and both values."""


def producer(settings: KafkaSettings, **overrides: Any) -> Producer:
    """An idempotent producer (`acks=all`, lz4). A record undelivered after 30 s fails its report."""
    return Producer(producer_properties(settings, **overrides))


def producer_properties(settings: KafkaSettings, **overrides: Any) -> dict[str, Any]:
    """What `producer` sets, by librdkafka's names."""
    return _properties(settings, _PRODUCER, overrides)


def produce_all(
    settings: KafkaSettings, topic: str, records: Mapping[bytes, bytes], *, timeout_s: float
) -> None:
    """Produce a few records, key to value, and wait until all of them are there.

    Raises:
        Retriable: one is not, or not in time; it may be there all the same.
    """
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    sender = producer(settings)
    try:
        for key, value in records.items():
            sender.produce(topic, value, key, on_delivery=report)
        left = sender.flush(timeout_s)
    except (KafkaException, BufferError) as error:
        raise Retriable(str(error)) from error
    if left or failures:
        raise Retriable(failures[0].str() if failures else "no answer")


def consumer(settings: KafkaSettings, group: str | None = None, **overrides: Any) -> Consumer:
    """A consumer that commits only when told to. Without a group it is for `assign`, never `subscribe`."""
    # librdkafka wants a group id even of a consumer that joins none; nothing is ever committed under this one.
    return Consumer(_properties(settings, {**_CONSUMER, "group.id": group or f"none-{uuid4()}"}, overrides))


def passing(error: KafkaError) -> bool:
    """Whether Kafka is away or busy with itself, so that asking again later is all there is to do."""
    return error.code() in _PASSING or (error.retriable() and not error.fatal())


def watermarks(reader: Consumer, place: TopicPartition, timeout_s: float) -> tuple[int, int]:
    """The first offset of a partition and its end, asked for again as long as Kafka is away or chooses a leader.

    Raises:
        Retriable: there is no answer in `timeout_s`.
        KafkaException: there is no such partition.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        told = "no answer"
        try:
            left_s = max(_ASK_AGAIN_S, deadline - time.monotonic())
            if (answer := reader.get_watermark_offsets(place, timeout=left_s)) is not None:
                return answer
        except KafkaException as error:
            if not passing(error.args[0]):
                raise
            told = error.args[0].str()
        if time.monotonic() > deadline:
            raise Retriable(f"Kafka does not tell the end of {place.topic} {place.partition}: {told}")
        time.sleep(_ASK_AGAIN_S)


def admin(settings: KafkaSettings) -> AdminClient:
    """A client for topics, groups and offsets."""
    # Its background chatter is of no use to anybody; what fails is raised.
    return AdminClient({"bootstrap.servers": settings.bootstrap, "log_level": 3})


def _properties(
    settings: KafkaSettings, defaults: Mapping[str, Any], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    named = {key if key in _CALLBACKS else key.replace("_", "."): value for key, value in overrides.items()}
    own = {"bootstrap.servers": settings.bootstrap, "logger": logging.getLogger("librdkafka")}
    return {**own, **defaults, **named}


def ensure_topics(settings: KafkaSettings, topics: Iterable[Topic]) -> None:
    """Create the topics that are missing and compare the others with what they must be.

    Raises:
        TopicDrift: a topic has another number of partitions or another value of a setting.
        Retriable: Kafka does not answer.
    """
    client, wanted = admin(settings), list(topics)
    existing = _partitions(client)
    created = [topic for topic in wanted if topic.name not in existing]
    _create(client, created)
    existing = _await_leaders(client, wanted)
    drifts = [*_partition_drifts(wanted, existing), *_config_drifts(client, wanted)]
    if drifts:
        raise TopicDrift("; ".join(drifts))
    log.info("kafka.topics_ensured", created=[topic.name for topic in created], topics=len(wanted))


def topic_id(client: AdminClient, name: str) -> str:
    """The id Kafka gave the topic when it was created; a re-created topic has another one.

    Raises:
        KafkaException: there is no such topic.
        Retriable: Kafka does not answer.
    """
    futures = _answered(
        lambda: client.describe_topics(TopicCollection([name]), request_timeout=REQUEST_TIMEOUT_S)
    )
    return str(_result(futures[name]).topic_id)


def _partitions(client: AdminClient) -> dict[str, int]:
    """The number of partitions of each topic all of whose partitions have a leader."""
    metadata = _answered(lambda: client.list_topics(timeout=REQUEST_TIMEOUT_S))
    return {
        name: len(topic.partitions)
        for name, topic in metadata.topics.items()
        if all(partition.leader >= 0 for partition in topic.partitions.values())
    }


def _await_leaders(client: AdminClient, topics: list[Topic]) -> dict[str, int]:
    """A topic just created is unknown to clients for some milliseconds, and then without leaders for some more."""
    deadline = time.monotonic() + REQUEST_TIMEOUT_S
    while waiting := [topic.name for topic in topics if topic.name not in (existing := _partitions(client))]:
        if time.monotonic() > deadline:
            raise Retriable(f"no leader for all partitions of {', '.join(waiting)}")
        time.sleep(0.02)
    return existing


def _create(client: AdminClient, topics: list[Topic]) -> None:
    if not topics:
        return
    # -1 leaves replication to the broker's default: one on a laptop, three in a cluster.
    new = [NewTopic(t.name, t.partitions, replication_factor=-1, config=dict(t.config)) for t in topics]
    for future in client.create_topics(new, request_timeout=REQUEST_TIMEOUT_S).values():
        try:
            _result(future)
        except KafkaException as error:
            # Two processes may start at once; whoever is second finds the topic there.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _partition_drifts(topics: list[Topic], existing: Mapping[str, int]) -> list[str]:
    return [
        f"topic {t.name} has {existing[t.name]} partitions, must have {t.partitions}: a feed's slot is its partition,"
        " so their number never changes; make a new topic and replay into it"
        for t in topics
        if existing[t.name] != t.partitions
    ]


def _config_drifts(client: AdminClient, topics: list[Topic]) -> list[str]:
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    futures = client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
    found = {resource.name: _result(future) for resource, future in futures.items()}
    return [
        f"topic {topic.name}: {key} is {found[topic.name][key].value}, must be {value}"
        for topic in topics
        for key, value in topic.config.items()
        if found[topic.name][key].value != value
    ]


def _result(future: "Future[ResultT]") -> ResultT:
    return _answered(lambda: future.result(timeout=2 * REQUEST_TIMEOUT_S))


def _answered(ask: Callable[[], ResultT]) -> ResultT:
    try:
        return ask()
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if passing(cause):
            raise Retriable(f"Kafka does not answer: {cause.str()}") from error
        raise
    except TimeoutError as error:
        raise Retriable("Kafka does not answer") from error
