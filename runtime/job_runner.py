"""Doing jobs: claim, beat, report, end. A handler is a coroutine function from a `Task` to the job's result."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from itertools import count
from typing import Any, Final
from uuid import uuid4

import structlog

from runtime import jobs
from runtime.jobs import Job, Lost, State
from runtime.postgres import Database
from schemas.errors import AdamasError, Retriable

log = structlog.stdlib.get_logger(__name__)

BEAT_EVERY_S: Final = 1.0
BEAT_AT_FIRST_S: Final = 0.25
"""Between beats of a job's first half minute: a short job's end can only be foretold from fine steps."""
_FIRST_BEATS: Final = 120
LOOK_EVERY_S: Final = 1.0


class Cancelled(Exception):
    """Somebody asked for the job to stop.

    Args:
        by: who.
    """

    def __init__(self, by: str) -> None:
        super().__init__(f"cancelled by {by}")
        self.by = by


class NotMine(Exception):
    """The runner cannot go on with its job; another one shall. Raised by handlers."""


class Task:
    """A job in a handler's hands. `progress` may be called from any thread, as often as one likes.

    Attributes:
        job: as it was when it was claimed; `job.checkpoint` tells where to go on.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._done = job.done
        self._total = job.total
        self._checkpoint = job.checkpoint
        self._stop: Exception | None = None

    def progress(
        self, done: int, *, total: int | None = None, checkpoint: Mapping[str, Any] | None = None
    ) -> None:
        """Say how far the job is; written within about a second.

        Raises:
            Cancelled: somebody asked for the job to stop: put things in order and let it pass.
            Lost: another runner goes on with the job: touch nothing more.
        """
        self._done = done
        self._total = total if total is not None else self._total
        self._checkpoint = dict(checkpoint) if checkpoint is not None else self._checkpoint
        if self._stop is not None:
            raise self._stop

    async def beat(self, database: Database) -> None:
        """Write how far the job is; hear whether it is to stop. Postgres away is no reason to."""
        try:
            async with database.link() as link:
                cancelled_by = await jobs.report(link, self.job, self._done, self._total, self._checkpoint)
        except Lost as error:
            self._stop = error
        except Retriable as error:
            log.warning("jobs.beat_missed", job=self.job.id, reason=str(error))
        else:
            if cancelled_by is not None:
                self._stop = Cancelled(cancelled_by)


Handler = Callable[[Task], Awaitable[Mapping[str, Any] | None]]
"""Does a job and returns its result. What it raises is the job's failure."""


def runner_name(process: str) -> str:
    """A name no other runner has."""
    return f"{process}@{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"


async def carry_out(database: Database, job: Job, handler: Handler) -> State | None:
    """Do a claimed job to its end and write that; its final state, null where it was lost to another runner.

    A cancellation of this coroutine (the process stops) gives the job back for the next runner.
    """
    task = Task(job)
    beating = asyncio.create_task(_beat(database, task))
    log.info("jobs.begun", job=job.id, kind=job.kind, subject=job.subject, actor=job.actor)
    try:
        state, result, failure = await _outcome(task, handler)
    except (asyncio.CancelledError, NotMine) as cause:
        await _stopped(beating)
        await _give_back(database, task)
        if isinstance(cause, NotMine):
            return None
        raise
    await _stopped(beating)
    if state is None:
        return None
    await task.beat(database)
    await _write_end(database, job, state, result, failure)
    log.info("jobs.ended", job=job.id, kind=job.kind, subject=job.subject, state=state, failure=failure)
    return state


async def _outcome(task: Task, handler: Handler) -> tuple[State | None, Mapping[str, Any] | None, str | None]:
    try:
        return State.DONE, await handler(task), None
    except Lost:
        log.warning("jobs.lost", job=task.job.id)
        return None, None, None
    except Cancelled as cause:
        return State.CANCELLED, None, str(cause)
    except NotMine:
        raise
    except AdamasError as error:
        return State.FAILED, None, str(error)
    except Exception as error:
        log.exception("jobs.failed", job=task.job.id, kind=task.job.kind)
        return State.FAILED, None, f"{type(error).__name__}: {error}"


async def _give_back(database: Database, task: Task) -> None:
    await task.beat(database)
    try:
        async with database.link() as link:
            await jobs.release(link, task.job)
    except Retriable as error:
        # It is taken up all the same, once this runner has been silent for long enough.
        log.warning("jobs.not_given_back", job=task.job.id, reason=str(error))


async def _write_end(
    database: Database, job: Job, state: State, result: Mapping[str, Any] | None, failure: str | None
) -> None:
    while True:
        try:
            async with database.link() as link:
                await jobs.end(link, job, state, result=result, failure=failure)
        except Retriable as error:
            log.warning("jobs.end_unwritten", job=job.id, reason=str(error))
            await asyncio.sleep(BEAT_EVERY_S)
        except Lost:
            log.warning("jobs.lost", job=job.id)
            return
        else:
            return


async def _beat(database: Database, task: Task) -> None:
    for number in count():
        await asyncio.sleep(BEAT_AT_FIRST_S if number < _FIRST_BEATS else BEAT_EVERY_S)
        await task.beat(database)


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


class JobRunner:
    """Looks for jobs and does them, each kind one at a time.

    Args:
        database: where the jobs are.
        process: the process's name, shown as the runner's.
        handlers: what it can do, by kind.
        subjects: to what it can, asked at each look; null for anything.
    """

    def __init__(
        self,
        database: Database,
        process: str,
        handlers: Mapping[str, Handler],
        subjects: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        self._database = database
        self._name = runner_name(process)
        self._handlers = handlers
        self._subjects = subjects
        self._busy: dict[str, asyncio.Task[State | None]] = {}

    async def serve(self) -> None:
        """Do jobs until cancelled; those under way are then given back."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            under_way = list(self._busy.values())
            for task in under_way:
                task.cancel()
            if under_way:
                await asyncio.wait(under_way)

    async def _look(self) -> None:
        self._busy = {kind: task for kind, task in self._busy.items() if not task.done()}
        free = [kind for kind in self._handlers if kind not in self._busy]
        if not free:
            return
        try:
            async with self._database.link() as link:
                job = await jobs.claim(link, self._name, free, self._subjects())
        except Retriable as error:
            log.warning("jobs.postgres_away", reason=str(error))
            return
        if job is not None:
            self._busy[job.kind] = asyncio.create_task(
                carry_out(self._database, job, self._handlers[job.kind])
            )
