"""What the consumer group has given to this worker, and how far it has got with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from confluent_kafka import TopicPartition

from runtime.kafka import consumer, watermarks
from runtime.settings import KafkaSettings
from schemas.feeds import feeds_of
from streams.delivery import TopicNames

_ASK_TIMEOUT_S: Final = 10.0


class Membership:
    """One worker's place in the group.

    Args:
        kafka: where Kafka is.
        group: the group's name.
        topics: the topics' names.

    Attributes:
        app: the Faust app while this worker is a member, else null.
    """

    def __init__(self, kafka: KafkaSettings, group: str, topics: TopicNames) -> None:
        self.app: Any = None
        self._kafka = kafka
        self._group = group
        self._topics = topics
        self._next_offsets: dict[int, int] = {}

    def slots(self) -> set[int]:
        """The partitions of the raw log that are this worker's."""
        assigned = self.app.consumer.assignment() if self.app is not None else ()
        return {place.partition for place in assigned if place.topic == self._topics.raw}

    def feeds(self) -> list[str]:
        """The feeds in them."""
        return [feed for slot in self.slots() for feed in feeds_of(slot)]

    def took(self, slot: int, offset: int) -> None:
        """A raw record was taken."""
        self._next_offsets[slot] = offset + 1

    def lag(self, slot: int) -> int:
        """Raw records of a slot that wait."""
        end = next(
            (
                self.app.consumer.highwater(place)
                for place in self.app.consumer.assignment()
                if place.topic == self._topics.raw and place.partition == slot
            ),
            None,
        )
        return max(0, (end or 0) - self._next_offsets.get(slot, 0))

    def begin_anew(self, slots: Iterable[int]) -> dict[int, int]:
        """After an assignment: go on from the group's committed offsets; the end offsets of canonical, by partition.

        Raises:
            Retriable: Kafka does not tell one of the ends. Without it nobody may decide.
        """
        asker, slots = consumer(self._kafka, self._group), list(slots)
        try:
            ends = {
                slot: watermarks(asker, TopicPartition(self._topics.canonical, slot), _ASK_TIMEOUT_S)[1]
                for slot in slots
            }
            places = [TopicPartition(self._topics.raw, slot) for slot in slots]
            committed = asker.committed(places, timeout=_ASK_TIMEOUT_S)
        finally:
            asker.close()
        self._next_offsets = {place.partition: max(0, place.offset) for place in committed}
        return ends
