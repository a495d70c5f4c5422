"""Jobs: long actions (re-pricing, replay, redrive, export, archive) in one table, whoever asked and whoever does them.

A command or a route submits a job; a process that can do its kind claims it, beats while it works and reports progress.
A runner that falls silent loses its job to the next one, which goes on from the job's checkpoint: so a handler must be
able to repeat what came after it. At most one job of a kind and subject is open at a time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import asyncpg

from runtime.postgres import Link
from schemas.errors import Invalid

RUNNER_LOST_AFTER_S: Final = 15.0
"""A runner that has not beaten for so long has lost its job."""

STALLED_AFTER_S: Final = 60.0
"""A job that has not moved for so long is shown as stalled."""


class State(StrEnum):
    """Where a job stands. The last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing follows."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `jobs`.

    Attributes:
        kind: what is done, e.g. `replay`; decides who can do it.
        subject: to what, e.g. a feed.
        request: the action's arguments.
        actor: who asked.
        done: how much is done, in `unit`.
        total: how much there is to do; null while nobody knows.
        checkpoint: where whoever takes the job over goes on.
        result: what came of it.
        failure: why it failed.
        runner: who does it.
        paced_from: when this runner's first progress was seen.
        paced_done: how much was done then.
        moved_at: when `done` last changed.
        beat_at: the runner's last sign of life.
        cancelled_by: who asked it to stop.
    """

    id: int
    kind: str
    subject: str
    request: dict[str, Any]
    actor: str
    state: State
    done: int
    total: int | None
    unit: str
    checkpoint: dict[str, Any] | None
    result: dict[str, Any] | None
    failure: str | None
    runner: str | None
    created_at: datetime
    started_at: datetime | None
    paced_from: datetime | None
    paced_done: int
    moved_at: datetime | None
    beat_at: datetime | None
    finished_at: datetime | None
    cancelled_by: str | None

    def eta_s(self, now: datetime | None = None) -> float | None:
        """Seconds until it is done at the pace so far, from the last report on; null where that cannot be told."""
        if self.state is not State.RUNNING or self.total is None or not (self.paced_from and self.moved_at):
            return None
        made = self.done - self.paced_done
        elapsed_s = (self.moved_at - self.paced_from).total_seconds()
        if made <= 0 or elapsed_s <= 0:
            return None
        since_s = ((now or datetime.now(UTC)) - self.moved_at).total_seconds()
        return max(0.0, (self.total - self.done) * elapsed_s / made - since_s)

    def notice(self, now: datetime | None = None) -> str | None:
        """What an operator should know: that it waits for somebody to do it, stalls, or has lost its runner."""
        now = now or datetime.now(UTC)
        if self.state is State.WAITING:
            waited_s = (now - self.created_at).total_seconds()
            return f"nobody has begun it for {waited_s:.0f} s" if waited_s > RUNNER_LOST_AFTER_S else None
        if self.state is not State.RUNNING:
            return None
        silent_s = (now - (self.beat_at or self.created_at)).total_seconds()
        if silent_s > RUNNER_LOST_AFTER_S:
            return f"{self.runner} has been silent for {silent_s:.0f} s"
        still_s = (now - (self.moved_at or self.created_at)).total_seconds()
        return f"has not moved for {still_s:.0f} s" if still_s > STALLED_AFTER_S else None


_FIELDS: Final = tuple(Job.__dataclass_fields__)
_ROW: Final = ", ".join(_FIELDS)

_INSERT: Final = f"""
INSERT INTO jobs (kind, subject, request, actor, unit, total) VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_ROW}"""

_CLAIM: Final = f"""
UPDATE jobs
SET state = 'running', runner = $1, paced_from = NULL, paced_done = done,
    started_at = clock_timestamp(), moved_at = clock_timestamp(), beat_at = clock_timestamp()
