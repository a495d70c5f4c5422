"""Re-pricing jobs: asked for where stones wait, followed to their end, stopped by an operator and by newer numbers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from runtime import jobs
from runtime.job_runner import JobRunner
from runtime.jobs import Job, State
from runtime.postgres import Database
from streams.repricing import KIND, Repricing

FEED = "nivoda-natural"


class Stock:
    """Stones that wait for a number, as the owner's loop knows them."""

    def __init__(self) -> None:
        self.number = 2
        self.waiting = 100
        self.cancelled: list[tuple[str, int]] = []

    def head(self) -> tuple[int, str]:
        return self.number, "ann"

    def cancel(self, feed: str, number: int) -> None:
        self.cancelled.append((feed, number))

    def left(self, feed: str, number: int) -> int:
        return self.waiting if number == self.number else 0


@asynccontextmanager
async def at_work(dsn: str, stock: Stock) -> AsyncIterator[Database]:
    database = Database(dsn, "test")
    repricing = Repricing(database, lambda: [FEED], stock.head, stock.left, stock.cancel)
    runner = JobRunner(database, "test", {KIND: repricing.run}, lambda: [FEED])
    work = [asyncio.create_task(repricing.serve()), asyncio.create_task(runner.serve())]
    try:
        yield database
    finally:
        for task in work:
            task.cancel()
        await asyncio.wait(work)
        await database.close()


async def until(database: Database, held: Callable[[Job], bool]) -> Job:
    while True:
        async with database.link() as link:
            job = await jobs.last(link, KIND, FEED)
        if job is not None and held(job):
            return job
        await asyncio.sleep(0.05)


async def test_a_job_follows_the_stones_to_the_last_one(database: str) -> None:
    stock = Stock()
    async with at_work(database, stock) as link:
        job = await until(link, lambda job: job.state is State.RUNNING and job.total == 100)
        assert (job.actor, job.request, job.unit) == ("ann", {"number": 2}, "stones")
        stock.waiting = 40
        await until(link, lambda job: job.done == 60)
        stock.waiting = 0
        ended = await until(link, lambda job: job.state is State.DONE)
        assert (ended.done, ended.result) == (100, {"stones": 100})


async def test_a_stock_that_is_done_before_anybody_follows_counts_all_the_same(database: str) -> None:
    class Quick(Stock):
        def left(self, feed: str, number: int) -> int:
            left, self.waiting = self.waiting, 0
            return left

    async with at_work(database, Quick()) as link:
        ended = await until(link, lambda job: job.state is State.DONE)
        assert (ended.done, ended.total, ended.result) == (100, 100, {"stones": 100})


async def test_a_newer_number_ends_the_job_and_begins_its_own(database: str) -> None:
    stock = Stock()
    async with at_work(database, stock) as link:
        first = await until(link, lambda job: job.state is State.RUNNING)
        stock.number = 3
        second = await until(link, lambda job: job.request == {"number": 3})
        async with link.link() as postgres:
            ended = await jobs.get(postgres, first.id)
        assert (ended.state, ended.result) == (State.DONE, {"superseded_by": 3, "left": 0})
        assert second.id != first.id


async def test_a_cancelled_job_stops_the_feed_for_every_owner_until_the_next_number(database: str) -> None:
    stock = Stock()
    async with at_work(database, stock) as link:
        job = await until(link, lambda job: job.state is State.RUNNING)
        async with link.link() as postgres:
            await jobs.cancel(postgres, job.id, "bob")
        await until(link, lambda job: job.state is State.CANCELLED)
        assert stock.cancelled == [(FEED, 2)]
    stock.cancelled.clear()
    async with at_work(database, stock) as link:
        async with asyncio.timeout(20):
            while True:
                if stock.cancelled == [(FEED, 2)]:
                    break
                await asyncio.sleep(0.05)
        stock.number = 3
        await until(link, lambda job: job.request == {"number": 3})


async def test_a_job_that_is_cancelled_before_it_begins_stops_the_feed_too(database: str) -> None:
    stock = Stock()
    async with Database(database, "test") as link:
        repricing = Repricing(link, lambda: [FEED], stock.head, stock.left, stock.cancel)
        asking = asyncio.create_task(repricing.serve())
        job = await until(link, lambda job: job.state is State.WAITING)
        async with link.link() as postgres:
            await jobs.cancel(postgres, job.id, "bob")
        async with asyncio.timeout(20):
            while True:
                if stock.cancelled == [(FEED, 2)]:
                    break
                await asyncio.sleep(0.05)
        asking.cancel()
