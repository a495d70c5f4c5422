"""Jobs in a real Postgres: one runner at a time, progress, cancellation, a runner that dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from runtime import jobs
from runtime.job_runner import Cancelled, JobRunner, Task, carry_out
from runtime.jobs import Job, Lost, State
from runtime.postgres import Database
from schemas.errors import Invalid, Retriable


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        yield opened


async def submitted(db: Database, kind: str = "count", subject: str = "a") -> Job:
    async with db.link() as link:
        return await jobs.submit(link, kind, subject, {"up_to": 3}, actor="ann", unit="steps", total=3)


async def claimed(db: Database, runner: str = "one", kind: str = "count") -> Job:
    async with db.link() as link:
        job = await jobs.claim(link, runner, [kind])
    assert job is not None
    return job


async def looked_at(db: Database, job: Job) -> Job:
    async with db.link() as link:
        return await jobs.get(link, job.id)


async def until(db: Database, job: Job, state: State) -> Job:
    while True:
        if (now := await looked_at(db, job)).state is state:
            return now
        await asyncio.sleep(0.05)


async def test_a_job_is_done_once_and_says_by_whom(db: Database) -> None:
    async def count(task: Task) -> Mapping[str, Any]:
        for step in range(task.job.request["up_to"]):
            task.progress(step + 1)
        return {"counted": 3}

    job = await submitted(db)
    runners = [asyncio.create_task(JobRunner(db, name, {"count": count}).serve()) for name in ("a", "b")]
    done = await until(db, job, State.DONE)
    for runner in runners:
        runner.cancel()
    await asyncio.wait(runners)
    assert (done.done, done.total, done.result, done.actor) == (3, 3, {"counted": 3}, "ann")
    assert done.failure is None
    assert done.eta_s() is None


async def test_a_second_job_of_the_same_subject_is_refused_until_the_first_has_ended(db: Database) -> None:
    first = await submitted(db)
    await submitted(db, subject="b")
    with pytest.raises(Invalid, match="open already"):
        await submitted(db)
    async with db.link() as link:
        assert (await jobs.cancel(link, first.id, "bob")).state is State.CANCELLED
    await submitted(db)
    async with db.link() as link:
        with pytest.raises(Invalid, match="cancelled already"):
            await jobs.cancel(link, first.id, "bob")


async def test_a_running_job_is_cancelled_at_its_next_report(db: Database) -> None:
    seen: list[str] = []

    async def wait(task: Task) -> None:
        while True:
            await asyncio.sleep(0.02)
            try:
                task.progress(1)
            except Cancelled as cause:
                seen.append(cause.by)
                raise

    job = await submitted(db)
    work = asyncio.create_task(carry_out(db, await claimed(db), wait))
    async with db.link() as link:
        await jobs.cancel(link, job.id, "bob")
    assert await work is State.CANCELLED
    assert seen == ["bob"]
    assert (await looked_at(db, job)).cancelled_by == "bob"


async def test_the_job_of_a_silent_runner_goes_on_from_its_checkpoint(db: Database) -> None:
    job = await submitted(db)
    dead = await claimed(db, "dead")
    async with db.link() as link:
        await jobs.report(link, dead, 2, None, {"next": 2})
        assert await jobs.claim(link, "two", ["count"]) is None
        silent = timedelta(seconds=jobs.RUNNER_LOST_AFTER_S + 1)
        await link.execute("UPDATE jobs SET beat_at = beat_at - $1::interval", silent)
        assert "dead has been silent" in (await jobs.get(link, job.id)).notice()  # type: ignore[operator]
        heir = await jobs.claim(link, "two", ["count"])
        assert heir is not None
        assert (heir.done, heir.paced_done, heir.checkpoint) == (2, 2, {"next": 2})
        with pytest.raises(Lost):
            await jobs.report(link, dead, 3, None, None)
        with pytest.raises(Lost):
            await jobs.end(link, dead, State.DONE)
    assert (await looked_at(db, job)).state is State.RUNNING


async def test_a_stopping_process_gives_its_job_back(db: Database) -> None:
    async def wait(task: Task) -> None:
        task.progress(1, checkpoint={"next": 1})
        await asyncio.sleep(60)

    job = await submitted(db)
    runner = asyncio.create_task(JobRunner(db, "one", {"count": wait}).serve())
    await until(db, job, State.RUNNING)
    await asyncio.sleep(0.1)
    runner.cancel()
    await asyncio.wait([runner])
    given_back = await looked_at(db, job)
    assert (given_back.state, given_back.done, given_back.checkpoint) == (State.WAITING, 1, {"next": 1})


@pytest.mark.parametrize("error", [Retriable("Kafka does not answer"), ValueError("a mistake of ours")])
async def test_a_failure_says_why(db: Database, error: Exception) -> None:
    async def fail(_task: Task) -> None:
        raise error

    job = await submitted(db)
    assert await carry_out(db, await claimed(db), fail) is State.FAILED
    assert str(error) in ((await looked_at(db, job)).failure or "")


async def test_a_runner_takes_only_what_it_can_do(db: Database) -> None:
    await submitted(db, kind="replay", subject="feed-a")
    async with db.link() as link:
        assert await jobs.claim(link, "one", ["export"]) is None
        assert await jobs.claim(link, "one", ["replay"], ["feed-b"]) is None
        assert await jobs.claim(link, "one", ["replay"], ["feed-a"]) is not None


async def test_the_pace_since_the_first_progress_tells_when_it_is_done(db: Database) -> None:
    await submitted(db)
    job = await claimed(db)
    async with db.link() as link:
        # The first progress begins the pace: what came before it was joining and loading.
        await jobs.report(link, job, 1, 7, None)
        assert (await jobs.get(link, job.id)).eta_s() is None
        await link.execute("UPDATE jobs SET paced_from = paced_from - interval '10 s'")
        await jobs.report(link, job, 3, None, None)
        now = await jobs.get(link, job.id)
    assert now.moved_at is not None
    assert now.eta_s(now.moved_at) == pytest.approx(20, abs=1)
    assert now.eta_s(now.moved_at + timedelta(seconds=5)) == pytest.approx(15, abs=1)
    assert now.notice(now.moved_at + timedelta(seconds=jobs.RUNNER_LOST_AFTER_S - 1)) is None


async def test_postgres_away_is_retriable() -> None:
    async with Database("postgresql://nobody@127.0.0.1:1/none", "test") as away:
        with pytest.raises(Retriable, match="does not answer"):
            async with away.link():
                pass
