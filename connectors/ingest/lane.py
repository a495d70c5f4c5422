"""A lane: one feed's runs of one kind, one after the other. Full and incremental lanes of all feeds run side by side.

What a lane does next stands in Postgres; what a run still lacks is what is planned and not in the log. So an attempt that
failed, a process that died and a run that was retried all go on in the same way.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from connectors.ingest import metrics
from connectors.ingest.activity import Activity
from connectors.ingest.progress import RunProgress
from connectors.ingest.sweep import FactWriter, Sweep, plan_run
from connectors.postgres import events
from connectors.runs import store
from connectors.runs.projection import moment
from connectors.runs.states import ATTEMPTS, State, pause_s
from connectors.runs.store import Run
from connectors.runs.tailing import LogReader
from connectors.runs.transitions import BY_INGEST, move
from runtime.postgres import Database
from runtime.settings import IngestSettings
from schemas.errors import Invalid
from schemas.events import Kind as EventKind
from schemas.facts import Cancel, Kind, Retire, RunKind

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """An operator ends the current run: cancelled for a cause, or completed as it stands without one."""

    actor: str
    cause: str | None


class Lane:
    """Runs of one kind of one feed.

    Args:
        writer: of the feed's facts, in this lane's class of the budget.
        kind: full or incremental.
        settings: patience, overlap and the limit of the vendor's count.
        database: where runs are.
        reader: tells when a fact that was written is in the tables.
        activity: told what the lane waits for.
    """

    def __init__(
        self,
        writer: FactWriter,
        kind: RunKind,
        settings: IngestSettings,
        database: Database,
        reader: LogReader,
        activity: Activity,
    ) -> None:
        self._writer = writer
        self._kind = kind
        self._settings = settings
        self._database = database
        self._reader = reader
        self._activity = activity
        self._feed = writer.feed
        self._changed = asyncio.Event()
        self._free = asyncio.Event()
        self._run: Run | None = None
        self._sweep: Sweep | None = None
        self._attempt: asyncio.Task[int | None] | None = None
        self._order: Order | None = None

    @property
    def feed(self) -> str:
        """The feed's name."""
        return self._feed.name

    @property
    def current(self) -> Run | None:
        """The run that is being read."""
        return self._run

    def look(self) -> None:
        """Something may be due."""
        self._changed.set()

    async def run(self) -> None:
        """For ever.

        Raises:
            Fatal: nobody may go on.
        """
        active = metrics.RUN_ACTIVE.labels(self._feed.name)
        active.set(0)
        # Shown as 0 until the first page, not as unknown.
        metrics.STONES.labels(self._feed.name)
        if self._kind is RunKind.FULL:
            await self._show_last()
        while True:
            run = await self._next()
            active.inc()
            try:
                await self._do(run)
            finally:
                self._run = self._sweep = self._attempt = None
                self._free.set()
                active.dec()

    async def _next(self) -> Run:
        while True:
            self._changed.clear()
            async with self._database.transaction() as link:
                run = await store.next_run(link, self._feed.name, self._kind)
                if run is not None and run.state is State.PENDING:
                    await move(link, run.run, State.RUNNING, f"attempt {run.attempt}", BY_INGEST)
            if run is not None:
                return run
            self._activity.waits(self._writer.asker.who, f"no {self._kind} run is due")
            try:
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    async def _do(self, run: Run) -> None:
        self._run, self._order = run, None
        self._attempt = asyncio.create_task(self._read(run))
        try:
            offset = await self._attempt
        except asyncio.CancelledError:
            order = self._given()
            if order is None:
                raise
            offset = await self._end_as_ordered(run, order)
        except (Invalid, ExceptionGroup) as error:
            offset = await self._attempt_failed(run, str(_refusal(error)))
        await self._reader.until(self._feed.name, offset)

    def _given(self) -> Order | None:
        return self._order

    async def _read(self, run: Run) -> int | None:
        if self._kind is RunKind.FULL:
            self._show(0, math.nan)
        progress = await self._progress(run)
        if self._kind is RunKind.FULL:
            self._show(progress.rows, progress.plan.counted)
        self._sweep = Sweep(
            self._writer,
            progress,
            patience_s=self._settings.patience_s,
            off_limit_percent=self._settings.count_off_percent,
        )
        return await self._sweep.run()

    def _show(self, swept: int, expected: float) -> None:
        metrics.SWEPT.labels(self._feed.name).set(swept)
        metrics.EXPECTED.labels(self._feed.name).set(expected)

    async def _show_last(self) -> None:
        """Of the sweep before this start: the next one may be a day away."""
        async with self._database.link() as link:
            last = await store.recent(
                link, feed=self._feed.name, kind=self._kind, state=State.COMPLETED, limit=1
            )
        for run in last:
            self._show(run.rows or 0, run.counted or 0)

    async def _progress(self, run: Run) -> RunProgress:
        async with self._database.link() as link:
            progress = await store.progress_of(link, run.run)
            watermark = await store.watermark_of(link, self._feed.name)
        if progress is None:
            return await plan_run(self._writer, run.run, self._kind, self._updated_from_ms(watermark))
        # The vendor's ways were found out by a process that may be gone.
        await self._writer.asker.until_done(lambda: self._feed.prepare(self._writer.asker.priority))
        log.info("ingest.run_resumed", run=run.run, feed=self._feed.name, pages=progress.pages)
        return progress

    def _updated_from_ms(self, watermark: datetime | None) -> int | None:
        if self._kind is RunKind.FULL:
            return None
        overlap = timedelta(seconds=self._settings.overlap_s)
        return max(0, int(((watermark or moment(0)) - overlap).timestamp() * 1000))

    async def _attempt_failed(self, run: Run, cause: str) -> int | None:
        log.error(
            "ingest.attempt_failed", run=run.run, feed=self._feed.name, attempt=run.attempt, cause=cause
        )
        if run.attempt >= ATTEMPTS:
            cause = f"{ATTEMPTS} attempts failed: {cause}"
            async with self._database.link() as link:
                await events.record(link, EventKind.RUN_FAILED, run.run, cause, actor=BY_INGEST)
            return await write_cancel(self._writer, run, failed=True, cause=cause, actor=BY_INGEST)
        pause = timedelta(seconds=pause_s(run.attempt))
        async with self._database.transaction() as link:
            await move(link, run.run, State.PENDING, f"attempt {run.attempt} failed: {cause}", BY_INGEST)
            await link.execute(
                "UPDATE runs SET attempt = attempt + 1, due_at = now() + $2 WHERE run = $1", run.run, pause
            )
        return None

    async def cancel(self, cause: str, actor: str) -> None:
        """End the current run without completing it."""
        await self._give(Order(actor, cause))

    async def force(self, actor: str) -> None:
        """Complete the current run as it stands.

        Raises:
            Invalid: it has no plan yet.
        """
        if self._sweep is None:
            raise Invalid("run", "has no plan yet: cancel it instead", "ended")
        await self._give(Order(actor, None))

    def retry(self, partition: int) -> None:
        """Read every page of one of the current run's partitions once more.

        Raises:
            Invalid: there is no such partition.
        """
        if self._sweep is None or not self._sweep.has(partition):
            raise Invalid("partition", f"there is no partition {partition} in this run yet", "unknown")
        self._sweep.retry(partition)

    async def _give(self, order: Order) -> None:
        attempt, run = self._attempt, self._run
        if attempt is None or run is None:
            raise Invalid("run", "is not being read any more", "ended")
        self._order = order
        self._free.clear()
        attempt.cancel()
        await self._free.wait()

    async def _end_as_ordered(self, run: Run, order: Order) -> int | None:
        if order.cause is None and self._sweep is not None:
            return await self._sweep.complete(forced_by=order.actor)
        return await write_cancel(
            self._writer, run, failed=False, cause=order.cause or "forced before its plan", actor=order.actor
        )


