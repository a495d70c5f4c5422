"""A run of one feed: plan it, read its pages, say when it is complete. Every step is a fact in the log first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import structlog

from connectors.budget import Grant
from connectors.feeds.protocol import Feed, Page, Slice
from connectors.ingest import metrics
from connectors.ingest.asking import Asker
from connectors.ingest.progress import PartitionProgress, Read, RunProgress
from connectors.planner import plan_partitions
from schemas.facts import Complete, FactHeaders, Kind, Plan, RunKind
from schemas.seq import Seq, epoch_of

log = structlog.stdlib.get_logger(__name__)

IN_FLIGHT: Final = 200
"""Pages of a feed under way at once: the budget's rate times a slow vendor's latency. When a vendor hangs, asking ends here."""
PARTIAL_READS: Final = 3
"""A page that names errors beside its items is asked for this often before it is taken as it is."""


class Log(Protocol):
    """Where facts go: the publisher, or a test's memory."""

    async def publish(self, headers: FactHeaders, value: bytes) -> None:
        """Return when the fact is kept; raises `Retriable` when it may not be."""


@dataclass(frozen=True, slots=True)
class FactWriter:
    """Writes one feed's facts; returns when each is in the log."""

    feed: Feed
    asker: Asker
    log: Log

    async def write(
        self, kind: Kind, seq: Seq, value: bytes, run: str, read: Read | None = None, rows: int | None = None
    ) -> None:
        """Append one fact, however often Kafka must be asked."""
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
            rows=rows,
        )
        await self.asker.until_done(lambda: self.log.publish(headers, value))


async def plan_run(writer: FactWriter, kind: RunKind) -> RunProgress:
    """Plan a run and write the plan; its seq is that of the run's first request."""
    feed, asker = writer.feed, writer.asker
    watermark_ms = await asker.until_done(lambda: feed.prepare(asker.priority))
    seqs: list[Seq] = []

    async def count(part: Slice) -> int:
        stones, seq = await asker.ask(lambda grant: feed.count(part, grant))
        seqs.append(seq)
        return stones

    counted, partitions = await plan_partitions(count)
    plan = Plan(
        run=_run_name(feed.name, kind, watermark_ms, epoch_of(seqs[0])),
        feed=feed.name,
        kind=kind,
        watermark=watermark_ms,
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


def _run_name(feed: str, kind: RunKind, watermark_ms: int, epoch: int) -> str:
    return f"{feed}-{kind}-{datetime.fromtimestamp(watermark_ms / 1000, UTC):%Y%m%dT%H%M%SZ}-{epoch}"


class Sweep:
    """Reads what a run still lacks.

    Args:
        writer: of the run's feed.
        progress: the run, with what the log already holds.
    """

    def __init__(self, writer: FactWriter, progress: RunProgress) -> None:
        self._writer = writer
        self._asker = writer.asker
        self._feed = writer.feed
        self._progress = progress
        self._plan = progress.plan
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._changed = asyncio.Event()
        self._empty: dict[int, tuple[Page, Seq]] = {}

    async def run(self) -> None:
        """Until the run is complete and the log says so.

        Raises:
            ExceptionGroup: of `Invalid` or `Fatal`, as the feed's calls raise them.
        """
        self._progress.abandon()
        async with asyncio.TaskGroup() as reads:
            while (read := await self._next_read()) is not None:
                # The grant is taken before the task: as many are under way as the vendor's latency asks for.
                grant = await self._asker.budget.grant(self._asker.priority)
                reads.create_task(self._read(read, grant))
        await self._complete()

    async def _next_read(self) -> Read | None:
        await self._in_flight.acquire()
        while (read := self._progress.next_read()) is None:
            if self._progress.complete:
                return None
            self._changed.clear()
            await self._changed.wait()
        return read

    async def _read(self, read: Read, grant: Grant) -> None:
        partition = self._progress.partitions[read.partition]
        part = Slice.of(partition.plan, self._plan)
        page, seq = await self._search(part, read.page, grant)
        if page.rows:
            await self._writer.write(Kind.PAGE, seq, page.body, self._plan.run, read, page.rows)
            metrics.PAGES.labels(self._feed.name).inc()
            metrics.STONES.labels(self._feed.name).inc(page.rows)
        else:
            self._empty[read.partition] = (page, seq)
        partition.done(read.page, page.rows, page.ids)
        if partition.ended:
            await self._end(partition)
        self._in_flight.release()
        self._changed.set()

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

    async def _end(self, partition: PartitionProgress) -> None:
        # Empty pages are not in the log before the end, so a resumed run has read them again.
        empty, seq = self._empty.pop(partition.plan.number)
        end = Read(partition.plan.number, partition.end_page, 0)
        await self._writer.write(Kind.EMPTY, seq, empty.body, self._plan.run, end, 0)
        partition.closed = True
        log.info(
            "ingest.partition_ended",
            run=self._plan.run,
            partition=partition.plan.number,
            rows=partition.rows,
            estimate=partition.plan.estimate,
        )

    async def _complete(self) -> None:
        plan, progress = self._plan, self._progress
        fact = Complete(
            run=plan.run,
            feed=plan.feed,
            kind=plan.kind,
            watermark=plan.watermark,
            pages=progress.pages,
            rows=progress.rows,
        )
        await self._writer.write(
            Kind.COMPLETE, self._asker.budget.last_seq, msgspec.json.encode(fact), plan.run
        )
        log.info("ingest.run_complete", run=plan.run, feed=plan.feed, pages=fact.pages, rows=fact.rows)
