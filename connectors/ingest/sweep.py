"""One run: plan it, read its pages side by side, and write every fact into the log before the next step counts on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span

from connectors.budget import Grant
from connectors.feeds.protocol import Feed, Page, Slice
from connectors.ingest import metrics
from connectors.ingest.asking import Asker
from connectors.ingest.progress import WORTH_CUTTING, PartitionProgress, Read, RunProgress
from connectors.planner import TARGET, plan_partitions
from connectors.publisher import Log
from connectors.runs.ledger import off_percent
from schemas.errors import Invalid, Retriable
from schemas.facts import Complete, FactHeaders, Kind, Plan, PlanPartition, RunKind, Split
from schemas.seq import Seq, epoch_of

log = structlog.stdlib.get_logger(__name__)

_TRACER: Final = trace.get_tracer(__name__)

IN_FLIGHT: Final = 200
"""Pages of a feed under way at once: the budget's rate times a slow vendor's latency. When a vendor hangs, asking ends here."""
PARTIAL_READS: Final = 3
"""A page that names errors beside its items is asked for this often before it is taken as it is."""
WORTH_BEGINNING_ANEW: Final = 1.2
"""A partition with less than this many times what it has brought is read to its end instead of being cut."""
COUNT_LIMIT_S: Final = 60.0
"""A count that takes longer is asked for again."""


class GaveUp(Invalid):
    """A page could not be read for so long that the attempt ends."""


@dataclass(frozen=True, slots=True)
class FactWriter:
    """Writes one feed's facts; returns when each is in the log."""

    feed: Feed
    asker: Asker
    log: Log

    async def write(
        self,
        kind: Kind,
        seq: Seq,
        value: bytes,
        run: str | None,
        read: Read | None = None,
        page: Page | None = None,
    ) -> int | None:
        """Append one fact, however often Kafka must be asked; its offset, or none for one too large for the log."""
        headers = FactHeaders(
            kind=kind,
            feed=self.feed.name,
            epoch=epoch_of(seq),
            seq=seq,
            schema=self.feed.schema,
            run=run,
            partition=read.partition if read else None,
            page=read.page if read else None,
            reread=read.reread if read else 0,
            rows=page.rows if page else None,
            nameless=(page.nameless or None) if page else None,
            granted_at=int(time.time() * 1000),
        )
        return await self.asker.until_done(lambda: self.log.publish(headers, value))

    async def count(self, part: Slice) -> tuple[int, Seq]:
        """Stones in a slice as the vendor counts them, and the seq of the request that told."""

        async def ask(grant: Grant) -> int:
            try:
                async with asyncio.timeout(COUNT_LIMIT_S):
                    return await self.feed.count(part, grant)
            except TimeoutError as error:
                raise Retriable(f"the vendor did not count within {COUNT_LIMIT_S:g} s") from error

        return await self.asker.ask(ask)


async def plan_run(
    writer: FactWriter, run: str, kind: RunKind, updated_from_ms: int | None = None
) -> RunProgress:
    """Plan a run and write the plan; its seq is that of the run's first request.

    Args:
        run: the run's name.
        updated_from_ms: lower end of an incremental run's window; such a run also reads what is not available any more,
            where the vendor can tell.
    """
    feed, asker = writer.feed, writer.asker
    watermark_ms = await asker.until_done(lambda: feed.prepare(asker.priority))
    seqs: list[Seq] = []

    async def count(part: Slice) -> int:
        stones, seq = await writer.count(part)
        seqs.append(seq)
        return stones

    whole, cap = Slice(updated_from_ms=updated_from_ms), feed.offset_cap
    counted, partitions = await plan_partitions(count, whole, offset_cap=cap)
    if kind is RunKind.INCREMENTAL:
        more, gone = await _plan_gone(feed, count, updated_from_ms, len(partitions))
        counted, partitions = counted + more, partitions + gone
    plan = Plan(
        run=run,
        feed=feed.name,
        kind=kind,
        watermark=watermark_ms,
        updated_from=updated_from_ms,
        page_size=feed.page_size,
        counted=counted,
        partitions=partitions,
    )
    await writer.write(Kind.PLAN, min(seqs), msgspec.json.encode(plan), plan.run)
    log.info(
        "ingest.run_planned",
        run=plan.run,
        feed=feed.name,
        stones=counted,
        partitions=len(partitions),
        counts=len(seqs),
    )
    return RunProgress(plan)


