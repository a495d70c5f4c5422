"""The raw log told to Postgres: plans, splits, pages, ends and completions become rows, and the runs' states follow.

Facts of one partition are taken in the log's order, each once: how far they were taken moves in the same transaction. A
fact of a writer that had lost the lease does not count. A database that was restored from an older copy, or made anew,
reads on from where it stands; a raw log that was made anew ends the runs of the former one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Message

from connectors.runs.states import State
from connectors.runs.transitions import BY_INGEST, born, told
from runtime.postgres import Database, Link
from schemas.errors import Invalid
from schemas.facts import (
    GONE,
    PART_STEP,
    Cancel,
    Complete,
    FactHeaders,
    Kind,
    Plan,
    PlanPartition,
    Retire,
    Split,
    Watermark,
    Withdraw,
)
from schemas.feeds import feeds_of
from schemas.headers import Headers, from_headers

log = structlog.stdlib.get_logger(__name__)

_PAGES: Final = """
INSERT INTO run_pages (run, raw_offset, partition, page, reread, epoch, seq, rows, nameless)
SELECT * FROM unnest(
    $1::text[], $2::bigint[], $3::int[], $4::int[], $5::int[], $6::bigint[], $7::bigint[], $8::int[], $9::int[])
ON CONFLICT DO NOTHING"""
_PARTITION: Final = """
INSERT INTO run_partitions (run, number, slice, estimate) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"""
_PLANNED: Final = """
UPDATE runs SET watermark = $2, updated_from = $3, counted = $4, first_seq = least(first_seq, $5), plan = $6,
    plan_offset = coalesce(plan_offset, $7)