class FeedRetirer:
    """Writes a feed's retire commands.

    Args:
        writer: of the feed's facts.
        reader: tells when a command is in the tables.
    """

    def __init__(self, writer: FactWriter, reader: LogReader) -> None:
        self._writer = writer
        self._reader = reader

    async def retire(self, command: Retire) -> None:
        """Return when the command is in the log and told."""
        seq = self._writer.asker.budget.last_seq
        body = msgspec.json.encode(command)
        await self._reader.until(command.feed, await self._writer.write(Kind.RETIRE, seq, body, command.run))


def _refusal(error: Exception) -> Invalid:
    """The refusal that ended an attempt; anything else among what was raised is raised on."""
    if isinstance(error, Invalid):
        return error
    assert isinstance(error, ExceptionGroup)
    refusals, others = error.split(Invalid)
    if others is not None or refusals is None:
        raise error
    inner = refusals.exceptions[0]
    return _refusal(inner)


async def write_cancel(writer: FactWriter, run: Run, *, failed: bool, cause: str, actor: str) -> int | None:
    """Write into the log that a run ends without completion; the fact's offset."""
    fact = Cancel(run=run.run, feed=run.feed, failed=failed, cause=cause, actor=actor)
    seq = writer.asker.budget.last_seq
    return await writer.write(Kind.CANCEL, seq, msgspec.json.encode(fact), run.run)
