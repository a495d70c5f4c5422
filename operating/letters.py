"""Dead letters as rows: grouped by what went wrong, each with a state. Nothing here touches Kafka.

A letter is `new` until an operator redrives it (`retrying`), and then `resolved` once its item has landed, or `new`
again when it came back; or an operator gives it up (`discarded`). The same item read again is the same letter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from connectors.postgres import actions, events
from runtime.postgres import Link
from schemas.dead_letter import DeadLetter
from schemas.errors import Invalid
from schemas.events import Kind

MAX_REDRIVES: Final = 3
"""An item that came back so often is not sent again: what helps is a fix, not another try."""


class State(StrEnum):
    """What is to be done with a letter."""

    NEW = "new"
    RETRYING = "retrying"
    RESOLVED = "resolved"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that one fix may help.

    Attributes:
        letters: all of them, whatever their state.
        returned: how often one came back after it was redriven or resolved.
        example: the reason of the latest.
    """

    fingerprint: str
    stage: str
    error: str
    field: str
    letters: int
    new: int
    retrying: int
    resolved: int
    discarded: int
    returned: int
    first_at: datetime
    last_at: datetime
    feeds: list[str]
    example: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One letter. `place` tells where in the raw log (or which topic) it was refused."""

    id: int
    place: str
    feed: str
    stone: str | None
    seq: int | None
    run: str | None
    granted_at: int | None
    traceparent: str | None
    stage: str
    error: str
    field: str
    reason: str
    payload: bytes | None
    is_item: bool
    is_whole: bool
    state: State
    seen: int
    redrives: int
    returned: int
    note: str | None
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record of `diamonds.dead` as it was read."""

    letter: DeadLetter
    payload: bytes
    at: datetime
    partition: int
    offset: int


_GROUP: Final = ", ".join(Group.__dataclass_fields__)
_LETTER: Final = ", ".join(Letter.__dataclass_fields__).replace(
    "granted_at, traceparent",
    "(headers->>'granted_at')::bigint AS granted_at, headers->>'traceparent' AS traceparent",
)

_KEEP: Final = """
INSERT INTO dead_letters AS d
    (place, feed, stone, seq, run, stage, error, field, reason, fingerprint, payload, is_item, is_whole, headers,
     first_at, last_at, topic_id, kafka_partition, kafka_offset, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16, $17, $18, 'new')
ON CONFLICT (place) DO UPDATE
SET stage = excluded.stage, error = excluded.error, field = excluded.field, reason = excluded.reason,
    fingerprint = excluded.fingerprint, payload = excluded.payload, is_whole = excluded.is_whole,
    last_at = greatest(d.last_at, excluded.last_at), seen = d.seen + 1,
    -- Read again while its redriven twin is under way, it says nothing new; given up, it stays so.
    state = CASE WHEN d.state = 'discarded' OR (d.state = 'retrying' AND $19 < d.redrives) THEN d.state ELSE 'new' END,
    returned = d.returned + CASE WHEN d.state = 'resolved' OR $19 BETWEEN 1 AND d.redrives THEN 1 ELSE 0 END,
    settled_at = CASE WHEN d.state = 'discarded' THEN d.settled_at END,
    topic_id = excluded.topic_id, kafka_partition = excluded.kafka_partition, kafka_offset = excluded.kafka_offset
WHERE d.topic_id <> excluded.topic_id OR d.kafka_offset < excluded.kafka_offset"""

_OPEN: Final = """
SELECT fingerprint, stage, error, field, count(*) AS letters FROM dead_letters
WHERE fingerprint = ANY($1) AND state IN ('new', 'retrying') GROUP BY 1, 2, 3, 4"""

_TAKE: Final = f"""
SELECT {_LETTER} FROM dead_letters
WHERE fingerprint = $1 AND (state = 'new' OR (state = 'retrying' AND job = $2)) AND id > $3
ORDER BY id LIMIT $4"""

_RETRY: Final = """
UPDATE dead_letters SET state = 'retrying', job = $2, note = NULL, redrives = redrives + 1
WHERE id = ANY($1) AND state = 'new'"""

_SETTLE: Final = """
UPDATE dead_letters SET state = 'resolved', note = $3, settled_at = now(), settled_by = $2, payload = NULL
WHERE id = ANY($1) AND state = 'retrying'"""

_BACK: Final = "UPDATE dead_letters SET state = 'new', note = $2 WHERE id = ANY($1) AND state = 'retrying'"

_DROP: Final = """
UPDATE dead_letters SET state = 'discarded', note = $3, settled_at = now(), settled_by = $2, payload = NULL
WHERE fingerprint = $1 AND state = 'new'"""


async def keep(link: Link, topic_id: UUID, arrivals: Sequence[Arrival]) -> None:
    """Take letters in, in the order of their topic, within the caller's transaction; tell of groups that are open."""
    await link.executemany(_KEEP, [_row(arrival, topic_id) for arrival in arrivals])
    for group in await link.fetch(_OPEN, list({arrival.letter.fingerprint for arrival in arrivals})):
        text = f"{group['letters']} letters: {group['stage']}, {group['error']}, {group['field']}"
        await events.record(link, Kind.DEAD_LETTERS, group["fingerprint"], text, actor="monitor")


