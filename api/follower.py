"""Brings the canonical topic into the index: folded in the tail's thread, applied by the serving thread in slices.

The tail waits until its batch is applied, so that batches never pile up. It begins at the offsets of a snapshot, where
there is one to be trusted, and has a new one written now and then; no batch is applied meanwhile, requests are answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import CancelledError
from threading import Thread
from time import monotonic, perf_counter
from typing import Final

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from api.awaited import Awaited
from api.folding import Folded, Places, fold
from api.fragments import Compared
from api.freshness import Freshness, version_of
from api.index import Index
from api.snapshot import Manifest, Snapshots
from connectors.log.records import Newest, Records
from connectors.log.tail import LogTail
from runtime import tracing
from runtime.health import Check
from runtime.kafka import REQUEST_TIMEOUT_S, admin, passing, topic_id
from runtime.metrics import counter, gauge
from runtime.settings import KafkaSettings
from runtime.version import VERSION
from schemas.errors import Retriable
from schemas.stone import STONE_VERSION
from schemas.topics import CANONICAL

log = structlog.stdlib.get_logger(__name__)

STONES: Final = gauge("adamas_api_stones")
UNREADABLE: Final = counter("adamas_api_unreadable_total")

SNAPSHOT_EVERY_S: Final = 600.0

_SLICE_S: Final = 0.002
"""The event loop answers requests between two slices of about this length; it must never be held for 5 ms."""
_FIRST_SLICE: Final = 200
_SLICES: Final = (20, 4000)
_LOADING: Final = 4000
"""A slice until all is loaded: nobody but the prober of health is answered then, and larger slices load faster."""
_RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.02


class Follower:
    """Keeps an index up to date with a topic. To be made in the thread whose running loop owns the index.

    Args:
        kafka: where Kafka is.
        index: an empty one.
        freshness: told of every new state.
        topic: the topic's name.
        awaited: told what the index has, for whoever waits for it.
        snapshots: where to begin and what to write for the next start; without it, the topic is read whole.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        index: Index,
        freshness: Freshness,
        topic: str = CANONICAL.name,
        snapshots: Snapshots | None = None,
        awaited: Awaited | None = None,
    ) -> None:
        self._kafka = kafka
        self._index = index
        self._freshness = freshness
        self._topic = topic
        self._snapshots = snapshots
        self._awaited = awaited or Awaited()
        self._loop = asyncio.get_running_loop()
        self._tail: LogTail | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._settled = False
        self._topic_id = ""
        self._offsets: dict[int, int] = {}
        self._changed: dict[int, int] = {}
        self._newest: Newest | None = None
        # A state between two batches, or on the way to the topic's end, is no other replica's state.
        self._own = secrets.token_hex(4)
        self._states = 0
        self._slice = _FIRST_SLICE
        self._started_at = monotonic()
        self._snapshot_due = monotonic()
        self._publishing: Thread | None = None

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._beginning = asyncio.create_task(self._begin())
        self._beginning.add_done_callback(self._note_end)

    async def stop(self) -> None:
        """Stop reading, once the batch in flight is applied, and write a last snapshot."""
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.wait([self._beginning])
        if self._tail is not None:
            # Not in this thread: the tail may be waiting for this very loop.
            await asyncio.to_thread(self._tail.stop)
            await asyncio.to_thread(self._write_snapshot)
            if self._publishing is not None:
                await asyncio.to_thread(self._publishing.join)

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to be applied, by partition."""
        return {} if self._tail is None else self._tail.positions

    @property
    def failure(self) -> BaseException | None:
        """What ended the reading, if something did."""
        return self._failure or (None if self._tail is None else self._tail.failure)

    @property
    def caught_up(self) -> bool:
        """Whether the end offsets taken at start were reached. Never goes back."""
        return self._tail is not None and self._tail.caught_up

    def check_ready(self) -> Check:
        """Ready once the end offsets taken at start were reached."""
        progress = 0.0 if self._tail is None else self._tail.progress
        elapsed_s = monotonic() - self._started_at
        detail = {
            "percent": round(100 * progress, 1),
            "eta_s": 0
            if self.caught_up
            else round(elapsed_s / progress - elapsed_s, 1)
            if progress
            else None,
            "stones": len(self._index),
            "positions": self.positions,
            "as_of_ms": dict(self._index.positions),
        }
        return Check(self._settled, detail)

    def check_live(self) -> Check:
        """Alive as long as the reading goes on; Kafka may be away."""
        return Check(self.failure is None, "reads" if self.failure is None else type(self.failure).__name__)

    async def _begin(self) -> None:
        self._topic_id, ends = await self._ask_kafka()
        if self._snapshots is not None:
            # On this loop, which owns the index: it is not ready yet, so nobody is kept waiting.
            manifest = self._snapshots.load(self._index, self._topic_id, ends)
            if manifest is None:
                self._index.fragments.tidy()
            else:
                self._go_on_from(manifest)
        self._snapshot_due = monotonic() + SNAPSHOT_EVERY_S
        self._started_at = monotonic()
        self._newest = None if self._offsets else Newest()
        self._tail = LogTail(self._kafka, self._topic, self._apply, start=self._offsets.copy() or None)
        self._tail.start()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._tail.caught_up:
                break
        self._newest = None
        # Nobody is kept waiting: it is not ready yet.
        self._index.settle()
        self._settled = True

    def _go_on_from(self, manifest: Manifest) -> None:
        self._offsets, self._changed = dict(manifest.offsets), dict(manifest.changed)
        self._freshness.note(self._private_version(), self._index.positions)
        STONES.set(len(self._index))
        # The first answers shall not wait for the disk.
        Thread(target=self._index.fragments.touch, name="touch-records", daemon=True).start()

    async def _ask_kafka(self) -> tuple[str, dict[int, int]]:
        client = admin(self._kafka)
        while True:
            try:
                return await asyncio.to_thread(_ask, client, self._topic)
            except (Retriable, TimeoutError) as error:
                log.warning("api.kafka_away", error=str(error))
                await asyncio.sleep(_RETRY_S)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()

    def _apply(self, records: Records, reached: dict[int, int]) -> None:
        loads = not self.caught_up
        folded = fold(records, self._compare if self._settled else None, self._newest if loads else None)
        UNREADABLE.inc(folded.unreadable)
        # Encoded here, so that it costs the loop less.
        size = _LOADING if loads else self._slice
        slices = self._index.prepare(folded.batch, size)
        # What was there at the start is old news, and its traces have long ended.
        traces = tracing.traceparents(records.all_headers()) if self._settled else ()
        try:
            with tracing.batch_span("api.apply", traces, records=len(records)):
                asyncio.run_coroutine_threadsafe(
                    self._apply_in_slices(slices, size, folded), self._loop
                ).result()
        except CancelledError:
            log.info("api.batch_cancelled")
            return
        self._awaited.note(records, self._loop)
        self._offsets |= reached
        if monotonic() > self._snapshot_due:
            self._write_snapshot()

    def _compare(self, records: Records, places: Places) -> Compared:
        # In the tail's thread: only its own batches ever change the index, and none is being applied now.
        rows = self._index.find(records.data, records.keys.take(places, axis=1))
        return self._index.fragments.compare(rows, records.data, records.values.take(places, axis=1))

    async def _apply_in_slices(self, slices: list[Callable[[], None]], size: int, folded: Folded) -> None:
        version = self._private_version()
        # Slices of whole stones come first; a few of them say more of what may be held up than many prices.
        stones = len(folded.batch.stones) or len(folded.batch.priced or ())
        whole = stones // size if self.caught_up else 0
        for number, take in enumerate(slices):
            started = perf_counter()
            self._freshness.note(version, self._index.positions)
            take()
            if number < whole:
                self._note_pace(size, perf_counter() - started)
            await asyncio.sleep(0)
        if folded.changed or folded.batch.positions:
            self._note_state(folded.changed)

    def _note_pace(self, size: int, taken_s: float) -> None:
        low, high = _SLICES
        self._slice = min(max(int(size * _SLICE_S / taken_s), low, size // 2), high, 2 * size)

    def _note_state(self, changed: dict[int, int]) -> None:
        self._changed |= changed
        version = (
            version_of(self._topic_id, STONE_VERSION, VERSION, sorted(self._changed.items()))
            if self.caught_up
            else self._private_version()
        )
        self._freshness.note(version, self._index.positions)
        STONES.set(len(self._index))

    def _private_version(self) -> str:
        self._states += 1
        return f"{self._own}-{self._states}"

    def _write_snapshot(self) -> None:
        """In the tail's thread or after it: nobody applies a batch meanwhile."""
        if self._snapshots is None or not self._settled:
            return
        if self._publishing is not None:
            self._publishing.join()
        self._snapshot_due = monotonic() + SNAPSHOT_EVERY_S
        started = perf_counter()
        try:
            self._snapshots.write(self._index, self._topic_id, self._offsets, self._changed)
        except OSError as error:
            log.warning("api.snapshot_failed", error=str(error))
            return
        log.info("api.snapshot_written", stones=len(self._index), seconds=round(perf_counter() - started, 2))
        self._publishing = Thread(target=self._publish, args=(self._snapshots.publish,), name="snapshot")
        self._publishing.start()

    def _publish(self, publish: Callable[[Index], None]) -> None:
        try:
            publish(self._index)
        except OSError as error:
            log.warning("api.snapshot_failed", error=str(error))


def _ask(client: AdminClient, topic: str) -> tuple[str, dict[int, int]]:
    """The topic's id and its end offsets."""
    try:
        found = topic_id(client, topic)
        slots = client.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        futures = client.list_offsets({TopicPartition(topic, slot): latest for slot in slots})
        return found, {
            place.partition: future.result(REQUEST_TIMEOUT_S).offset for place, future in futures.items()
        }
    except KafkaException as error:
        if passing(error.args[0]):
            raise Retriable(str(error.args[0])) from error
        raise
