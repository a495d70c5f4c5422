"""What the sink says to Postgres: one transaction a batch, where it stands, and the end of a former topic.

The commit order within a transaction is rows, retirements, history, feed positions, then the sink's own position;
they become visible together or not at all. Writing a batch twice, or an older one after a newer one, changes
nothing: rows are guarded by canonical offset (and topic id), history by its key, positions never go back.

Rows of unknown stones go straight into the table: `COPY` costs a third of an upsert. Rows of known stones that are
newer go through a staging table: where the content is the one that is stored, told by its hash, only what is not
content, for one guarded update; else all of it, for one guarded upsert. Which of these a version needs it mostly says
itself, by its cause; looked up are those that say nothing, and those that what they said did not fit. Should another
writer be there in between, the transaction fails, on the primary key or by the number of rows that were updated, and
is written again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import numpy as np

from connectors.postgres.fold import Batch, Retired
from connectors.postgres.rows import (
    CAUSES,
    COPIED,
    HEADER,
    HISTORY_COLUMNS,
    PRICED,
    TRAILER,
    Places,
    Rows,
    Versions,
    hash_value,
    months_of,
)
from runtime.postgres import AWAY
from schemas.errors import Retriable
from schemas.stone import Cause, Position

CONNECT_TIMEOUT_S: Final = 10
STATEMENT_TIMEOUT_S: Final = 120
_PIECE: Final = 256 * 1024
_NEW: Final = CAUSES[Cause.NEW]
_SAME_CONTENT: Final = [CAUSES[Cause.REPRICED], CAUSES[Cause.SEEN]]

_NEWER: Final = "excluded.canonical_offset > d.canonical_offset OR excluded.topic_id <> d.topic_id"

_SETTINGS: Final = {
    "application_name": "adamas-sink",
    # The sink's position is in the same log as its rows: what a crash of Postgres loses is read again.
    "synchronous_commit": "off",
    # Compiling a 65-column upsert takes longer than running it for a batch.
    "jit": "off",
    # A staged row finds its stone by the primary key, however much the planner thinks is staged.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "timezone": "UTC",
}

_KNOWN: Final = "SELECT id, canonical_offset, topic_id, content_hash FROM diamonds WHERE id = ANY($1)"

_STAGE: Final = f"""
CREATE TEMPORARY TABLE staged ON COMMIT DELETE ROWS AS SELECT {", ".join(COPIED)} FROM diamonds WITH NO DATA;
CREATE TEMPORARY TABLE staged_prices ON COMMIT DELETE ROWS AS SELECT {", ".join(PRICED)} FROM diamonds WITH NO DATA;
CREATE TEMPORARY TABLE staged_history (LIKE price_history) ON COMMIT DELETE ROWS"""

_UPSERT: Final = f"""
INSERT INTO diamonds AS d ({", ".join(COPIED)})
SELECT {", ".join(COPIED)} FROM staged
ON CONFLICT (id) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in COPIED if name != "id")}, retired_at = NULL
WHERE {_NEWER}"""

_PRICE: Final = f"""
UPDATE diamonds AS d
SET {", ".join(f"{name} = staged.{name}" for name in PRICED if name != "id")}, retired_at = NULL
FROM staged_prices AS staged
WHERE d.id = staged.id AND d.content_hash = staged.content_hash AND d.topic_id = staged.topic_id
  AND staged.canonical_offset > d.canonical_offset AND d.canonical_offset >= 0"""

_RETIRE: Final = """
UPDATE diamonds AS d
SET retired_at = gone.at, canonical_offset = gone.canonical_offset, topic_id = $4
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS gone (id, canonical_offset, at)
WHERE d.id = gone.id AND (gone.canonical_offset > d.canonical_offset OR d.topic_id <> $4)"""

_HISTORY: Final = "INSERT INTO price_history SELECT * FROM staged_history ON CONFLICT DO NOTHING"

_MAKE_MONTH: Final = "SELECT make_price_history_month($1)"

_FEED_POSITION: Final = """
INSERT INTO feed_positions AS p (feed, as_of, run, raw_offset, seq, canonical_offset, topic_id)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (feed) DO UPDATE
SET as_of = excluded.as_of, run = excluded.run, raw_offset = excluded.raw_offset, seq = excluded.seq,
    canonical_offset = excluded.canonical_offset, topic_id = excluded.topic_id