async def positions(link: Link, topic_id: UUID) -> dict[int, int]:
    """By partition, the first offset of the topic that is not taken in yet."""
    rows = await link.fetch(
        "SELECT kafka_partition, max(kafka_offset) + 1 FROM dead_letters WHERE topic_id = $1 GROUP BY 1",
        topic_id,
    )
    return dict(map(tuple, rows))


async def groups(link: Link, *, feed: str | None = None, every: bool = False) -> list[Group]:
    """Groups with something to do, or every group; the one that was seen last comes first."""
    rows = await link.fetch(
        f"SELECT {_GROUP} FROM dead_letter_groups WHERE ($1 OR new + retrying > 0)"
        " AND ($2::text IS NULL OR $2 = ANY(feeds)) ORDER BY last_at DESC, fingerprint",
        every,
        feed,
    )
    return [Group(*row) for row in rows]


async def group(link: Link, fingerprint: str) -> Group:
    """One group, named by its fingerprint or the beginning of it.

    Raises:
        Invalid: there is none, or there are several.
    """
    rows = await link.fetch(
        f"SELECT {_GROUP} FROM dead_letter_groups WHERE starts_with(fingerprint, $1)", fingerprint
    )
    if not rows:
        raise Invalid("group", f"there is no group {fingerprint!r}", "unknown")
    if len(rows) > 1:
        raise Invalid("group", f"{fingerprint!r} begins {len(rows)} groups; give more of it")
    return Group(*rows[0])


async def examples(link: Link, fingerprint: str, limit: int = 3) -> list[Letter]:
    """The latest letters of a group."""
    rows = await link.fetch(
        f"SELECT {_LETTER} FROM dead_letters WHERE fingerprint = $1 ORDER BY last_at DESC, id DESC LIMIT $2",
        fingerprint,
        limit,
    )
    return [_letter(row) for row in rows]


async def waiting(
    link: Link, fingerprint: str, *, job: int | None = None, after: int = 0, limit: int = 500
) -> list[Letter]:
    """Letters of a group to be tried, by id: the new ones, and those that this job has begun to redrive."""
    return [_letter(row) for row in await link.fetch(_TAKE, fingerprint, job, after, limit)]


async def retry(link: Link, ids: Sequence[int], job: int) -> None:
    """Note that these are about to be redriven by a job."""
    await link.execute(_RETRY, list(ids), job)


async def settle(link: Link, outcomes: Mapping[str, Iterable[int]], actor: str) -> None:
    """Note what became of redriven items, by outcome; letters that came back meanwhile stay as they are."""
    for outcome, ids in outcomes.items():
        await link.execute(_SETTLE, list(ids), actor, outcome)


async def give_back(link: Link, ids: Sequence[int], why: str) -> None:
    """Make redriven letters new again, with the reason."""
    await link.execute(_BACK, list(ids), why)


async def drop(link: Link, fingerprint: str, *, actor: str, reason: str) -> int:
    """Give a group's new letters up; how many those were.

    Raises:
        Invalid: there is no such group, or no reason.
    """
    if not reason.strip():
        raise Invalid("reason", "must say why these are given up")
    found = await group(link, fingerprint)
    status = await link.execute(_DROP, found.fingerprint, actor, reason)
    dropped = int(status.rpartition(" ")[2])
    await actions.note(link, actor, "dead.drop", found.fingerprint, {"reason": reason, "letters": dropped})
    await close_if_done(link, found.fingerprint)
    return dropped


async def close_if_done(link: Link, fingerprint: str) -> None:
    """Resolve the group's event where nothing of it is open any more."""
    if not await link.fetch(_OPEN, [fingerprint]):
        await events.resolve(link, Kind.DEAD_LETTERS, fingerprint)


def shown(letter: Letter) -> dict[str, Any]:
    """A letter for people and programs: its payload's head as text."""
    fields = {name: getattr(letter, name) for name in Letter.__dataclass_fields__}
    payload = None if letter.payload is None else letter.payload[:2000].decode(errors="replace")
    return {**fields, "payload": payload}


def _row(arrival: Arrival, topic_id: UUID) -> tuple[Any, ...]:
    letter = arrival.letter
    return (
        *(letter.place, letter.feed, letter.stone, letter.seq, letter.run),
        *(letter.stage, letter.error, letter.field, letter.reason, letter.fingerprint),
        arrival.payload,
        letter.index is not None or letter.origin is not None,
        letter.size is None,
        msgspec.json.encode(letter).decode().replace("\\u0000", ""),
        *(arrival.at, topic_id, arrival.partition, arrival.offset, letter.redriven or 0),
    )


def _letter(row: Any) -> Letter:
    return Letter(**{**row, "state": State(row["state"])})
