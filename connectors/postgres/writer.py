"""The sink's second thread: takes folded batches, writes each in one transaction, then tells how far it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from queue import Empty, Full, Queue
from threading import Thread
from time import monotonic
from typing import Final

import structlog
import uvloop
from confluent_kafka import Producer

from connectors.postgres.fold import Batch
from connectors.postgres.patience import Stopped, patiently
from connectors.postgres.progress import REFUSED, ROWS, Progress
from connectors.postgres.rejects import send_refused
from connectors.postgres.store import Store
from runtime import tracing
from runtime.shutdown import Shutdown
from schemas.feeds import feeds_of

log = structlog.stdlib.get_logger(__name__)

NoteWritten = Callable[[Mapping[int, int]], None]

_WAITING_BATCHES: Final = 2
_IDLE_S: Final = 0.5
_DRAIN_LOOK_S: Final = 0.05


class Writer:
    """Writes while the caller reads and decodes the next batch.

    Args:
        store: where to write; used in the writer's thread only.
        topic: what is read.
        dead_letters: for what cannot become a row.
        note_written: told the next offset of each partition after its transaction.
        progress: told the same.
        shutdown: asked whether to give up waiting; told when the writer dies.
    """

    def __init__(
        self,
        store: Store,
        topic: str,
        dead_letters: Producer,
        note_written: NoteWritten,
        progress: Progress,
        shutdown: Shutdown,
    ) -> None:
        self._store = store
        self._topic = topic
        self._dead_letters = dead_letters
        self._note_written = note_written
        self._progress = progress
        self._shutdown = shutdown
        self._queue: Queue[Batch | None] = Queue(_WAITING_BATCHES)
        self._thread = Thread(target=self._run, name="sink-writer", daemon=True)

    @property
    def idle(self) -> bool:
        """Whether all that was handed over is written."""
        return not self._queue.unfinished_tasks

    @property
    def waited_for(self) -> bool:
        """Whether a batch that was handed over has not been begun."""
        return not self._queue.empty()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Hand a batch over; blocks while two are waiting. Dropped when the process stops, to be read again."""
        while not self._shutdown.requested:
            try:
                self._queue.put(batch, timeout=_IDLE_S)
            except Full:
                continue
            return

    def drain(self) -> None:
        """Wait until what was handed over is written, or the process stops."""
        while not self.idle and self._thread.is_alive() and not self._shutdown.requested:
            self._shutdown.wait(_DRAIN_LOOK_S)

    def finish(self) -> None:
        """Write what was handed over, unless Postgres is away, and end."""
        while self._thread.is_alive():
            try:
                self._queue.put(None, timeout=_IDLE_S)
            except Full:
                continue
            break
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
                self._write_all(loop)
                loop.run(self._store.close())
        except Stopped:
            log.info("sink.stopped_waiting")
        except Exception as error:
            log.exception("sink.writer_failed")
            self._shutdown.fail(error)

    def _write_all(self, loop: asyncio.Runner) -> None:
        while True:
            self._settle(loop)
            try:
                batch = self._queue.get(timeout=_IDLE_S)
            except Empty:
                self._progress.idle()
                continue
            if batch is None:
                return
            self._write(loop, batch)
            self._queue.task_done()

    def _write(self, loop: asyncio.Runner, batch: Batch) -> None:
        started = monotonic()
        if batch.refused:
            self._refuse(batch)
        with tracing.batch_span("sink.batch", batch.traces, records=batch.records):
            written = self._patiently(lambda: loop.run(self._store.write(batch), context=copy_context()))
        self._progress.written(batch.next_offsets)
        self._note_written(batch.next_offsets)
        ROWS.inc(written)
        log.debug(
            "sink.batch_written",
            records=batch.records,
            rows=written,
            retired=len(batch.retired),
            history=len(batch.history),
            ms=round((monotonic() - started) * 1000),
        )

    def _refuse(self, batch: Batch) -> None:
        self._patiently(lambda: send_refused(self._dead_letters, self._topic, batch.refused))
        REFUSED.inc(len(batch.refused))
        first = batch.refused[0]
        log.warning(
            "sink.records_refused",
            records=len(batch.refused),
            partition=first.slot,
            offset=first.offset,
            field=first.cause.field,
            rule=first.cause.rule,
        )

    def _settle(self, loop: asyncio.Runner) -> None:
        for slot, next_offset in self._progress.unsettled().items():
            retired = self._patiently(partial(self._settle_one, loop, slot, feeds_of(slot), next_offset))
            self._progress.settled(slot)
            if retired:
                log.warning("sink.former_topic_retired", partition=slot, stones=retired)

    def _settle_one(self, loop: asyncio.Runner, slot: int, feeds: list[str], next_offset: int) -> int:
        return loop.run(self._store.settle(slot, feeds, next_offset))

    def _patiently(self, work: Callable[[], int | None]) -> int:
        return patiently(work, "writer", self._shutdown, self._progress) or 0
