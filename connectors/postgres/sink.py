"""`adamas sink`: `diamonds.canonical` to Postgres.

Two threads: this one reads and folds, `Writer` writes. A partition starts where Postgres says it was written to, not
where Kafka was told: a database restored from yesterday's backup thus catches up by itself. Offsets committed in
Kafka follow each transaction and are there for the tools that show lag.

Kafka's client is a member of the group and no more: it says which partitions are ours and commits. What is in them comes
from `connectors.log`, by the batch and without an object a record.
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
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from connectors.log.fetching import Cursor, Log
from connectors.log.records import Batch, read
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
"""While it waits, so often it is looked whether the other one was begun."""
_WAIT_S: Final = 0.25
_AT_ONCE: Final = 512 << 10
_AWAY_S: Final = 1.0
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
        self._member = consumer(self._kafka, group)
        self._runner = asyncio.Runner()
        self._fill_s = _FILL_S
        self._positions: dict[int, int] = {}
        self._uncommitted: dict[int, int] = {}
        self._lock = Lock()
        self._next_look = monotonic() + _REPORT_EVERY_S

    def run(self) -> None:
        """Read, fold and hand over until a stop is requested."""
        writer = Writer(
            Store(self._dsn, self._topic_id),
            self._topic,
            producer(self._kafka),
            self._note_written,
            self._progress,
            self._shutdown,
        )
        with self._runner:
            source = self._runner.run(self._open())
            writer.start()
            try:
                self._patiently(lambda: self._runner.run(source.slots()))
                with PauseThread(self._dsn, "adamas-sink") as pauses:
                    while not self._shutdown.requested:
                        if reason := pauses.reason(self._group):
                            self._progress.waits("pause", reason)
                            self._shutdown.wait(_PAUSED_S)
                        else:
                            self._progress.waits("pause", None)
                            self._be_a_member(source, writer, lambda: pauses.reason(self._group) is not None)
            finally:
                writer.finish()
                self._commit(wait=True)
                self._member.close()
                self._runner.run(source.close())

    async def _open(self) -> Log:
        return Log(self._kafka, self._topic)

    def _be_a_member(self, source: Log, writer: Writer, must_leave: Callable[[], bool]) -> None:
        """Read until a stop is requested or an operator wants the group to be empty."""
        self._member.subscribe([self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke)
        while not (self._shutdown.requested or must_leave()):
            self._hear_of_the_group()
            if self._positions:
                self._read_once(source, writer)
            self._look_around()
        if not self._shutdown.requested:
            writer.drain()
            self._commit(wait=True)
            self._member.unsubscribe()

    def _hear_of_the_group(self) -> None:
        """Be told of partitions that come and go; waits for them only where there are none."""
        while (message := self._member.poll(0 if self._positions else _WAIT_S)) is not None:
            error = message.error()
            if error is None:
                continue
            if not passing(error) and error.code() != KafkaError._MAX_POLL_EXCEEDED:
                raise Fatal(f"reading {self._topic}: {error.str()}")
            log.warning("sink.kafka_away", error=error.str())

    def _read_once(self, source: Log, writer: Writer) -> None:
        cursor = Cursor(source, self._positions)
        try:
            some = self._runner.run(self._gather(cursor, writer))
        except Retriable as error:
            log.warning("sink.kafka_away", error=str(error))
            self._shutdown.wait(_AWAY_S)
            return
        for slot, end in cursor.ends.items():
            self._progress.heard_end(slot, end)
        moved = {slot: place for slot, place in cursor.positions.items() if place != self._positions[slot]}
        if any(place < self._positions[slot] for slot, place in moved.items()):
            writer.drain()
            self._begin(list(self._positions))
            return
        records = read(some, self._positions)
        batch = fold(records, self._topic_id)
        batch.next_offsets = moved
        batch.traces = tracing.traceparents(records.all_headers())
        self._fill_s = (
            _FILL_S if len(records) <= _FLOW else _PACED_FILL_S if batch.background else _FLOW_FILL_S
        )
        self._positions = cursor.positions
        if moved:
            writer.put(batch)

    async def _gather(self, cursor: Cursor, writer: Writer) -> list[Batch]:
        """What comes next, as soon as there is anything, and what comes within a moment after that."""
        some = await cursor.read_on(most_bytes=_AT_ONCE, within_s=_WAIT_S)
        begun = monotonic()
        while some and sum(batch.size for batch in some) < _BATCH:
            waited_for = writer.waited_for
            left_s = begun + (_BUSY_FILL_S if waited_for else self._fill_s) - monotonic()
            if left_s <= 0:
                break
            some += await cursor.read_on(
                most_bytes=_AT_ONCE,
                least_bytes=_AT_ONCE,
                within_s=min(left_s, _LOOK_S) if waited_for else left_s,
            )
        return some

    def _look_around(self) -> None:
        self._commit()
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

    def _on_assign(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        self._begin([place.partition for place in partitions])
        # The client need not fetch what it does not know of.
        member.assign([])
        log.info("sink.assigned", partitions=self._positions)

    def _begin(self, slots: list[int]) -> None:
        """Read these partitions, each from where Postgres says, or from its beginning."""
        ends = self._patiently(lambda: _ends(self._member, self._topic, slots))
        known = self._patiently(lambda: asyncio.run(_standings(self._dsn, self._topic_id)))
        standings = {slot: standing for slot, standing in known.items() if slot in ends}
        for slot in [slot for slot, standing in standings.items() if standing.next_offset > ends[slot][1]]:
            log.error("sink.kafka_lost_records", partition=slot, written_to=standings[slot].next_offset)
            self._patiently(partial(_rewind, self._dsn, self._topic_id, slot))
            del standings[slot]
        begun = {}
        for slot, (begin, end) in ends.items():
            standing = standings.get(slot)
            begun[slot] = Partition(
                goal=end,
                next_offset=max(begin, standing.next_offset if standing else 0),
                settled=bool(standing and standing.settled),
                end=end,
            )
        self._positions = {slot: part.next_offset for slot, part in begun.items()}
        self._progress.assign(begun)

    def _on_revoke(self, _member: Consumer, partitions: list[TopicPartition]) -> None:
        self._progress.assign({})
        self._positions = {}
        log.info("sink.revoked", partitions=[place.partition for place in partitions])

    def _note_written(self, next_offsets: Mapping[int, int]) -> None:
        """Called in the writer's thread; the client is left to the reader's, which commits at once: by that owners pace their work."""
        with self._lock:
            self._uncommitted.update(next_offsets)
        self._runner.get_loop().call_soon_threadsafe(self._commit)

    def _commit(self, *, wait: bool = False) -> None:
        with self._lock:
            places = [TopicPartition(self._topic, slot, offset) for slot, offset in self._uncommitted.items()]
            self._uncommitted.clear()
        if not places:
            return
        try:
            self._member.commit(offsets=places, asynchronous=not wait)  # type: ignore[call-overload]
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


def _ends(member: Consumer, topic: str, slots: list[int]) -> dict[int, tuple[int, int]]:
    """First and end offset of each partition."""
    try:
        return {slot: watermarks(member, TopicPartition(topic, slot), _ASK_TIMEOUT_S) for slot in slots}
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
