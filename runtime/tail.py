"""Reading a topic without a group, message by message: rule sets, rates, receipts.

The stock is taken by whole batches instead (`connectors.log.tail`); where a reader stands, both tell alike (`Following`).

A tail owns a thread and a consumer that joins no group. It reads the whole topic from the beginning, hands messages
over in batches, and is caught up once it has reached the end offsets that stood when it started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event, Thread
from time import monotonic
from typing import Final

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from runtime.kafka import admin, consumer, passing, topic_id
from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Retriable

log = structlog.stdlib.get_logger(__name__)

Apply = Callable[[list[Message]], None]

_BATCH: Final = 2000
_WAIT_S: Final = 0.25
_FLOW: Final = 100
"""A batch larger than this says that more is on its way: the next one is then waited for, to be worth its overhead."""
_GATHER_S: Final = 0.05
_RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 5.0
"""How often it is asked whether the topic is still the one that is read."""
_ASK_TIMEOUT_S: Final = 10.0


class SameTopic:
    """Knows whether a topic is still the one that it was when its reader began."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._admin: AdminClient | None = None
        self._id: str | None = None
        self._next_look = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return monotonic() >= self._next_look

    def refuse_another(self) -> None:
        """Look; what cannot be looked at while Kafka is away is looked at later.

        Raises:
            Fatal: the topic was created anew.
        """
        self._next_look = monotonic() + _LOOK_EVERY_S
        present = self._ask()
        self._id = self._id or present
        if present is not None and present != self._id:
            raise Fatal(f"{self._topic} was created anew while it was read; start again to read the new one")

    def _ask(self) -> str | None:
        """The topic's id; none while Kafka, or the topic, is away."""
        self._admin = self._admin or admin(self._kafka)
        try:
            return topic_id(self._admin, self._topic)
        except (Retriable, KafkaException) as error:
            log.warning("tail.topic_away", topic=self._topic, error=str(error))
            return None


class Following:
    """Where a reader of a whole topic stands that owns a thread and joins no group.

    Args:
        kafka: where Kafka is.
        topic: the topic's name.
        start: first offset to read by partition; the beginning where none is named.
        run: the thread's work.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, start: Mapping[int, int] | None, run: Callable[[], None]
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._start = start
        self._begins: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._caught_up = Event()
        self._stop = Event()
        self._failure: BaseException | None = None
        self._thread = Thread(target=run, name=f"tail-{topic}", daemon=True)

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def caught_up(self) -> bool:
        """Whether the end offsets taken at start were reached. Never goes back."""
        return self._caught_up.is_set() and self._failure is None

    @property
    def progress(self) -> float:
        """Share of the way to the end offsets taken at start, 0 to 1."""
        if not self._ends:
            return 0.0
        todo = sum(end - self._begins[slot] for slot, end in self._ends.items())
        done = sum(map(self._done, self._ends))
        return 1.0 if todo == 0 else done / todo

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to be applied, by partition."""
        return dict(self._positions)

    @property
    def failure(self) -> BaseException | None:
        """What ended the tail, if something did."""
        return self._failure

    def _begin(self, lows: Mapping[int, int], ends: dict[int, int]) -> None:
        """Begin with these partitions: their first offsets, and the ones behind their last."""
        start = self._start or {}
        # A start below what Kafka still has begins at the oldest kept record, one beyond the end at the end.
        self._begins = {slot: min(max(lows[slot], start.get(slot, 0)), end) for slot, end in ends.items()}
        self._positions = dict(self._begins)
        # Last: by it another thread knows that the rest can be asked for.
        self._ends = ends

    def _done(self, slot: int) -> int:
        """Offsets of a partition that are behind us, of those that stood at the start."""
        return min(self._positions[slot], self._ends[slot]) - self._begins[slot]

    def _note_progress(self) -> None:
        if not self._caught_up.is_set() and all(
            self._positions[slot] >= end for slot, end in self._ends.items()
        ):
            log.info("tail.caught_up", topic=self._topic, records=sum(self._ends.values()))
            self._caught_up.set()


class Tail(Following):
    """Follows every partition of a topic.

    Args:
        kafka: where Kafka is.
        topic: the topic's name; it must exist.
        apply: called in the tail's thread with at least one message, in log order within each partition. What it
            raises ends the tail and is kept in `failure`.
        start: first offset to read by partition; the beginning where none is named.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: str,
        apply: Apply,
        *,
        start: dict[int, int] | None = None,
    ) -> None:
        super().__init__(kafka, topic, start, self._run)
        self._apply = apply

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Block until the tail has caught up; false when time ran out or the tail has failed."""
        return self._caught_up.wait(timeout_s) and self._failure is None

    def _run(self) -> None:
        reader = consumer(self._kafka, enable_partition_eof=True)
        try:
            if self._assign(reader):
                self._follow(reader)
        except Exception as error:
            log.exception("tail.failed", topic=self._topic)
            self._failure = error
            # Whoever waits must not wait for ever; `caught_up` stays false beside a failure.
            self._caught_up.set()
        finally:
            reader.close()

    def _assign(self, reader: Consumer) -> bool:
        while not self._stop.is_set():
            try:
                self._take_offsets(reader)
            except KafkaException as error:
                if not passing(error.args[0]):
                    raise
                log.warning("tail.kafka_away", topic=self._topic, error=str(error.args[0]))
                self._stop.wait(_RETRY_S)
                continue
            start = self._start or {}
            reader.assign(
                [TopicPartition(self._topic, slot, start.get(slot, OFFSET_BEGINNING)) for slot in self._ends]
            )
            self._note_progress()
            return True
        return False

    def _take_offsets(self, reader: Consumer) -> None:
        known = reader.list_topics(self._topic, timeout=_ASK_TIMEOUT_S).topics[self._topic]
        if known.error is not None:
            raise KafkaException(known.error)
        lows, ends = dict[int, int](), dict[int, int]()
        for slot in known.partitions:
            answer = reader.get_watermark_offsets(
                TopicPartition(self._topic, slot), timeout=_ASK_TIMEOUT_S, cached=False
            )
            if answer is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            lows[slot], ends[slot] = answer
        self._begin(lows, ends)

    def _follow(self, reader: Consumer) -> None:
        gather_s, same = 0.0, SameTopic(self._kafka, self._topic)
        while not self._stop.is_set():
            if same.is_due:
                same.refuse_another()
            # The first message is waited for, the rest is what lies ready: `consume` with a time-out would hold
            # back a lone message for all of it.
            batch = reader.consume(1, _WAIT_S)
            if batch:
                batch += reader.consume(_BATCH - 1, gather_s)
                gather_s = _GATHER_S if len(batch) > _FLOW else 0.0
                self._hand_over(batch)

    def _hand_over(self, batch: list[Message]) -> None:
        messages = [message for message in batch if message.error() is None]
        if messages:
            self._apply(messages)
            last = {message.partition(): message.offset() for message in messages}
            self._positions.update({slot: offset + 1 for slot, offset in last.items()})  # type: ignore[operator,misc]
        if len(messages) < len(batch):
            for message in batch:
                self._look_at_error(message)
        self._note_progress()

    def _look_at_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            # Compaction may have taken the last records before the end: this is what tells that it was reached.
            slot, offset = message.partition(), message.offset()
            if slot is not None and offset is not None:
                self._positions[slot] = max(offset, self._positions[slot])
        elif passing(error):
            log.warning("tail.kafka_away", topic=self._topic, error=error.str())
        else:
            raise Fatal(f"reading {self._topic}: {error.str()}")
