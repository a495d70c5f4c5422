"""What an operator may do to runs: one function an action, for the command and the route alike.

An action is a row with its actor and its time. Ingest, the only writer of the log, does it when the time has come, and
leaves what came of it; so a delayed action, or one asked for while ingest is away, survives every restart.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from connectors.runs import store
from connectors.runs.states import OPEN, State
from runtime.postgres import Database, Link
from schemas.errors import Invalid
from schemas.facts import RunKind
from schemas.feeds import FEEDS


class Action(StrEnum):
    """What may be asked for."""

    START = "start"
    CANCEL = "cancel"
    RETRY = "retry"
    FORCE = "force"
    DELETE = "delete"
    APPROVE = "approve"
    REFUSE = "refuse"
    SET_WATERMARK = "set-watermark"


@dataclass(frozen=True, slots=True)
class Asked:
    """An action as it was asked for.

    Attributes:
        value: what it takes beyond its run or feed.
        outcome: what came of it, `done` or the reason why not; none while it waits.
    """

    id: int
    action: Action
    run: str | None
    feed: str | None
    value: dict[str, Any]
    actor: str
    asked_at: datetime
    due_at: datetime
    done_at: datetime | None
    outcome: str | None


_INSERT: Final = """
INSERT INTO run_actions (action, run, feed, value, actor, due_at) VALUES ($1, $2, $3, $4, $5, coalesce($6, now()))
RETURNING *"""


async def start(link: Link, feed: str, kind: str, actor: str, *, at: datetime | None = None) -> Asked:
    """Ask for a run now, or at a time.

    Raises:
        Invalid: no such feed or kind.
    """
    _check_feed(feed)
    if kind not in list(RunKind):
        raise Invalid("kind", f"must be one of {', '.join(RunKind)}, not {kind!r}")
    return await _ask(link, Action.START, actor, feed=feed, value={"kind": kind}, at=at)


async def cancel(
    link: Link, run: str, actor: str, *, cause: str = "cancelled", at: datetime | None = None
) -> Asked:
    """End an open run without completing it.

    Raises:
        Invalid: there is no such run, or it has ended.
    """
    await _must_be(link, run, *OPEN)
    return await _ask(link, Action.CANCEL, actor, run=run, value={"cause": cause}, at=at)


async def retry(
    link: Link, run: str, actor: str, *, partition: int | None = None, at: datetime | None = None
) -> Asked:
    """Take a failed run up again, or read one partition of a running one once more.

    Raises:
        Invalid: there is no such run, it is in no state for this, or a running one's partition is not named.
    """
    state = await _must_be(link, run, State.FAILED, State.RUNNING)
    if state is State.RUNNING and partition is None:
        raise Invalid("partition", "must be named: the run is under way, and retries by itself what fails")
    return await _ask(link, Action.RETRY, actor, run=run, value={"partition": partition}, at=at)


async def force(link: Link, run: str, actor: str, *, at: datetime | None = None) -> Asked:
    """Complete a running run as it stands. It moves no watermark and retires nothing.

    Raises:
        Invalid: there is no such run, or it is not under way.
    """
    await _must_be(link, run, State.RUNNING)
    return await _ask(link, Action.FORCE, actor, run=run, at=at)


async def delete(link: Link, run: str, actor: str, *, at: datetime | None = None) -> Asked:
    """Forget a run that has ended, its pages and receipts. The log keeps its facts.

    Raises:
        Invalid: there is no such run, or it is still open.
    """
    await _must_be(link, run, State.COMPLETED, State.FAILED, State.CANCELLED)
    return await _ask(link, Action.DELETE, actor, run=run, at=at)


async def approve(link: Link, run: str, actor: str, *, at: datetime | None = None) -> Asked:
    """Let a sweep retire what it holds back because it is so much.

    Raises:
        Invalid: there is no such run, or it waits for no approval.
    """
    await _must_wait(link, run)
    return await _ask(link, Action.APPROVE, actor, run=run, at=at)


async def refuse(link: Link, run: str, actor: str, *, at: datetime | None = None) -> Asked:
    """Let a sweep retire nothing; the next one looks again.

    Raises:
        Invalid: there is no such run, or it waits for no approval.
    """
    await _must_wait(link, run)
    return await _ask(link, Action.REFUSE, actor, run=run, at=at)


async def set_watermark(
    link: Link, feed: str, watermark: datetime, actor: str, *, at: datetime | None = None
) -> Asked:
    """Let the next incremental run of a feed begin elsewhere, by the vendor's clock.

    Raises:
        Invalid: no such feed, or a time without a zone.
    """
    _check_feed(feed)
    if watermark.tzinfo is None:
        raise Invalid("watermark", "must name its zone, as 2026-03-01T12:00:00Z")
    return await _ask(
        link, Action.SET_WATERMARK, actor, feed=feed, value={"watermark": watermark.isoformat()}, at=at
    )


async def get(link: Link, number: int) -> Asked:
    """An action by its number.

    Raises:
        Invalid: there is none.
    """
    row = await link.fetchrow("SELECT * FROM run_actions WHERE id = $1", number)
    if row is None:
        raise Invalid("id", f"there is no action {number}", "unknown")
    return to_asked(row)


async def recent(link: Link, limit: int = 50) -> list[Asked]:
    """The actions, newest first."""
    return [
        to_asked(row)
        for row in await link.fetch("SELECT * FROM run_actions ORDER BY id DESC LIMIT $1", limit)
    ]


async def wait_done(database: Database, asked: Asked, timeout_s: float) -> Asked:
    """The action once it is done, or as it is when the time is up."""
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while asked.done_at is None and loop.time() < until:
        await asyncio.sleep(0.2)
        async with database.link() as link:
            asked = await get(link, asked.id)
    return asked


def to_asked(row: Any) -> Asked:
    """A row of `run_actions`."""
    return Asked(**{**row, "action": Action(row["action"]), "value": json.loads(row["value"])})


async def _ask(
    link: Link,
    action: Action,
    actor: str,
    *,
    run: str | None = None,
    feed: str | None = None,
    value: dict[str, Any] | None = None,
    at: datetime | None = None,
) -> Asked:
    if at is not None and at.tzinfo is None:
        raise Invalid("at", "must name its zone, as 2026-03-01T12:00:00Z")
    row = await link.fetchrow(_INSERT, action, run, feed, json.dumps(value or {}), actor, at)
    return to_asked(row)


def _check_feed(feed: str) -> None:
    if feed not in FEEDS:
        raise Invalid("feed", f"must be one of {', '.join(FEEDS)}, not {feed!r}")


async def _must_be(link: Link, run: str, *states: State) -> State:
    state = (await store.get(link, run)).state
    if state not in states:
        raise Invalid("run", f"is {state}; this is for one that is {' or '.join(sorted(states))}", "ended")
    return state


async def _must_wait(link: Link, run: str) -> None:
    found = await store.get(link, run)
    if found.retirement != "waiting":
        raise Invalid(
            "run", f"waits for no approval (its retirement: {found.retirement or 'none yet'})", "ended"
        )