WHERE excluded.canonical_offset > p.canonical_offset OR excluded.topic_id <> p.topic_id"""

_SINK_POSITION: Final = """
INSERT INTO sink_positions AS p (kafka_partition, topic_id, next_offset) VALUES ($1, $2, $3)
ON CONFLICT (kafka_partition) DO UPDATE
SET next_offset = excluded.next_offset, topic_id = excluded.topic_id
WHERE excluded.next_offset > p.next_offset OR excluded.topic_id <> p.topic_id"""

_SINK_POSITIONS: Final = """
SELECT kafka_partition, next_offset, settled_topic_id IS NOT DISTINCT FROM $1 AS settled
FROM sink_positions WHERE topic_id = $1"""

_SETTLE: Final = """
UPDATE diamonds SET retired_at = now() WHERE topic_id <> $1 AND retired_at IS NULL AND feed = ANY($2)"""

_SETTLED: Final = """
INSERT INTO sink_positions AS p (kafka_partition, topic_id, next_offset, settled_topic_id) VALUES ($1, $2, $3, $2)
ON CONFLICT (kafka_partition) DO UPDATE
SET settled_topic_id = $2, topic_id = $2, next_offset = CASE WHEN p.topic_id = $2 THEN p.next_offset ELSE $3 END"""


_REWIND: Final = (
    "UPDATE diamonds SET canonical_offset = -1 WHERE topic_id = $1 AND feed = ANY($2)",
    "UPDATE feed_positions SET canonical_offset = -1 WHERE topic_id = $1 AND feed = ANY($2)",
)
_REWIND_POSITION: Final = (
    "UPDATE sink_positions SET next_offset = 0 WHERE topic_id = $1 AND kafka_partition = $2"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a partition of the present topic was written.

    Attributes:
        next_offset: the first offset not yet written.
        settled: whether rows of former topics were already retired.
    """

    next_offset: int
    settled: bool


