"""Asks Kafka where every group stands. Blocking; one instance, one thread at a time."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from monitor.lag import Group, Look, PartitionLag, Place
from runtime.kafka import admin, consumer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.standing import reported_ms
from schemas.topics import TOPICS, mark_group

TIMEOUT_S: Final = 5.0
READ_S: Final = 2.0
"""How long the records at the committed offsets are waited for; a lag whose record did not come has no seconds yet."""

_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]

OURS: Final = tuple(topic.name for topic in TOPICS)

T = TypeVar("T")


class Positions:
    """Where every group of a cluster stands.

    Args:
        kafka: where Kafka is.
        topics: whose ends are told also when nobody reads them.
    """

    def __init__(self, kafka: KafkaSettings, topics: Collection[str] = OURS) -> None:
        self._client = admin(kafka)
        self._topics = topics
        # Only the one record at an offset is wanted, so nothing more is fetched ahead than must be.
        self._reader: Consumer = consumer(kafka, fetch_message_max_bytes=64 * 1024, queued_min_messages=1)
        self._stamps: dict[tuple[Place, int], int] = {}

    def look(self, only: Collection[str] | None = None) -> Look:
        """Every group that has committed or has members, or those named.

        Raises:
            Retriable: Kafka does not answer.
        """
        try:
            return self._look(only)
        except (KafkaException, TimeoutError) as error:
            raise Retriable(f"Kafka does not answer: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()

    def _look(self, only: Collection[str] | None) -> Look:
        names = only if only is not None else self._names()
        members = self._members(names)
        # Committed offsets first, ends after: so no lag is ever negative.
        committed = {name: self._committed(name) for name in names}
        places = {name: {**dict.fromkeys(members[name][1]), **committed[name][0]} for name in names}
        wanted = {place for of_group in places.values() for place in of_group} | self._ours()
        ends = self._offsets(wanted, _LATEST)
        begins = self._offsets([place for place in wanted if ends.get(place)], _EARLIEST)
        behind = {
            (place, max(offset, begins.get(place, 0)))
            for of_group in places.values()
            for place, offset in of_group.items()
            if offset is not None and offset < ends.get(place, 0)
        }
        self._read_stamps(behind)
        groups = {
            name: Group(
                name,
                members[name][0],
                {
                    place: PartitionLag(
                        offset,
                        begins.get(place, 0),
                        ends[place],
                        None
                        if offset is None
                        else self._stamps.get((place, max(offset, begins.get(place, 0)))),
                    )
                    for place, offset in of_group.items()
                    if place in ends
                },
                committed[name][1],
            )
            for name, of_group in places.items()
            if of_group
        }
        return Look(int(time.time() * 1000), groups, ends)

    def _names(self) -> list[str]:
        return [
            group.group_id
            for group in _result(self._client.list_consumer_groups(request_timeout=TIMEOUT_S)).valid
            if group.group_id != mark_group()
        ]

    def _members(self, names: Collection[str]) -> dict[str, tuple[int, set[Place]]]:
        if not names:
            return {}
        futures = self._client.describe_consumer_groups(list(names), request_timeout=TIMEOUT_S)
        described = {name: _result(future) for name, future in futures.items()}
        return {
            name: (
                len(group.members),
                {
                    Place(place.topic, place.partition)
                    for member in group.members
                    for place in (member.assignment.topic_partitions if member.assignment else ())
                },
            )
            for name, group in described.items()
        }

    def _committed(self, name: str) -> tuple[dict[Place, int | None], int | None]:
        """Committed offsets, and when a reader without members last told them."""
        asked = [ConsumerGroupTopicPartitions(name)]
        answer = _result(self._client.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_S)[name])
        found = answer.topic_partitions or []
        offsets: dict[Place, int | None] = {
            Place(place.topic, place.partition): place.offset for place in found if place.offset >= 0
        }
        reports = [told for place in found if (told := reported_ms(place.metadata)) is not None]
        return offsets, max(reports, default=None)

    def _ours(self) -> set[Place]:
        known = self._client.list_topics(timeout=TIMEOUT_S).topics
        return {
            Place(name, slot) for name in self._topics if name in known for slot in known[name].partitions
        }

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = {TopicPartition(place.topic, place.partition): spec for place in places}
        if not asked:
            return {}
        futures = self._client.list_offsets(asked, request_timeout=TIMEOUT_S)
        found = {}
        for place, future in futures.items():
            try:
                found[Place(place.topic, place.partition)] = _result(future).offset
            except KafkaException:
                # A topic that a group once read and that is gone: there is nothing to be behind of.
                continue
        return found

    def _read_stamps(self, wanted: set[tuple[Place, int]]) -> None:
        """Timestamps of the first records at or behind these offsets; those known already cost nothing."""
        self._stamps = {key: stamp for key, stamp in self._stamps.items() if key in wanted}
        missing = {key for key in wanted if key not in self._stamps}
        if not missing:
            return
        # Two groups may be behind at two offsets of one partition, and a consumer reads a partition at one place.
        rounds: list[dict[Place, int]] = []
        for place, offset in sorted(missing):
            target = next((one for one in rounds if place not in one), None)
            if target is None:
                rounds.append(target := {})
            target[place] = offset
        deadline = time.monotonic() + READ_S
        for one in rounds:
            self._read_round(one, deadline)

    def _read_round(self, offsets: dict[Place, int], deadline: float) -> None:
        self._reader.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        left = set(offsets)
        while left and time.monotonic() < deadline:
            for message in self._reader.consume(len(left), 0.1):
                place = Place(message.topic() or "", message.partition() or 0)
                if message.error() is None and place in left:
                    left.discard(place)
                    self._stamps[place, offsets[place]] = message.timestamp()[1]
                    self._reader.incremental_unassign([TopicPartition(*place)])
        self._reader.unassign()


def _result(future: Future[T]) -> Any:
    return future.result(timeout=2 * TIMEOUT_S)
