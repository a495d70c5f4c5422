"""Runs as Postgres has them: which is next, how far it is, which hang, and the list that operators see."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from connectors.ingest.progress import RunProgress
from connectors.runs.states import State
from runtime.postgres import Link
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind, Plan, RunKind, Split

_COLUMNS: Final = (
    "run, feed, kind, state, attempt, requested_at, requested_by, due_at, changed_at, moved_at, watermark, updated_from,"
    " counted, first_seq, ended_at, ended_offset, pages, rows, forced, ledger, retirement, retirement_detail,"
    " retirement_actor, archived_at"
)


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `runs`.

    Attributes:
        attempt: which attempt this is, from 1.
        due_at: not before this time.
        moved_at: when its last page came into the log.
        watermark: its upper time by the vendor's clock.
        first_seq: seq of its first grant; a sweep's retirement carries it.
        ended_offset: offset of its completion in the raw log.
        ledger: the settled ledger.
        retirement: none, `waiting` (for an approval), `approved`, `commanded` (in the log), `nothing`, `skipped`.
    """

    run: str
    feed: str
    kind: RunKind
    state: State
    attempt: int
    requested_at: datetime
    requested_by: str
    due_at: datetime
    changed_at: datetime
    moved_at: datetime
    watermark: datetime | None
    updated_from: datetime | None
    counted: int | None
    first_seq: int | None
    ended_at: datetime | None
    ended_offset: int | None
    pages: int | None
    rows: int | None
    forced: bool
    ledger: dict[str, Any] | None
    retirement: str | None
    retirement_detail: dict[str, Any] | None
    retirement_actor: str | None
    archived_at: datetime | None


def new_name(feed: str, kind: RunKind, at: datetime) -> str:
    """A name for a run: feed, kind, time, and something no other run has."""
    return f"{feed}-{kind}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


async def get(link: Link, run: str) -> Run:
    """A run.

    Raises:
        Invalid: there is none of this name.
    """
    row = await link.fetchrow(f"SELECT {_COLUMNS} FROM runs WHERE run = $1", run)
    if row is None:
        raise Invalid("run", f"there is no run {run}", "unknown")
    return to_run(row)


async def next_run(link: Link, feed: str, kind: RunKind) -> Run | None:
    """What a feed's runs of a kind do next: the one that runs, or the first that waits and is due."""
    row = await link.fetchrow(
        f"""SELECT {_COLUMNS} FROM runs
            WHERE feed = $1 AND kind = $2 AND state IN ('pending', 'running') AND (state = 'running' OR due_at <= now())
            ORDER BY state = 'running' DESC, due_at, run LIMIT 1""",
        *(feed, kind),
    )
    return None if row is None else to_run(row)


async def recent(
    link: Link,
    *,
    feed: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> list[Run]:
    """Runs, newest first; `before` is the last one's `requested_at` of the page before."""
    # Only the conditions that are asked for: a plan for all of them at once uses no index.
    wanted = {"feed =": feed, "kind =": kind, "state =": state, "requested_at <": before}
    asked = {test: value for test, value in wanted.items() if value is not None}
    where = " AND ".join(f"{test} ${number}" for number, test in enumerate(asked, 1)) or "true"
    rows = await link.fetch(
        f"SELECT {_COLUMNS} FROM runs WHERE {where} ORDER BY requested_at DESC, run DESC LIMIT ${len(asked) + 1}",
        *asked.values(),
        limit,
    )
    return [to_run(row) for row in rows]


async def stuck(link: Link, after_s: float) -> list[Run]:
    """Runs under way that brought nothing into the log for so long, and those that wait although they are due."""
    rows = await link.fetch(
        f"""SELECT {_COLUMNS} FROM runs
            WHERE (state = 'running' AND greatest(moved_at, changed_at) < now() - make_interval(secs => $1))
               OR (state = 'pending' AND greatest(due_at, changed_at) < now() - make_interval(secs => $1))
            ORDER BY requested_at""",
        after_s,
    )
    return [to_run(row) for row in rows]


async def transitions(link: Link, run: str) -> list[dict[str, Any]]:
    """What happened to a run, in order: time, states, cause, actor."""
    rows = await link.fetch(
        "SELECT at, from_state, to_state, cause, actor FROM run_transitions WHERE run = $1 ORDER BY id", run
    )
    return [dict(row) for row in rows]


async def partitions(link: Link, run: str) -> list[dict[str, Any]]:
    """A run's partitions: what was asked for, the vendor's estimate, what came, and where it ended."""
    rows = await link.fetch(
        """SELECT number, slice, estimate, end_page, split_into, ended_at,
                  greatest(actual, coalesce((SELECT sum(rows) FROM (
                      SELECT max(rows) AS rows FROM run_pages WHERE run = $1 AND partition = number GROUP BY page
                  ) AS fullest), 0))::bigint AS actual
           FROM run_partitions WHERE run = $1 ORDER BY number""",
        run,
    )
    return [{**dict(row), "slice": msgspec.json.decode(row["slice"])} for row in rows]


async def progress_of(link: Link, run: str) -> RunProgress | None:
    """How far a planned run is in the log: what it still lacks is planned minus present. None before its plan."""
    row = await link.fetchrow("SELECT plan, splits FROM runs WHERE run = $1", run)
    if row is None or row["plan"] is None:
        return None
    progress = RunProgress(msgspec.json.decode(row["plan"], type=Plan))
    for split in row["splits"]:
        progress.split(msgspec.json.decode(split, type=Split))
    facts = [
        FactHeaders(
            kind=Kind.PAGE,
            feed=progress.plan.feed,
            epoch=page["epoch"],
            seq=page["seq"],
            run=run,
            partition=page["partition"],
            page=page["page"],
            reread=page["reread"],
            rows=page["rows"],
            nameless=page["nameless"],
        )
        for page in await link.fetch(
            """SELECT epoch, seq, partition, page, reread, rows, nameless FROM run_pages
               WHERE run = $1 ORDER BY raw_offset""",
            run,
        )
    ]
    progress.replay(facts)
    ended = await link.fetch("SELECT number FROM run_partitions WHERE run = $1 AND end_page IS NOT NULL", run)
    for row in ended:
        progress.partitions[row["number"]].closed = True
    return progress


async def unread_stones(link: Link) -> list[tuple[str, str]]:
    """Feed and vendor's id of the stones that were withdrawn and not read since: their reader has died."""
    rows = await link.fetch("SELECT feed, stone FROM unread_stones ORDER BY seq")
    return [(row["feed"], row["stone"]) for row in rows]


async def watermark_of(link: Link, feed: str) -> datetime | None:
    """A feed's watermark by the vendor's clock; none before its first run is complete."""
    found: datetime | None = await link.fetchval(
        "SELECT watermark FROM feed_watermarks WHERE feed = $1", feed
    )
    return found


def to_run(row: Any) -> Run:
    """A row with every column of `Run`."""
    named = dict(row)
    for name in ("ledger", "retirement_detail"):
        named[name] = None if named[name] is None else msgspec.json.decode(named[name])
    return Run(**{**named, "kind": RunKind(named["kind"]), "state": State(named["state"])})


def shown(run: Run) -> dict[str, Any]:
    """A run as commands and routes show it."""
    return dict(msgspec.to_builtins(run))
