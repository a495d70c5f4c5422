"""Events in Postgres: recorded once while they last, resolved, listed. Anybody with a connection or a pool may call.

await events.record(connection, Kind.RUN_FAILED, run, "the vendor refuses: ...", actor="ingest")
await events.resolve(connection, Kind.RUN_FAILED, run)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from schemas.events import KINDS, Kind, Severity

_RECORD: Final = """
WITH event AS (
    INSERT INTO events (at, severity, kind, subject, text, last_at, resolved_at, actor, trace_id)
    VALUES (now(), $1, $2, $3, $4, now(), CASE WHEN $5 THEN NULL ELSE now() END, $6, $7)
    ON CONFLICT (kind, subject) WHERE resolved_at IS NULL
    DO UPDATE SET count = events.count + 1, last_at = now(), text = excluded.text
    RETURNING id, count
), notice AS (
    INSERT INTO notices (event_id, phase, state, next_at)
    SELECT id, 'raised', 'waiting', now() FROM event WHERE count = 1
)
SELECT id FROM event"""
_RESOLVE: Final = """
WITH event AS (
    UPDATE events SET resolved_at = now() WHERE kind = $1 AND subject = $2 AND resolved_at IS NULL RETURNING id
), notice AS (
    INSERT INTO notices (event_id, phase, state, next_at) SELECT id, 'resolved', 'waiting', now() FROM event
)
SELECT id FROM event"""
_LIST: Final = """
SELECT id, at, severity, kind, subject, text, count, last_at, resolved_at, actor, trace_id FROM events
WHERE (NOT $1 OR resolved_at IS NULL) AND ($2::text IS NULL OR subject = $2) AND ($3::text IS NULL OR kind = $3)
ORDER BY (resolved_at IS NULL) DESC, last_at DESC, id DESC LIMIT $4"""

_REACHED: Final = """
SELECT DISTINCT ON (event_id, channel) event_id, channel, delivered FROM deliveries
WHERE event_id = ANY($1) ORDER BY event_id, channel, id DESC"""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is kept.

    Attributes:
        count: how often it was recorded while it was open.
        resolved_at: none while it is open; the time it happened for a kind that does not last.
        actor: the process or person that recorded it.
    """

    id: int
    at: datetime
    severity: Severity
    kind: Kind
    subject: str
    text: str
    count: int
    last_at: datetime
    resolved_at: datetime | None
    actor: str
    trace_id: str | None

    @property
    def open(self) -> bool:
        """Whether it lasts."""
        return self.resolved_at is None


async def record(
    database: Any,
    kind: Kind,
    subject: str,
    text: str,
    *,
    actor: str,
    severity: Severity | None = None,
    trace_id: str | None = None,
) -> int:
    """Record an event and have people told of it; its id. A lasting kind that is open for this subject is counted up.

    Args:
        database: an asyncpg connection or pool; inside a transaction the event is part of it.
        subject: what it is about: a run, a feed, a group and partition.
        text: what has happened, for a person; the last one told stays.
        actor: who says so.
        severity: the kind's own when not given.

    Raises:
        asyncpg.PostgresError, OSError: Postgres does not take it.
    """
    info = KINDS[kind]
    event_id: int = await database.fetchval(
        _RECORD, severity or info.severity, kind, subject, text, info.lasting, actor, trace_id
    )
    return event_id


async def resolve(database: Any, kind: Kind, subject: str) -> bool:
    """The open event of this kind and subject is over; false when there was none. Raises as `record` does."""
    return await database.fetchval(_RESOLVE, kind, subject) is not None


async def list_events(
    database: Any,
    *,
    only_open: bool = False,
    subject: str | None = None,
    kind: Kind | None = None,
    limit: int = 100,
) -> list[Event]:
    """Events, open ones first, the latest first."""
    rows = await database.fetch(_LIST, only_open, subject, kind, limit)
    return [
        Event(**{**row, "severity": Severity(row["severity"]), "kind": Kind(row["kind"])}) for row in rows
    ]


async def reached(database: Any, event_ids: list[int]) -> dict[int, dict[str, bool]]:
    """Over which channels each event was told, and whether the last attempt was taken."""
    found: dict[int, dict[str, bool]] = {}
    for row in await database.fetch(_REACHED, event_ids):
        found.setdefault(row["event_id"], {})[row["channel"]] = row["delivered"]
    return found
