"""Facts of a run and their receipts, as the log would tell them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count

import msgspec

from connectors.runs.projection import Told
from connectors.runs.receipts import CODES
from runtime.postgres import Database
from schemas.facts import Complete, FactHeaders, Kind, Plan, PlanPartition, RunKind
from schemas.receipt import Outcome
from schemas.seq import make_seq

FEED = "nivoda-natural"
RUN = "the-run"
PAGE_SIZE = 50
NOW = datetime.now(UTC)


class RawLog:
    """Facts of one partition, with rising offsets and seqs."""

    def __init__(self) -> None:
        self.facts: list[Told] = []
        self._counter = count(1)

    def add(
        self,
        kind: Kind,
        value: bytes = b"",
        *,
        partition: int | None = None,
        page: int | None = None,
        reread: int = 0,
        rows: int | None = None,
        epoch: int = 1,
    ) -> Told:
        headers = FactHeaders(
            kind=kind,
            feed=FEED,
            epoch=epoch,
            seq=make_seq(epoch, next(self._counter)),
            run=RUN,
            partition=partition,
            page=page,
            reread=reread,
            rows=rows,
        )
        self.facts.append(Told(len(self.facts), NOW, headers, value))
        return self.facts[-1]

    def plan(self, partitions: int = 2, counted: int = 200) -> None:
        plan = Plan(
            run=RUN,
            feed=FEED,
            kind=RunKind.FULL,
            watermark=1_000,
            page_size=PAGE_SIZE,
            counted=counted,
            partitions=tuple(
                PlanPartition(
                    number=number,
                    dollars_per_carat_from=1000 * number,
                    dollars_per_carat_to=1000 * number + 999,
                    estimate=counted // partitions,
                )
                for number in range(partitions)
            ),
        )
        self.add(Kind.PLAN, msgspec.json.encode(plan))

    def complete(self, rereads: tuple[tuple[int, int, int], ...] = ()) -> None:
        done = Complete(
            run=RUN, feed=FEED, kind=RunKind.FULL, watermark=1_000, pages=4, rows=200, rereads=rereads
        )
        self.add(Kind.COMPLETE, msgspec.json.encode(done))

    def whole_run(self) -> None:
        """Two partitions of two pages, one of them read twice."""
        self.plan()
        for partition in range(2):
            for page in range(2):
                self.add(Kind.PAGE, partition=partition, page=page, rows=PAGE_SIZE)
        self.add(Kind.PAGE, partition=1, page=1, reread=1, rows=PAGE_SIZE)
        for partition in range(2):
            self.add(Kind.EMPTY, partition=partition, page=2, rows=0)
        self.complete(((1, 1, 1),))


def stones_of(fact: Told) -> list[str]:
    """The stones of a page; a re-read brings the same."""
    return [f"{fact.headers.partition}.{fact.headers.page}.{place}" for place in range(PAGE_SIZE)]


async def write_receipts(database: Database, log: RawLog, without: int | None = None) -> None:
    """A receipt for every page of the log but one: what came first is canonical, the re-read a duplicate."""
    seen: set[str] = set()
    async with database.transaction() as link:
        for fact in log.facts:
            if fact.headers.kind is not Kind.PAGE or fact.offset == without:
                continue
            stones = stones_of(fact)
            outcomes = [CODES[Outcome.DUPLICATE if stone in seen else Outcome.CANONICAL] for stone in stones]
            seen.update(stones)
            await link.execute(
                "INSERT INTO receipts VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
                *(RUN, fact.offset, FEED, fact.headers.partition, fact.headers.page),
                *(fact.headers.reread, fact.headers.seq, stones, outcomes),
            )
