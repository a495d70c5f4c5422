"""Where consumer groups stand, and moving them. A group with members is never touched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from runtime.kafka import REQUEST_TIMEOUT_S, admin
from runtime.settings import KafkaSettings
from schemas.errors import Invalid, Retriable

_EMPTY: Final = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
_POLL_S: Final = 0.3


class Groups:
    """Questions to Kafka about groups. Every method raises `Retriable` when it does not answer.

    Methods block for up to seconds: call them in a thread.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        # One client for all questions: one that is let go before its answer came never gives it.
        self._client: AdminClient = admin(kafka)

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The group's next offset by partition; a partition it never committed is missing."""
        request = ConsumerGroupTopicPartitions(group)
        try:
            answer = self._client.list_consumer_group_offsets([request])[group].result(REQUEST_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise Retriable(f"Kafka does not tell where {group} stands: {error}") from error
        return {
            place.partition: place.offset
            for place in answer.topic_partitions
            if place.topic == topic and place.offset >= 0
        }

    def topics(self, group: str) -> list[str]:
        """The topics the group has committed offsets of."""
        request = ConsumerGroupTopicPartitions(group)
        try:
            answer = self._client.list_consumer_group_offsets([request])[group].result(REQUEST_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise Retriable(f"Kafka does not tell where {group} stands: {error}") from error
        return sorted({place.topic for place in answer.topic_partitions if place.offset >= 0})

    def bounds(self, topic: str, slots: list[int]) -> dict[int, tuple[int, int]]:
        """First and end offset of partitions."""
        return {slot: (begin, end) for slot, begin, end in self._bounds(topic, slots)}

    def at_time(self, topic: str, slot: int, at_ms: int) -> int | None:
        """The offset of the first record with this timestamp (ms since 1970) or a later one; null where there is none."""
        spec = OffsetSpec.for_timestamp(at_ms)
        offset = self._offsets(topic, [slot], spec)[slot]
        return None if offset < 0 else offset

    def members(self, group: str) -> int:
        """How many members the group has now."""
        try:
            described = self._client.describe_consumer_groups([group])[group].result(REQUEST_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return 0
            raise Retriable(f"Kafka does not describe {group}: {error}") from error
        except TimeoutError as error:
            raise Retriable(f"Kafka does not describe {group}") from error
        return 0 if described.state in _EMPTY else max(1, len(described.members))

    def wait_empty(self, group: str, timeout_s: float) -> bool:
        """Wait until the group has no members; false when it still has some."""
        deadline = time.monotonic() + timeout_s
        while self.members(group):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def move(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set the group's offsets.

        Raises:
            Invalid: the group has members, who would go on where they are and overwrite it.
        """
        if self.members(group):
            raise Invalid("group", f"{group} has members; they must leave it first", "busy")
        places = [TopicPartition(topic, slot, offset) for slot, offset in offsets.items()]
        try:
            # Kafka itself refuses this for a group with members: one that joined just now is no accident either.
            answer = self._client.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
            answer[group].result(REQUEST_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP):
                raise Invalid("group", f"{group} has members; they must leave it first", "busy") from error
            raise Retriable(f"Kafka did not move {group}: {error}") from error
        except TimeoutError as error:
            raise Retriable(f"Kafka did not move {group}") from error

    def _bounds(self, topic: str, slots: list[int]) -> list[tuple[int, int, int]]:
        earliest = self._offsets(topic, slots, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        latest = self._offsets(topic, slots, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return [(slot, earliest[slot], latest[slot]) for slot in slots]

    def _offsets(self, topic: str, slots: list[int], spec: OffsetSpec) -> dict[int, int]:
        try:
            futures = self._client.list_offsets({TopicPartition(topic, slot): spec for slot in slots})
            return {
                place.partition: future.result(REQUEST_TIMEOUT_S).offset for place, future in futures.items()
            }
        except (KafkaException, TimeoutError) as error:
            raise Retriable(f"Kafka does not tell the offsets of {topic}: {error}") from error