WHERE run = $1"""
_COMPLETED: Final = """
UPDATE runs SET ended_at = $2, ended_offset = $3, pages = $4, rows = $5, rereads = $6, forced = $7, watermark = $8
WHERE run = $1 AND ended_offset IS NULL"""
_POSITION: Final = """
INSERT INTO log_positions (topic, kafka_partition, topic_id, next_offset, highest_epoch) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (topic, kafka_partition) DO UPDATE
SET topic_id = excluded.topic_id, next_offset = excluded.next_offset, highest_epoch = excluded.highest_epoch"""
_MOVE_WATERMARK: Final = """
INSERT INTO feed_watermarks AS w (feed, watermark, run, actor, at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (feed) DO UPDATE
SET watermark = excluded.watermark, run = excluded.run, actor = excluded.actor, at = excluded.at
WHERE $3::text IS NULL OR (excluded.watermark > w.watermark
    AND w.watermark >= coalesce((SELECT updated_from FROM runs WHERE run = $3), '-infinity'))"""
"""A run moves it forwards, and only where it read on from no later than there: a watermark that an operator set back
while the run was under way stays. An operator sets it to anything."""
_ACTUAL: Final = f"""
UPDATE run_partitions AS p SET actual = found.rows
FROM (SELECT partition, sum(rows) AS rows FROM (
        SELECT DISTINCT ON (partition, page) partition, page, sum(rows) AS rows FROM (
            SELECT partition, page, reread, max(rows) AS rows FROM run_pages WHERE run = $1
            GROUP BY partition, page, reread) AS part
        GROUP BY partition, page, reread % {PART_STEP}
        ORDER BY partition, page, sum(rows) DESC) AS fullest
      GROUP BY partition) AS found
WHERE p.run = $1 AND p.number = found.partition"""


_WITHDRAWN: Final = """
INSERT INTO unread_stones AS u (feed, stone, seq) VALUES ($1, $2, $3)
ON CONFLICT (feed, stone) DO UPDATE SET seq = greatest(u.seq, excluded.seq)"""
_READ: Final = "DELETE FROM unread_stones WHERE feed = $1 AND stone = $2 AND seq <= $3"


class Told(NamedTuple):
    """A fact of the raw log, without a page's body."""

    offset: int
    at: datetime
    headers: FactHeaders
    value: bytes


class Position(NamedTuple):
    """How far a partition was taken: the next offset, and the highest lease epoch before it."""

    next_offset: int = 0
    highest_epoch: int = 0


class Projection:
    """Writes facts to Postgres.

    Args:
        database: where to.
        topic: the raw log's name.
        topic_id: its id: with another one everything begins anew.
    """

    def __init__(self, database: Database, topic: str, topic_id: str) -> None:
        self._database = database
        self._topic = topic
        self._topic_id = topic_id
        self.positions: dict[int, Position] = {}

    async def open(self, slots: Sequence[int]) -> dict[int, int]:
        """The first offset to take of each partition; ends what a former log left open."""
        async with self._database.transaction() as link:
            for slot in slots:
                self.positions[slot] = await self._standing(link, slot)
        return {slot: position.next_offset for slot, position in self.positions.items()}

    async def _standing(self, link: Link, slot: int) -> Position:
        row = await link.fetchrow(
            "SELECT topic_id, next_offset, highest_epoch FROM log_positions WHERE topic = $1 AND kafka_partition = $2",
            *(self._topic, slot),
        )
        if row is None:
            return Position()
        if row["topic_id"] == self._topic_id:
            return Position(row["next_offset"], row["highest_epoch"])
        log.warning("runs.raw_log_is_new", kafka_partition=slot, feeds=feeds_of(slot))
        open_runs = await link.fetch(
            "SELECT run FROM runs WHERE feed = ANY($1) AND state = 'running'", feeds_of(slot)
        )
        for run in open_runs:
            cause = "the raw log was made anew: what it held of this run is gone"
            await told(link, run["run"], State.FAILED, cause, BY_INGEST, datetime.now(UTC))
        return Position()

    async def take(self, facts: Mapping[int, Sequence[Told]]) -> None:
        """Take facts by partition, in the log's order; what was taken before is passed over."""
        taken = dict(self.positions)
        async with self._database.transaction() as link:
            for slot, told_facts in facts.items():
                taken[slot] = await self._take(link, taken.get(slot, Position()), told_facts)
                await link.execute(_POSITION, self._topic, slot, self._topic_id, *taken[slot])
        self.positions = taken

    async def _take(self, link: Link, position: Position, facts: Sequence[Told]) -> Position:
        next_offset, highest = position
        pages = []
        for fact in facts:
            if fact.offset < next_offset:
                continue
            next_offset = fact.offset + 1
            if fact.headers.epoch < highest:
                log.warning("runs.fact_of_a_lost_lease", offset=fact.offset, epoch=fact.headers.epoch)
                continue
            highest = fact.headers.epoch
            if fact.headers.kind is Kind.PAGE:
                pages.append(fact)
            else:
                if fact.headers.kind is Kind.COMPLETE:
                    # What each partition brought is summed then: its pages may be of this very batch.
                    await _add_pages(link, pages)
                    pages = []
                await _apply(link, fact)
        await _add_pages(link, pages)
        return Position(next_offset, highest)


def to_told(message: Message) -> Told | None:
    """A record of the raw log; none for one whose headers cannot be read: its owner puts it to the dead letters."""
    raw_headers = message.headers()
    pairs = raw_headers.items() if isinstance(raw_headers, dict) else raw_headers or ()
    try:
        headers = from_headers(_as_bytes(pairs), FactHeaders)
    except Invalid as error:
        log.warning("runs.unreadable_fact", offset=message.offset(), reason=error.rule)
        return None
    has_body_of_ours = headers.kind not in (Kind.PAGE, Kind.EMPTY, Kind.ITEM)
    at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return Told(message.offset() or 0, at, headers, (message.value() or b"") if has_body_of_ours else b"")


def _as_bytes(pairs: object) -> Headers:
    return [
        (name, value.encode() if isinstance(value, str) else value)
        for name, value in pairs  # type: ignore[attr-defined]
    ]


async def _add_pages(link: Link, pages: Sequence[Told]) -> None:
    rows = [
        (h.run, fact.offset, h.partition, h.page, h.reread, h.epoch, h.seq, h.rows or 0, h.nameless or 0)
        for fact in pages
        if (h := fact.headers).run is not None and h.partition is not None and h.page is not None
    ]
    if rows:
        await link.execute(_PAGES, *map(list, zip(*rows, strict=True)))
        await link.execute(
            "UPDATE runs SET moved_at = now() WHERE run = ANY($1)", [*{row[0] for row in rows}]
        )


async def _apply(link: Link, fact: Told) -> None:
    kind = fact.headers.kind
    try:
        if kind is Kind.PLAN:
            await _planned(link, fact, msgspec.json.decode(fact.value, type=Plan))
        elif kind is Kind.SPLIT:
            await _split(link, fact, msgspec.json.decode(fact.value, type=Split))
        elif kind is Kind.EMPTY:
            await _ended(link, fact)
        elif kind is Kind.COMPLETE:
            await _completed(link, fact, msgspec.json.decode(fact.value, type=Complete))
        elif kind is Kind.CANCEL:
            await _cancelled(link, fact, msgspec.json.decode(fact.value, type=Cancel))
        elif kind is Kind.WATERMARK:
            edit = msgspec.json.decode(fact.value, type=Watermark)
            await _move_watermark(link, fact, edit.watermark, None, edit.actor)
        elif kind is Kind.WITHDRAW:
            withdraw = msgspec.json.decode(fact.value, type=Withdraw)
            # What the vendor has no more was read just now.
            query = _READ if withdraw.reason == GONE else _WITHDRAWN
            await link.execute(query, withdraw.feed, withdraw.stone, fact.headers.seq)
        elif kind is Kind.ITEM:
            await link.execute(_READ, fact.headers.feed, fact.headers.stone, fact.headers.seq)
        elif kind is Kind.RETIRE:
            retire = msgspec.json.decode(fact.value, type=Retire)
            await link.execute("UPDATE runs SET retirement = 'commanded' WHERE run = $1", retire.run)
    except msgspec.MsgspecError as error:
        log.error("runs.unreadable_fact", offset=fact.offset, kind=kind, reason=str(error))


async def _planned(link: Link, fact: Told, plan: Plan) -> None:
    await born(link, plan.run, plan.feed, plan.kind, "its plan is in the log", BY_INGEST)
    updated_from = None if plan.updated_from is None else moment(plan.updated_from)
    await link.execute(
        _PLANNED,
        *(plan.run, moment(plan.watermark), updated_from, plan.counted, fact.headers.seq, fact.value),
        fact.offset,
    )
    await _add_partitions(link, plan.run, plan.partitions)
    await told(link, plan.run, State.RUNNING, "planned", BY_INGEST, fact.at)


async def _add_partitions(link: Link, run: str, partitions: Sequence[PlanPartition]) -> None:
    await link.executemany(
        _PARTITION,
        [(run, part.number, msgspec.json.encode(part).decode(), part.estimate) for part in partitions],
    )


async def _split(link: Link, fact: Told, split: Split) -> None:
    await link.execute(
        "UPDATE runs SET splits = splits || $2::bytea WHERE run = $1 AND NOT $2 = ANY(splits)",
        *(split.run, fact.value),
    )
    numbers = [part.number for part in split.into]
    await link.execute(
        "UPDATE run_partitions SET split_into = $3, ended_at = $4 WHERE run = $1 AND number = $2",
        *(split.run, split.partition, numbers, fact.at),
    )
    await _add_partitions(link, split.run, split.into)


async def _ended(link: Link, fact: Told) -> None:
    await link.execute(
        "UPDATE run_partitions SET end_page = $3, ended_at = $4 WHERE run = $1 AND number = $2",
        *(fact.headers.run, fact.headers.partition, fact.headers.page, fact.at),
    )


async def _completed(link: Link, fact: Told, done: Complete) -> None:
    rereads = msgspec.json.encode(done.rereads).decode()
    await link.execute(
        _COMPLETED,
        *(
            done.run,
            fact.at,
            fact.offset,
            done.pages,
            done.rows,
            rereads,
            done.forced,
            moment(done.watermark),
        ),
    )
    await link.execute(_ACTUAL, done.run)
    cause = "ended as it stood" if done.forced else "every partition ended with an empty page"
    if await told(link, done.run, State.COMPLETED, cause, done.actor, fact.at) and not done.forced:
        await _move_watermark(link, fact, done.watermark, done.run, done.actor)


async def _cancelled(link: Link, fact: Told, cancel: Cancel) -> None:
    state = State.FAILED if cancel.failed else State.CANCELLED
    if await told(link, cancel.run, state, cancel.cause, cancel.actor, fact.at):
        await link.execute("UPDATE runs SET ended_at = $2 WHERE run = $1", cancel.run, fact.at)


async def _move_watermark(link: Link, fact: Told, watermark_ms: int, run: str | None, actor: str) -> None:
    await link.execute(_MOVE_WATERMARK, fact.headers.feed, moment(watermark_ms), run, actor, fact.at)


def moment(epoch_ms: int) -> datetime:
    """Milliseconds since 1970 as a time."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)
