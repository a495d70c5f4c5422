"""`adamas sink`: `diamonds.canonical` to Postgres.

Two threads: this one reads and folds, `Writer` writes. A partition starts where Postgres says it was written to, not
where Kafka was told: a database restored from yesterday's backup thus catches up by itself. Offsets committed in
Kafka follow each transaction and are there for the tools that show lag.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from time import monotonic
from typing import Final, TypeVar
from uuid import UUID

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from connectors.postgres.fold import fold
from connectors.postgres.patience import Stopped, patiently
from connectors.postgres.pauses import PauseThread
from connectors.postgres.progress import LAG, Partition, Progress
from connectors.postgres.rows import compile_ahead
from connectors.postgres.store import Standing, Store
from connectors.postgres.writer import Writer
from connectors.runs.receipts import ReceiptKeeper
from runtime import tracing
from runtime.health import Aspect, Health, serve_health
from runtime.heap import keep_for_the_next_batch, spare_the_collector
from runtime.kafka import admin, consumer, passing, producer, topic_id, watermarks
from runtime.settings import KafkaSettings, Settings
from runtime.shutdown import Shutdown
from runtime.telemetry import instrument_clients
from schemas.errors import Fatal, Retriable
from schemas.feeds import feeds_of
from schemas.topics import CANONICAL, SINK_GROUP

log = structlog.stdlib.get_logger(__name__)

GROUP: Final = SINK_GROUP

ResultT = TypeVar("ResultT")

_BATCH: Final = 5000
_FILL_S: Final = 0.05
_FLOW: Final = 100
"""A batch larger than this says that more is on its way: the next one is then given longer, to be worth its transaction."""
_FLOW_FILL_S: Final = 0.3
_PACED_FILL_S: Final = 0.1
"""Less where there is work in it that owners pace by what is committed."""
_BUSY_FILL_S: Final = 1.0
"""While another one waits for the writer, a batch is given this long: handed over it would only wait as well."""
_LOOK_S: Final = 0.02
"""So long what was written waits at most to be committed; by that owners pace their background work."""
_PAUSED_S: Final = 0.5
_ASK_TIMEOUT_S: Final = 10.0
_REPORT_EVERY_S: Final = 10.0


def run(settings: Settings) -> None:
    """Write canonical stones to Postgres until SIGTERM or SIGINT.

    Raises:
        Fatal: the canonical topic was re-created while it was read, or Kafka refuses us for good.
    """
    keep_for_the_next_batch()
    compile_ahead()
    spare_the_collector()
    instrument_clients(postgres=True)
    progress, health = Progress(), Health()
    health.add("sink", progress.check_startup, on=[Aspect.STARTUP])
    health.add("sink", progress.check_live, on=[Aspect.LIVE])
    health.add("sink", progress.check_ready, on=[Aspect.READY])
    with Shutdown() as shutdown, serve_health(settings.health, health):
        receipts = ReceiptKeeper(settings.kafka, settings.postgres.dsn.get_secret_value(), shutdown)
        receipts.start()
        shutdown.on_close(receipts.join)
        try:
            Sink(settings, progress, shutdown).run()
        except Stopped:
            log.info("sink.stopped_waiting")


class Sink:
    """The reading side. `run` returns when a stop was requested and what was read is written.

    Args:
        settings: where Kafka and Postgres are.
        progress: told where the sink stands.
        shutdown: when to stop.
        topic: what to read; its records are the canonical topic's.
        group: the consumer group.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Progress,
        shutdown: Shutdown,
        topic: str = CANONICAL.name,
        group: str = GROUP,
    ) -> None:
        self._topic = topic
        self._group = group
        self._kafka = settings.kafka
        self._dsn = settings.postgres.dsn.get_secret_value()
        self._progress = progress
        self._shutdown = shutdown
        self._topic_id = self._patiently(lambda: topic_uuid(self._kafka, topic))
        self._reader = consumer(self._kafka, group, enable_partition_eof=True)
        self._fill_s = _FILL_S
        self._heard: dict[int, int] = {}
        self._uncommitted: dict[int, int] = {}
        self._lock = Lock()
        self._next_look = monotonic() + _REPORT_EVERY_S

    def run(self) -> None:
        """Read, fold and hand over until a stop is requested."""
        writer = Writer(
            Store(self._dsn, self._topic_id),
            producer(self._kafka),
            self._note_written,
            self._progress,
            self._shutdown,
        )
        writer.start()
        try:
            with PauseThread(self._dsn, "adamas-sink") as pauses:
                while not self._shutdown.requested:
                    if reason := pauses.reason(self._group):
                        self._progress.waits("pause", reason)
                        self._shutdown.wait(_PAUSED_S)
                    else:
                        self._progress.waits("pause", None)
                        self._be_a_member(writer, lambda: pauses.reason(self._group) is not None)
        finally:
            writer.finish()
            self._commit(wait=True)
            self._reader.close()

    def _be_a_member(self, writer: Writer, must_leave: Callable[[], bool]) -> None:
        """Read until a stop is requested or an operator wants the group to be empty."""
        self._reader.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        while not (self._shutdown.requested or must_leave()):
            self._read_once(writer)
        if not self._shutdown.requested:
            writer.drain()
            self._commit(wait=True)
            self._reader.unsubscribe()

    def _read_once(self, writer: Writer) -> None:
        # The first message is waited for, then the batch has a moment to fill.
        read = self._reader.consume(1, _FILL_S if writer.idle else _LOOK_S)
        if read:
            self._fill(read, writer)
        messages = [message for message in read if message.error() is None]
        batch = fold(messages)
        self._fill_s = _FILL_S if len(read) <= _FLOW else _PACED_FILL_S if batch.background else _FLOW_FILL_S
        batch.traces = tracing.traceparents(message.headers() for message in messages)
        for message in read:
            if message.error() is not None:
                self._look_at_error(message, batch.next_offsets)
        if any(offset > self._heard.get(slot, -1) for slot, offset in batch.next_offsets.items()):
            self._heard.update(batch.next_offsets)
            writer.put(batch)
        self._look_around()

    def _fill(self, batch: list[Message], writer: Writer) -> None:
        begun = monotonic()
        while len(batch) < _BATCH:
            if monotonic() - begun >= (_BUSY_FILL_S if writer.waited_for else self._fill_s):
                return
            batch += self._reader.consume(_BATCH - len(batch), _LOOK_S)
            self._commit()

    def _look_at_error(self, message: Message, next_offsets: dict[int, int]) -> None:
        error = message.error()
        slot, offset = message.partition(), message.offset()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF and slot is not None and offset is not None:
            # Compaction may have taken the last records before the end: this is what tells that it was reached.
            next_offsets[slot] = max(offset, next_offsets.get(slot, 0))
        elif passing(error) or error.code() == KafkaError._MAX_POLL_EXCEEDED:
            log.warning("sink.kafka_away", error=error.str())
        else:
            raise Fatal(f"reading {self._topic}: {error.str()}")

    def _look_around(self) -> None:
        self._commit()
        for slot in list(self._heard):
            _, end = self._reader.get_watermark_offsets(TopicPartition(self._topic, slot), cached=True)
            self._progress.heard_end(slot, end)
        LAG.set(self._progress.lag)
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + _REPORT_EVERY_S
            self._refuse_another_topic()
            log.info("sink.stands", lag=self._progress.lag, caught_up=self._progress.caught_up)

    def _refuse_another_topic(self) -> None:
        try:
            present = topic_uuid(self._kafka, self._topic)
        except Retriable as error:
            log.warning("sink.kafka_away", error=str(error))
            return
        if present != self._topic_id:
            raise Fatal(
                f"{CANONICAL.name} was created anew while it was read; start again to read the new one"
            )

    def _on_assign(self, reader: Consumer, partitions: list[TopicPartition]) -> None:
        ends = self._patiently(lambda: _ends(reader, partitions))
        known = self._patiently(lambda: asyncio.run(_standings(self._dsn, self._topic_id)))
        standings = {slot: standing for slot, standing in known.items() if slot in ends}
        for slot in [slot for slot, standing in standings.items() if standing.next_offset > ends[slot][1]]:
            log.error("sink.kafka_lost_records", partition=slot, written_to=standings[slot].next_offset)
            self._patiently(partial(_rewind, self._dsn, self._topic_id, slot))
            del standings[slot]
        assigned = {}
        for place in partitions:
            standing = standings.get(place.partition)
            begin, end = ends[place.partition]
            place.offset = standing.next_offset if standing else OFFSET_BEGINNING
            assigned[place.partition] = Partition(
                goal=end,
                next_offset=max(begin, standing.next_offset if standing else 0),
                settled=bool(standing and standing.settled),
                end=end,
            )
        self._heard = {slot: part.next_offset - 1 for slot, part in assigned.items()}
        reader.assign(partitions)
        self._progress.assign(assigned)
        log.info("sink.assigned", partitions={slot: part.next_offset for slot, part in assigned.items()})

    def _on_revoke(self, _reader: Consumer, partitions: list[TopicPartition]) -> None:
        self._progress.assign({})
        self._heard = {}
        log.info("sink.revoked", partitions=[place.partition for place in partitions])

    def _note_written(self, next_offsets: Mapping[int, int]) -> None:
        """Called in the writer's thread; the client is left to the reader's, where a commit does not wait its turn."""
        with self._lock:
            self._uncommitted.update(next_offsets)

    def _commit(self, *, wait: bool = False) -> None:
        with self._lock:
            places = [TopicPartition(self._topic, slot, offset) for slot, offset in self._uncommitted.items()]
            self._uncommitted.clear()
        if not places:
            return
        try:
            self._reader.commit(offsets=places, asynchronous=not wait)  # type: ignore[call-overload]
        except KafkaException as error:
            # Where to go on is kept in Postgres; only the lag that tools show is late until the next commit.
            log.warning("sink.commit_failed", error=str(error))

    def _patiently(self, work: Callable[[], ResultT]) -> ResultT:
        return patiently(work, "reader", self._shutdown, self._progress)


def topic_uuid(kafka: KafkaSettings, topic: str) -> UUID:
    """The id of the topic of that name that exists now.

    Raises:
        Retriable: Kafka does not answer, or the topic is not there yet.
    """
    try:
        text = topic_id(admin(kafka), topic)
    except KafkaException as error:
        raise Retriable(f"{topic}: {error.args[0]}") from error
    return UUID(bytes=urlsafe_b64decode(text + "=="))


def _ends(reader: Consumer, partitions: list[TopicPartition]) -> dict[int, tuple[int, int]]:
    """First and end offset of each partition."""
    try:
        return {place.partition: watermarks(reader, place, _ASK_TIMEOUT_S) for place in partitions}
    except KafkaException as error:
        raise Retriable(f"Kafka: {error.args[0]}") from error


async def _standings(dsn: str, topic: UUID) -> dict[int, Standing]:
    store = Store(dsn, topic)
    try:
        return await store.standings()
    finally:
        await store.close()


def _rewind(dsn: str, topic: UUID, slot: int) -> None:
    async def rewind() -> None:
        store = Store(dsn, topic)
        try:
            await store.rewind(slot, feeds_of(slot))
        finally:
            await store.close()

    asyncio.run(rewind())
