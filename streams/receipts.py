"""Which raw records have a receipt in the log already: a receipt for one of them again is a replay's."""

from __future__ import annotations

from typing import Final

import msgspec
from confluent_kafka import Message, TopicPartition

from runtime.kafka import consumer, watermarks
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.topics import RECEIPTS

_ASK_TIMEOUT_S: Final = 10.0


class _Place(msgspec.Struct):
    raw_offset: int


_decode: Final = msgspec.json.Decoder(_Place).decode


class Receipted:
    """The highest raw offset with a receipt, by partition. Receipts are written in the order of the raw log."""

    def __init__(self, kafka: KafkaSettings, topic: str = RECEIPTS.name) -> None:
        self._highest: dict[int, int] = {}
        self.tail = Tail(kafka, topic, self._apply, start=_last_offsets(kafka, topic))

    def __call__(self, partition: int, offset: int) -> bool:
        """Whether the raw record at this place had its receipt before."""
        return offset <= self._highest.get(partition, -1)

    def _apply(self, messages: list[Message]) -> None:
        for message in messages:
            value, slot = message.value(), message.partition()
            if value is not None and slot is not None:
                self._highest[slot] = max(self._highest.get(slot, -1), _decode(value).raw_offset)


def _last_offsets(kafka: KafkaSettings, topic: str) -> dict[int, int]:
    reader = consumer(kafka)
    try:
        slots = reader.list_topics(topic, timeout=_ASK_TIMEOUT_S).topics[topic].partitions
        ends = {slot: watermarks(reader, TopicPartition(topic, slot), _ASK_TIMEOUT_S)[1] for slot in slots}
    finally:
        reader.close()
    return {slot: max(0, end - 1) for slot, end in ends.items()}