async def _plan_gone(
    feed: Feed, count: Callable[[Slice], Awaitable[int]], updated_from_ms: int | None, first_number: int
) -> tuple[int, tuple[PlanPartition, ...]]:
    """What left the vendor's shelf in the window: without it a sale shows only at the next full sweep."""
    whole = Slice(updated_from_ms=updated_from_ms, gone=True)
    try:
        return await plan_partitions(count, whole, offset_cap=feed.offset_cap, first_number=first_number)
    except Invalid as error:
        log.warning("ingest.vendor_tells_no_gone_stones", feed=feed.name, cause=str(error))
        return 0, ()


class Sweep:
    """Reads what a run still lacks.

    Args:
        writer: of the run's feed.
        progress: the run, with what the log already holds.
        patience_s: a page that cannot be read for so long ends the attempt.
        off_limit_percent: a run that brought this much less than the vendor counted is looked through a second time.
    """

    def __init__(
        self,
        writer: FactWriter,
        progress: RunProgress,
        *,
        patience_s: float = 900.0,
        off_limit_percent: float = 1.0,
    ) -> None:
        self._writer = writer
        self._asker = writer.asker
        self._feed = writer.feed
        self._progress = progress
        self._plan = progress.plan
        self._patience_s = patience_s
        self._off_limit_percent = off_limit_percent
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._changed = asyncio.Event()
        self._empty: dict[tuple[int, int], tuple[Page, Seq]] = {}

    async def run(self) -> int | None:
        """Until the run is complete and the log says so; the offset of its completion.

        Raises:
            ExceptionGroup: of `Invalid` or `Fatal`, as the feed's calls raise them.
        """
        with _TRACER.start_as_current_span("ingest.run", attributes={"run": self._plan.run}):
            return await self._run()

    async def _run(self) -> int | None:
        self._progress.abandon()
        await self._read_all()
        if await self._reopen_where_short():
            await self._read_all()
        return await self.complete()

    def has(self, number: int) -> bool:
        """Whether the run has this partition."""
        return number in self._progress.partitions

    def retry(self, number: int) -> None:
        """Read every page of a partition once more."""
        self._progress.partitions[number].reopen()
        self._changed.set()

    async def _read_all(self) -> None:
        async with asyncio.TaskGroup() as reads:
            while (read := await self._next_read()) is not None:
                # The grant is taken before the task: as many are under way as the vendor's latency asks for.
                grant = await self._asker.budget.grant(self._asker.priority)
                reads.create_task(self._read(read, grant))

    async def _next_read(self) -> Read | None:
        await self._in_flight.acquire()
        while (read := self._progress.next_read()) is None:
            if self._progress.complete:
                self._in_flight.release()
                return None
            self._changed.clear()
            await self._changed.wait()
        return read

    async def _read(self, read: Read, grant: Grant) -> None:
        partition = self._progress.partitions[read.partition]
        try:
            async with asyncio.timeout(self._patience_s):
                await self._read_page(partition, read, grant)
        except TimeoutError as error:
            page = f"page {read.page} of partition {read.partition}"
            raise GaveUp(page, f"could not be read for {self._patience_s:g} s", "gave_up") from error
        if partition.outgrown:
            await self._split(partition)
        if partition.ended and not partition.closed:
            await self._end(partition)
        self._in_flight.release()
        self._changed.set()

    async def _read_page(self, partition: PartitionProgress, read: Read, grant: Grant) -> None:
        with self._page_span(read):
            await self._fetch_and_write(partition, read, grant)

    def _page_span(self, read: Read) -> AbstractContextManager[Span]:
        """A page of an incremental run belongs to the run's trace; the thousands of a full sweep each begin their own."""
        attributes: dict[str, str | int] = {
            "run": self._plan.run,
            "partition": read.partition,
            "page": read.page,
        }
        if self._plan.kind is RunKind.INCREMENTAL:
            return _TRACER.start_as_current_span("ingest.page", attributes=attributes)
        links = [Link(trace.get_current_span().get_span_context())]
        return _TRACER.start_as_current_span("ingest.page", Context(), attributes=attributes, links=links)

    async def _fetch_and_write(self, partition: PartitionProgress, read: Read, grant: Grant) -> None:
        part = Slice.of(partition.plan, self._plan)
        page, seq = await self._search(part, read.page, grant)
        if page.rows:
            await self._write_page(read, page, seq)
            metrics.PAGES.labels(self._feed.name).inc()
            more = self._progress.logged(partition, read.page, read.reread, page.rows, page.ids)
            metrics.STONES.labels(self._feed.name).inc(more)
            if self._plan.kind is RunKind.FULL:
                metrics.SWEPT.labels(self._feed.name).inc(more)
        else:
            self._empty[read.partition, read.page] = (page, seq)
            partition.done(read.page, 0, (), read.reread)

    async def _write_page(self, read: Read, page: Page, seq: Seq) -> None:
        await self._writer.write(Kind.PAGE, seq, page.body, self._plan.run, read, page)

    async def _search(self, part: Slice, number: int, first: Grant | None) -> tuple[Page, Seq]:
        for _ in range(PARTIAL_READS):
            page, seq = await self._asker.ask(lambda grant: self._feed.search(part, number, grant), first)
            first = None
            if not page.partial:
                break
            log.warning(
                "ingest.partial_page", feed=self._feed.name, run=self._plan.run, page=number, rows=page.rows
            )
        return page, seq

    async def _split(self, partition: PartitionProgress) -> None:
        """Cut a partition that has outgrown its estimate; what it has brought stays, its pieces are read from their start."""
        partition.whole = True

        async def count(part: Slice) -> int:
            return (await self._writer.count(part))[0]

        whole = Slice.of(partition.plan, self._plan)
        numbers = self._progress.take_numbers()
        worth = WORTH_CUTTING * self._feed.page_size
        counted, pieces = await plan_partitions(
            count,
            whole,
            offset_cap=self._feed.offset_cap,
            target=min(TARGET, max(partition.plan.estimate, worth)),
            first_number=numbers,
        )
        if len(pieces) < 2 or counted < WORTH_BEGINNING_ANEW * partition.rows or partition.closed:
            log.info("ingest.partition_stays_whole", run=self._plan.run, partition=partition.plan.number)
            return
        split = Split(run=self._plan.run, partition=partition.plan.number, into=pieces)
        await self._writer.write(
            Kind.SPLIT, self._asker.budget.last_seq, msgspec.json.encode(split), self._plan.run
        )
        self._progress.split(split)
        log.info(
            "ingest.partition_split",
            run=self._plan.run,
            partition=partition.plan.number,
            estimate=partition.plan.estimate,
            rows=partition.rows,
            into=[piece.number for piece in pieces],
        )

    async def _end(self, partition: PartitionProgress) -> None:
        number = partition.plan.number
        # Nobody else may end it meanwhile; the run is not complete before this task is done.
        partition.closed = True
        # Empty pages are not in the log before the end, so a resumed run has read them again. One with more behind it
        # goes there too: a page without any fact would look like a lost one.
        for page in partition.empty_before_end():
            if (number, page) in self._empty:
                empty, seq = self._empty.pop((number, page))
                await self._write_page(Read(number, page, 0), empty, seq)
        empty, seq = self._empty.pop((number, partition.end_page))
        end = Read(number, partition.end_page, 0)
        await self._writer.write(Kind.EMPTY, seq, empty.body, self._plan.run, end, empty)
        log.info(
            "ingest.partition_ended",
            run=self._plan.run,
            partition=number,
            rows=partition.rows,
            estimate=partition.plan.estimate,
        )

    async def _reopen_where_short(self) -> bool:
        """The second pass: where a fresh count says that stones are missing, every page is read once more."""
        plan, progress = self._plan, self._progress
        if (
            off_percent(plan.counted, progress.rows) <= self._off_limit_percent
            or progress.rows >= plan.counted
        ):
            return False
        reopened = []
        for partition in [part for part in progress.partitions.values() if not part.split]:
            counted, _ = await self._writer.count(Slice.of(partition.plan, plan))
            if counted > partition.rows and off_percent(counted, partition.rows) > self._off_limit_percent:
                partition.reopen()
                reopened.append(partition.plan.number)
        log.warning(
            "ingest.second_pass",
            run=plan.run,
            counted=plan.counted,
            rows=progress.rows,
            partitions=len(reopened),
        )
        return bool(reopened)

    async def complete(self, *, forced_by: str | None = None) -> int | None:
        """Write the run's completion; the offset. Forced by an operator, it ends as it stands."""
        plan, progress = self._plan, self._progress
        fact = Complete(
            run=plan.run,
            feed=plan.feed,
            kind=plan.kind,
            watermark=plan.watermark,
            pages=progress.pages,
            rows=progress.rows,
            rereads=tuple(sorted(progress.rereads)),
            forced=forced_by is not None,
            actor=forced_by or "ingest",
        )
        offset = await self._writer.write(
            Kind.COMPLETE, self._asker.budget.last_seq, msgspec.json.encode(fact), plan.run
        )
        log.info("ingest.run_complete", run=plan.run, feed=plan.feed, pages=fact.pages, rows=fact.rows)
        return offset