class Store:
    """One connection to Postgres, for one thread's event loop.

    Every method raises `Retriable` when Postgres is away, refuses the connection for now, or another writer was
    faster; the connection is then dropped and made anew by the next call.

    Args:
        dsn: where Postgres is.
        topic_id: id of the canonical topic that is read.
    """

    def __init__(self, dsn: str, topic_id: UUID) -> None:
        self._dsn = dsn
        self._topic_id = asyncpg.pgproto.pgproto.UUID(topic_id.bytes)
        self._connection: asyncpg.Connection | None = None
        self._months: set[date] = set()
        # Untrue while a log is read again: each batch would be copied in vain before its stones are looked up.
        self._expects_new = True

    async def standings(self) -> dict[int, Standing]:
        """By partition, how far the present topic was written; a partition never written is missing."""
        rows = await self._within_transaction(lambda link: link.fetch(_SINK_POSITIONS, self._topic_id))
        return {slot: Standing(next_offset, settled) for slot, next_offset, settled in rows}

    async def write(self, batch: Batch) -> int:
        """Write a batch in one transaction; the number of stones that were inserted, changed or retired."""
        written: int = await self._within_transaction(lambda link: self._write(link, batch))
        return written

    async def settle(self, slot: int, feeds: Iterable[str], next_offset: int) -> int:
        """Retire what the feeds of a slot still have from former topics; how many stones that were."""
        retired: int = await self._within_transaction(
            lambda link: self._settle(link, slot, list(feeds), next_offset)
        )
        return retired

    async def rewind(self, slot: int, feeds: Iterable[str]) -> None:
        """Forget how far a slot was written: Kafka has lost records, and its offsets begin to repeat."""
        await self._within_transaction(lambda link: self._rewind(link, slot, list(feeds)))

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close(timeout=CONNECT_TIMEOUT_S)
            self._connection = None

    async def _within_transaction(self, work: Any) -> Any:
        try:
            link = await self._connected()
            async with link.transaction():
                return await work(link)
        except (
            *AWAY,
            asyncpg.TransactionRollbackError,
            asyncpg.UniqueViolationError,
            asyncpg.QueryCanceledError,
        ) as error:
            self._drop()
            raise Retriable(f"Postgres: {type(error).__name__}: {error}") from error

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S,
                server_settings=_SETTINGS,
            )
            await self._connection.execute(_STAGE)
            self._months.clear()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _write(self, link: asyncpg.Connection, batch: Batch) -> int:
        written = await self._write_versions(link, batch.versions)
        written += await self._retire(link, batch.retired)
        await self._write_history(link, batch.history)
        await self._write_feed_positions(link, batch.positions)
        await self._write_sink_positions(link, batch.next_offsets)
        return written

    async def _write_versions(self, link: asyncpg.Connection, versions: Versions) -> int:
        """First by what each version says of itself, which spares looking its stone up; what that did not fit, looked up."""
        is_new = (versions.causes == _NEW) & self._expects_new
        is_same = np.isin(versions.causes, _SAME_CONTENT)
        rest = ~(is_new | is_same)
        written = 0
        if is_same.any():
            updated = await self._update_prices(link, versions.part(np.flatnonzero(is_same)))
            written += updated
            if updated < np.count_nonzero(is_same):
                rest |= is_same
        if is_new.any():
            new = versions.part(np.flatnonzero(is_new))
            try:
                async with link.transaction():
                    await self._insert(link, new)
                written += len(new)
            except asyncpg.UniqueViolationError:
                rest |= is_new
        if rest.any():
            written += await self._look_up_and_write(link, versions.part(np.flatnonzero(rest)))
        return written

    async def _look_up_and_write(self, link: asyncpg.Connection, versions: Versions) -> int:
        ids = versions.ids()
        known = {
            stone_id: (offset if topic_id == self._topic_id else -1, hash_value(content_hash))
            for stone_id, offset, topic_id, content_hash in await link.fetch(_KNOWN, ids)
        }
        self._expects_new = not any(
            stone_id in known for stone_id, cause in zip(ids, versions.causes, strict=True) if cause == _NEW
        )
        new, changed, same = list[int](), list[int](), list[int]()
        told = zip(ids, versions.offsets.tolist(), versions.hash_values(), strict=True)
        for place, (stone_id, offset, content) in enumerate(told):
            if (stored := known.get(stone_id)) is None:
                new.append(place)
            elif offset > stored[0]:
                # What was rewound, or read from a former topic, is written whole: that is how a row is mended.
                (same if stored[0] >= 0 and content == stored[1] else changed).append(place)
        if new:
            await self._insert(link, versions.part(_places(new)))
        if changed:
            await _copy(link, "staged", COPIED, versions.part(_places(changed)).rows.joined())
            await link.execute(_UPSERT)
        if same and await self._update_prices(link, versions.part(_places(same))) < len(same):
            raise Retriable("another sink has written the same stones meanwhile")
        return len(new) + len(changed) + len(same)

    async def _insert(self, link: asyncpg.Connection, versions: Versions) -> None:
        await _copy(link, "diamonds", COPIED, versions.rows.joined())

    async def _update_prices(self, link: asyncpg.Connection, versions: Versions) -> int:
        """Leave their contents as they are; the number of rows that have these contents and were older."""
        await _copy(link, "staged_prices", PRICED, versions.priced())
        return _affected(await link.execute(_PRICE))

    async def _retire(self, link: asyncpg.Connection, retired: list[Retired]) -> int:
        if not retired:
            return 0
        status = await link.execute(
            _RETIRE,
            [gone.stone_id for gone in retired],
            [gone.offset for gone in retired],
            [_moment(gone.at_ms) for gone in retired],
            self._topic_id,
        )
        return _affected(status)

    async def _write_history(self, link: asyncpg.Connection, history: Rows) -> None:
        """Nearly always every row is new and goes straight in; only a batch written before needs the staging table."""
        if not len(history):
            return
        for month in months_of(history) - self._months:
            await link.execute(_MAKE_MONTH, month)
            self._months.add(month)
        rows = history.joined()
        try:
            async with link.transaction():
                await _copy(link, "price_history", HISTORY_COLUMNS, rows)
        except asyncpg.UniqueViolationError:
            await _copy(link, "staged_history", HISTORY_COLUMNS, rows)
            await link.execute(_HISTORY)

    async def _write_feed_positions(
        self, link: asyncpg.Connection, positions: list[tuple[Position, int]]
    ) -> None:
        for position, offset in positions:
            await link.execute(
                _FEED_POSITION,
                position.feed,
                _moment(position.as_of),
                position.run,
                position.raw_offset,
                position.seq,
                offset,
                self._topic_id,
            )

    async def _write_sink_positions(self, link: asyncpg.Connection, next_offsets: Mapping[int, int]) -> None:
        await link.executemany(
            _SINK_POSITION, [(slot, self._topic_id, offset) for slot, offset in next_offsets.items()]
        )

    async def _settle(self, link: asyncpg.Connection, slot: int, feeds: list[str], next_offset: int) -> int:
        retired = _affected(await link.execute(_SETTLE, self._topic_id, feeds))
        await link.execute(_SETTLED, slot, self._topic_id, next_offset)
        return retired

    async def _rewind(self, link: asyncpg.Connection, slot: int, feeds: list[str]) -> None:
        for statement in _REWIND:
            await link.execute(statement, self._topic_id, feeds)
        await link.execute(_REWIND_POSITION, self._topic_id, slot)


async def _copy(
    link: asyncpg.Connection, table: str, columns: Sequence[str], rows: bytes | memoryview
) -> None:
    """`COPY` rows in their binary form."""

    async def pieces() -> AsyncIterator[bytes | memoryview]:
        yield HEADER
        # Sent in one piece, they would lie in memory three times.
        for begin in range(0, len(rows), _PIECE):
            yield rows[begin : begin + _PIECE]
        yield TRAILER

    # While it waits for room in the socket, asyncpg neither hears of a connection's end nor looks at its time-out.
    copying = asyncio.ensure_future(
        link.copy_to_table(table, source=pieces(), columns=columns, format="binary")
    )

    def end(_link: object) -> None:
        copying.cancel()

    link.add_termination_listener(end)
    try:
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            await copying
    except asyncio.CancelledError:
        if not link.is_closed():
            raise
        raise ConnectionResetError(f"the connection was lost while {table} was copied") from None
    finally:
        link.remove_termination_listener(end)


def _places(some: list[int]) -> Places:
    return np.array(some, np.intp)


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)


def _affected(status: str) -> int:
    """Rows a command changed, from its completion tag such as `UPDATE 12`."""
    return int(status.rpartition(" ")[2])