WHERE id = (
    SELECT id FROM jobs
    WHERE kind = ANY($2) AND ($3::text[] IS NULL OR subject = ANY($3)) AND ($4::bigint IS NULL OR id = $4)
      AND (state = 'waiting' OR (state = 'running' AND beat_at < clock_timestamp() - make_interval(secs => $5)))
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING {_ROW}"""

_REPORT: Final = """
UPDATE jobs
SET moved_at = CASE WHEN done = $3 THEN moved_at ELSE clock_timestamp() END,
    paced_from = CASE WHEN done = $3 THEN paced_from ELSE coalesce(paced_from, clock_timestamp()) END,
    paced_done = CASE WHEN paced_from IS NULL THEN $3 ELSE paced_done END,
    done = $3, total = coalesce($4, total), checkpoint = coalesce($5, checkpoint), beat_at = clock_timestamp()
WHERE id = $1 AND runner = $2 AND state = 'running'
RETURNING cancelled_by"""

_END: Final = """
UPDATE jobs
SET state = $3, result = $4, failure = $5, finished_at = clock_timestamp(), beat_at = clock_timestamp()
WHERE id = $1 AND runner = $2 AND state = 'running'"""

_RELEASE: Final = """
UPDATE jobs SET state = 'waiting', runner = NULL WHERE id = $1 AND runner = $2 AND state = 'running'"""

_CANCEL: Final = f"""
UPDATE jobs
SET cancelled_by = coalesce(cancelled_by, $2),
    state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state = 'waiting' THEN clock_timestamp() ELSE finished_at END
WHERE id = $1 AND state IN ('waiting', 'running') RETURNING {_ROW}"""


async def submit(
    link: Link,
    kind: str,
    subject: str,
    request: Mapping[str, Any],
    *,
    actor: str,
    unit: str,
    total: int | None = None,
) -> Job:
    """Ask for a job.

    Raises:
        Invalid: a job of this kind and subject is open already.
    """
    try:
        row = await link.fetchrow(_INSERT, kind, subject, json.dumps(request), actor, unit, total)
    except asyncpg.UniqueViolationError as error:
        raise Invalid("subject", f"a job {kind} of {subject} is open already", "busy") from error
    return _job(row)


async def claim(
    link: Link,
    runner: str,
    kinds: Collection[str],
    subjects: Collection[str] | None = None,
    job_id: int | None = None,
) -> Job | None:
    """Take the oldest job of these kinds that waits, or whose runner has fallen silent; null where there is none.

    Args:
        link: a connection.
        runner: who takes it, unlike any other runner's name.
        kinds: what the runner can do.
        subjects: to what it can; null for anything.
        job_id: this one and no other.
    """
    row = await link.fetchrow(
        _CLAIM,
        runner,
        list(kinds),
        None if subjects is None else list(subjects),
        job_id,
        RUNNER_LOST_AFTER_S,
    )
    return None if row is None else _job(row)


async def report(
    link: Link, job: Job, done: int, total: int | None, checkpoint: Mapping[str, Any] | None
) -> str | None:
    """Tell that one is alive and how far; who wants the job cancelled, if somebody does.

    Raises:
        Lost: the job has another runner by now, or an end.
    """
    saved = None if checkpoint is None else json.dumps(checkpoint)
    row = await link.fetchrow(_REPORT, job.id, job.runner, done, total, saved)
    if row is None:
        raise Lost(job.id)
    cancelled_by: str | None = row["cancelled_by"]
    return cancelled_by


async def end(
    link: Link, job: Job, state: State, *, result: Mapping[str, Any] | None = None, failure: str | None = None
) -> None:
    """Write a job's end. Raises `Lost` as `report` does."""
    saved = None if result is None else json.dumps(result)
    if await link.execute(_END, job.id, job.runner, state, saved, failure) != "UPDATE 1":
        raise Lost(job.id)


async def release(link: Link, job: Job) -> None:
    """Give a job back unfinished: the next runner goes on from its checkpoint."""
    await link.execute(_RELEASE, job.id, job.runner)


async def cancel(link: Link, job_id: int, actor: str) -> Job:
    """Ask a job to stop; one that waits is cancelled at once, one that runs at its next report.

    Raises:
        Invalid: there is no such job, or it has an end.
    """
    row = await link.fetchrow(_CANCEL, job_id, actor)
    if row is None:
        job = await get(link, job_id)
        raise Invalid("id", f"job {job_id} is {job.state} already", "ended")
    return _job(row)


async def get(link: Link, job_id: int) -> Job:
    """One job. Raises `Invalid` when there is none of this id."""
    row = await link.fetchrow(f"SELECT {_ROW} FROM jobs WHERE id = $1", job_id)
    if row is None:
        raise Invalid("id", f"there is no job {job_id}", "unknown")
    return _job(row)


async def last(link: Link, kind: str, subject: str) -> Job | None:
    """The newest job of a kind and subject, open or ended; null where there never was one."""
    row = await link.fetchrow(
        f"SELECT {_ROW} FROM jobs WHERE kind = $1 AND subject = $2 ORDER BY id DESC LIMIT 1", kind, subject
    )
    return None if row is None else _job(row)


async def recent(link: Link, *, open_only: bool = False, limit: int = 50) -> list[Job]:
    """Jobs, newest first."""
    rows = await link.fetch(
        f"SELECT {_ROW} FROM jobs WHERE NOT $1 OR state IN ('waiting', 'running') ORDER BY id DESC LIMIT $2",
        open_only,
        limit,
    )
    return [_job(row) for row in rows]


class Lost(Exception):
    """The job is not this runner's any more: it was silent for too long, and another one goes on."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"job {job_id} has another runner")


def _job(row: Any) -> Job:
    values = dict(zip(_FIELDS, row, strict=True))
    for name in ("request", "checkpoint", "result"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**{**values, "state": State(values["state"])})


def shown(job: Job) -> dict[str, Any]:
    """A job for people and programs, its times as RFC 3339, with what follows from them."""
    now = datetime.now(UTC)
    fields: dict[str, Any] = {name: getattr(job, name) for name in _FIELDS}
    for name, value in fields.items():
        if isinstance(value, datetime):
            fields[name] = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    eta_s = job.eta_s(now)
    return {**fields, "eta_s": None if eta_s is None else round(eta_s, 1), "notice": job.notice(now)}
