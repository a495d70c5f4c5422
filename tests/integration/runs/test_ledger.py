"""What the ledger says when the log, or the receipts, are not as they must be."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from connectors.runs import store
from connectors.runs.ledger import Ledger, Verdict, ledger_of
from connectors.runs.projection import Projection
from runtime.postgres import Database
from schemas.facts import Kind
from schemas.feeds import FEEDS
from tests.integration.runs.facts import FEED, RUN, RawLog, write_receipts

SLOT = FEEDS[FEED].slot


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        yield opened


async def project(pool: Database, log: RawLog, topic_id: str = "log-1") -> Projection:
    projection = Projection(pool, "raw", topic_id)
    await projection.open([SLOT])
    await projection.take({SLOT: log.facts})
    return projection


async def read(pool: Database) -> Ledger:
    async with pool.link() as link:
        return await ledger_of(link, RUN, off_limit_percent=1)


async def test_a_whole_run_balances_and_a_stone_counts_once(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    await project(pool, log)
    await write_receipts(pool, log)
    ledger = await read(pool)
    assert (ledger.verdict, ledger.gaps) == (Verdict.GREEN, ())
    assert (ledger.pages, ledger.items, ledger.receipted, ledger.distinct) == (5, 250, 250, 200)
    assert ledger.outcomes["canonical"] == 200
    assert ledger.outcomes["duplicate"] == 0


async def test_a_page_that_is_not_in_the_log_is_named(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    lost = next(fact for fact in log.facts if fact.headers.kind is Kind.PAGE and fact.headers.partition == 1)
    log.facts.remove(lost)
    await project(pool, log)
    await write_receipts(pool, log)
    ledger = await read(pool)
    assert ledger.verdict is Verdict.RED
    assert [(gap.what, gap.partition, gap.page) for gap in ledger.gaps] == [("page", 1, 0)]


async def test_a_lost_reread_is_named(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    log.facts.remove(next(fact for fact in log.facts if fact.headers.reread == 1))
    await project(pool, log)
    await write_receipts(pool, log)
    assert [(gap.what, gap.partition, gap.page, gap.reread) for gap in (await read(pool)).gaps] == [
        ("page", 1, 1, 1)
    ]


async def test_a_page_twice_in_the_log_is_named_and_counts_once(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    log.add(Kind.PAGE, partition=0, page=1, rows=50)
    await project(pool, log)
    await write_receipts(pool, log)
    ledger = await read(pool)
    assert (ledger.verdict, ledger.distinct, ledger.items, ledger.doubled) == (Verdict.GREEN, 200, 250, 1)
    assert [(gap.what, gap.partition, gap.page, gap.raw_offsets) for gap in ledger.gaps] == [
        ("doubled", 0, 1, (2, 9))
    ]


async def test_a_lost_receipt_is_named(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    await project(pool, log)
    await write_receipts(pool, log, without=3)
    ledger = await read(pool)
    assert ledger.verdict is Verdict.RED
    assert [(gap.what, gap.partition, gap.page, gap.raw_offsets) for gap in ledger.gaps] == [
        ("receipt", 1, 0, (3,))
    ]
    assert (ledger.items, ledger.receipted) == (250, 200)


async def test_receipts_that_both_claim_a_stone_count_it_once(pool: Database) -> None:
    """A crash between the receipts of two pages that share a stone lets each call it its own."""
    log = RawLog()
    log.whole_run()
    await project(pool, log)
    await write_receipts(pool, log)
    async with pool.link() as link:
        await link.execute("UPDATE receipts SET outcomes = array_fill(0::smallint, ARRAY[50])")
    ledger = await read(pool)
    assert (ledger.verdict, ledger.distinct, sum(ledger.outcomes.values())) == (Verdict.GREEN, 200, 200)


async def test_a_count_that_is_far_off_is_amber(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    await project(pool, log)
    await write_receipts(pool, log)
    async with pool.link() as link:
        await link.execute("UPDATE runs SET counted = 203")
    assert (await read(pool)).verdict is Verdict.AMBER


async def test_the_log_told_twice_changes_nothing_and_completes_once(pool: Database) -> None:
    log = RawLog()
    log.whole_run()
    await project(pool, log)
    await project(pool, log)
    async with pool.link() as link:
        await link.execute("UPDATE log_positions SET next_offset = 0")
    await project(pool, log)
    async with pool.link() as link:
        steps = await store.transitions(link, RUN)
        assert await link.fetchval("SELECT count(*) FROM run_pages") == 5
        assert (await store.get(link, RUN)).watermark == await store.watermark_of(link, FEED)
    assert [(step["from_state"], step["to_state"]) for step in steps] == [
        (None, "pending"),
        ("pending", "running"),
        ("running", "completed"),
    ]


async def test_a_page_of_a_writer_that_lost_the_lease_does_not_count(pool: Database) -> None:
    log = RawLog()
    log.plan()
    log.add(Kind.LEASE, epoch=2)
    log.add(Kind.PAGE, partition=0, page=0, rows=50, epoch=1)
    log.add(Kind.PAGE, partition=0, page=1, rows=50, epoch=2)
    await project(pool, log)
    async with pool.link() as link:
        progress = await store.progress_of(link, RUN)
    assert progress is not None
    assert progress.pages == 1
    assert progress.next_read() is not None


async def test_a_raw_log_made_anew_ends_the_runs_of_the_former_one(pool: Database) -> None:
    log = RawLog()
    log.plan()
    await project(pool, log)
    await project(pool, RawLog(), topic_id="log-2")
    async with pool.link() as link:
        assert (await store.get(link, RUN)).state == "failed"


async def test_a_page_in_parts_is_one_read_of_all_its_items(pool: Database) -> None:
    log = RawLog()
    log.plan()
    for reread in (0, 100, 201, 301):
        log.add(Kind.PAGE, partition=0, page=0, reread=reread, rows=50)
    for partition in range(2):
        log.add(Kind.EMPTY, partition=partition, page=1 - partition, rows=0)
    log.complete(((0, 0, 1),))
    await project(pool, log)
    await write_receipts(pool, log)
    ledger = await read(pool)
    assert (ledger.missing, ledger.items, ledger.receipted) == (0, 200, 200)
    async with pool.link() as link:
        actual = "SELECT actual FROM run_partitions WHERE run = $1 AND number = 0"
        assert await link.fetchval(actual, RUN) == 100
