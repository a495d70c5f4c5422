"""A range of one partition of the raw log, read once: for replay, shadow, preview and archive."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from confluent_kafka import KafkaError, Message, TopicPartition

from runtime.kafka import consumer, passing
from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Retriable

_WAIT_S: Final = 1.0
_SILENT_WAITS: Final = 30


class Range:
    """Reads the records from `start` up to, not including, `end`. Use it as a context; `next` blocks, so call it in a thread.

    Attributes:
        position: the next offset.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, slot: int, start: int, end: int) -> None:
        self._reader = consumer(kafka, enable_partition_eof=True)
        self._place = TopicPartition(topic, slot, start)
        self._end = end
        self.position = start

    def __enter__(self) -> Self:
        self._reader.assign([self._place])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    def next(self, most: int) -> list[Message]:
        """At most so many records, in order; none at the end of the range.

        Raises:
            Retriable: Kafka gave nothing for half a minute.
            Fatal: it refuses for good.
        """
        for _ in range(_SILENT_WAITS):
            if self.position >= self._end:
                return []
            found = self._take(self._reader.consume(1, _WAIT_S))
            if found:
                found += self._take(self._reader.consume(most - 1, 0)) if most > 1 else []
                return found
        raise Retriable(f"Kafka gave nothing of {self._place.topic} for {_SILENT_WAITS * _WAIT_S:g} s")

    def _take(self, messages: list[Message]) -> list[Message]:
        found = []
        for message in messages:
            offset, error = message.offset() or 0, message.error()
            if error is None:
                self.position = min(offset + 1, self._end)
                if offset < self._end:
                    found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self.position = min(max(self.position, offset), self._end)
            elif not passing(error):
                raise Fatal(f"reading {self._place.topic}: {error.str()}")
        return found
