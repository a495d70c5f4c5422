"""What an owner knows of every stone: its version as columns, its record as bytes beside them.

Delivery reports and the tail of `diamonds.canonical` enter through one function, `Memory.observe`, which ignores any
offset not above the stone's. A later offset that carries a lower version (a paused process that woke up) does not
replace what is known; the stone is noted in `repairs`, and its owner appends what is known again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from operator import attrgetter
from pathlib import Path
from threading import RLock
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.columns import NULL_CODE, NULL_INT, Columns, epoch_ms, epoch_s
from schemas.errors import Invalid
from schemas.headers import from_headers
from schemas.stone import Position, decode_position
from streams.bodies import SEGMENT_SHIFT, BodyStore
from streams.pages import UNREADABLE

NO_NUMBER: Final = 2**31 - 1
"""Stands for mapper and rule number of a null: no fact of the same seq is newer than the retirement."""
_BELOW_ALL: Final = -1

log = structlog.stdlib.get_logger(__name__)


class Version(msgspec.Struct, gc=False):
    """One version of one stone; times in milliseconds and seconds since 1970. `body` is null for a retired stone.

    `first_seen_s` is `NULL_INT` where nobody knows it; see `schemas.stone.Stone.first_seen`.
    """

    id: str
    seq: int
    mapper: int
    rules: int
    content_hash: int
    price_cents: int
    updated_ms: int
    raw_offset: int
    first_seen_s: int
    run: str | None
    changed: bool
    body: bytes | None


class Known(NamedTuple):
    """What is known of a stone, without its record."""

    seq: int
    mapper: int
    rules: int
    content_hash: int
    price_cents: int
    updated_ms: int
    raw_offset: int
    first_seen_s: int
    changed: int
    run: int
    length: int

    @property
    def retired(self) -> bool:
        """Whether the last thing known is that it is gone."""
        return self.length < 0


class _Record(msgspec.Struct, gc=False):
    """The part of a canonical record that makes its version; source: `schemas.stone.Stone`."""

    id: str
    seq: int
    mapper_version: int
    rules_version: int
    content_hash: str
    price_cents: int
    updated_at: datetime
    raw_offset: int
    cause: str
    run: str | None = None
    first_seen: datetime | None = None


class _NullHeaders(msgspec.Struct):
    seq: int


_decode: Final = msgspec.json.Decoder(_Record).decode
_COLUMNS: Final = ("seq", "mapper_version", "rules_version", "price_cents", "raw_offset", "run", "feed")
_MOVED_AT_ONCE: Final = 2_000
_EXTRA: Final = ("hash", "updated_ms", "first_seen_s", "changed", "offset", "place", "length", "looked")
_TOLD: Final = (
    *("seq", "mapper_version", "rules_version", "hash", "price_cents", "updated_ms", "raw_offset"),
    *("first_seen_s", "changed"),
)
"""The columns that a version's numbers go into, and (`_told`) those numbers."""
_told: Final = attrgetter(
    *("seq", "mapper", "rules", "content_hash", "price_cents", "updated_ms", "raw_offset"),
    *("first_seen_s", "changed"),
)
_KNOWN: Final = (*_TOLD, "run", "length")


class Memory:
    """Every stone of the canonical topic, for whoever owns its feed now or next. Safe from any thread.

    Attributes:
        repairs: stones whose last record in the log is lower than what is known.
        positions: the last position of each feed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.repairs: set[str] = set()
        self.positions: dict[str, Position] = {}
        self._columns = Columns(_COLUMNS, _EXTRA)
        self._bodies = BodyStore(folder)
        self._leaving: tuple[int, NDArray[np.intp]] | None = None
        self._in_flight: Mapping[str, Version] = {}
        self._early: list[tuple[int, Version]] = []
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._columns)

    def run_code(self, run: str | None) -> int:
        """The number that stands for a run's name in `Known.run`."""
        with self._lock:
            return self._columns.codes["run"].add(run)

    def lookup(self, ids: Sequence[str | None]) -> list[Known | None]:
        """What is known of each stone, in order; nothing of null."""
        with self._lock:
            get = self._columns.rows.get
            rows = [get(stone_id, -1) for stone_id in ids]  # type: ignore[arg-type]
            found = [row for row in rows if row >= 0]
            if not found:
                return [None] * len(rows)
            index = np.array(found)
            arrays = self._columns.arrays
            known = map(Known._make, zip(*(arrays[name][index].tolist() for name in _KNOWN), strict=True))
            return [next(known) if row >= 0 else None for row in rows]

    def body(self, stone_id: str) -> bytes | None:
        """The stone's whole record; null for one that is unknown or retired."""
        with self._lock:
            row = self._columns.rows.get(stone_id)
            return None if row is None else self._body(row)

    def latest(self, stone_id: str) -> Version | None:
        """The version that is known, whole."""
        with self._lock:
            known = self.lookup([stone_id])[0]
            if known is None:
                return None
            run = self._columns.codes["run"].texts[known.run]
            return Version(
                stone_id, *known[:8], run=run, changed=bool(known.changed), body=self.body(stone_id)
            )

    def pending_repairs(self, limit: int) -> list[str]:
        """At most `limit` of the stones whose last record in the log is lower than what is known."""
        with self._lock:
            return list(islice(self.repairs, limit))

    def rows_below_rules(self, feed: str, number: int) -> NDArray[np.int64]:
        """Rows of a feed's stones priced under a lower number that nobody has found to stay as they are under this one.

        For `versions`, and soon.
        """
        with self._lock:
            rows = self._rows_where(feed, "rules_version", number)
            below: NDArray[np.int64] = rows[self._columns["looked"][rows] < number]
            return below

    def rows_newer_than(self, feeds: Collection[str], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of stones in stock whose offset is above the one given for the row, or for which none is given."""
        with self._lock:
            known = self._columns["offset"]
            read = np.full(len(known), -1, dtype=np.int64)
            read[: min(len(offsets), len(known))] = offsets[: len(known)]
            codes = [code for feed in feeds if (code := self._columns.codes["feed"].find(feed)) is not None]
            in_stock = np.isin(self._columns["feed"], codes) & (self._columns["length"] > 0)
            return np.flatnonzero(in_stock & (known > read))

    def records(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[bytes]]:
        """Of these rows those in stock, their offsets, their contents' hashes, and their records."""
        with self._lock:
            arrays = self._columns.arrays
            held = rows[arrays["length"][rows] > 0]
            bodies = self._bodies.read_all(arrays["place"][held], arrays["length"][held])
            return held, arrays["offset"][held], arrays["hash"][held], bodies

    def standing(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Offset, rule number, content hash and the second they were first seen in these rows."""
        with self._lock:
            offset, rules, content_hash, first_seen_s = (
                self._columns.arrays[name][rows]
                for name in ("offset", "rules_version", "hash", "first_seen_s")
            )
            return offset, rules, content_hash, first_seen_s

    def still(
        self, ids: Sequence[str], rows: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> list[Version | None]:
        """The versions of these stones, whole, in these rows; null for one that is not that of this offset any more."""
        with self._lock:
            arrays, runs = self._columns.arrays, self._columns.codes["run"].texts
            there = np.flatnonzero((arrays["offset"][rows] == offsets) & (arrays["length"][rows] > 0))
            held = rows[there]
            versions = map(
                Version,
                [ids[place] for place in there.tolist()],
                *(arrays[name][held].tolist() for name in _TOLD[:-1]),
                [runs[code] for code in arrays["run"][held].tolist()],
                (arrays["changed"][held] == 1).tolist(),
                self._bodies.read_all(arrays["place"][held], arrays["length"][held]),
            )
            found: list[Version | None] = [None] * len(ids)
            for place, version in zip(there.tolist(), versions, strict=True):
                found[place] = version
            return found

    def leave_as_they_are(self, rows: NDArray[np.int64], offsets: NDArray[np.int64], number: int) -> int:
        """Note that these versions say the same under this rule set; how many are still the last known of their stone."""
        with self._lock:
            still = rows[self._columns.arrays["offset"][rows] == offsets]
            self._columns.arrays["looked"][still] = number
            return len(still)

    def ids_below_seq(self, feed: str, seq: int) -> list[str]:
        """A feed's stones in stock whose last fact was granted before this."""
        with self._lock:
            rows = self._rows_where(feed, "seq", seq)
            return [version.id for version in self.versions(rows)]

    def versions(self, rows: NDArray[np.int64]) -> list[Version]:
        """The versions in these rows, whole; without those that have been retired."""
        with self._lock:
            bodies = map(self._body, rows.tolist())
            return [read_version(body) for body in bodies if body is not None]

    def _rows_where(self, feed: str, column: str, below: int) -> NDArray[np.int64]:
        with self._lock:
            code = self._columns.codes["feed"].find(feed)
            if code is None:
                return np.empty(0, dtype=np.int64)
            in_stock = (self._columns["feed"] == code) & (self._columns["length"] > 0)
            return np.flatnonzero(in_stock & (self._columns[column] < below))

    def expect(self, in_flight: Mapping[str, Version]) -> None:
        """Name what this process has sent and not yet seen delivered, so that the tail need not take it in.

        Called with nothing once the delivery reports are in.
        """
        with self._lock:
            self._in_flight = in_flight
            # What is not in flight any more has been remembered.
            self._early = [entry for entry in self._early if in_flight.get(entry[1].id) is entry[1]]

    def apply(self, messages: list[Message]) -> None:
        """The tail's entrance."""
        with self._lock:
            fresh = self._fresh(messages)
            if all(version is self._in_flight.get(version.id) for _, version in fresh):
                # Our own records, seen before their delivery reports: those bring the same, and soon.
                self._early += fresh
                return
            # Somebody else's records are among them: each must meet what stands before it in the log.
            fresh = self._early + fresh
            self._early.clear()
            # One stone twice in a batch: the later record must meet the earlier one's effect.
            while fresh:
                seen: set[str] = set()
                first: list[tuple[int, Version]] = []
                later: list[tuple[int, Version]] = []
                for entry in fresh:
                    (later if entry[1].id in seen else first).append(entry)
                    seen.add(entry[1].id)
                self.observe(first)
                fresh = later

    def _fresh(self, messages: list[Message]) -> list[tuple[int, Version]]:
        get = self._columns.rows.get
        keys = [(message.key() or b"").decode(errors="replace") for message in messages]
        rows = np.array([get(key, -1) for key in keys])
        offsets = np.array([message.offset() for message in messages])
        known = np.where(rows >= 0, self._columns.arrays["offset"][rows], -1)
        fresh = []
        for place in np.flatnonzero(offsets > known).tolist():
            message, key = messages[place], keys[place]
            if key[-1:] == ":":
                self._take_position(message)
            elif (version := self._read(key, message)) is not None:
                fresh.append((int(offsets[place]), version))
        return fresh

    def _take_position(self, message: Message) -> None:
        value = message.value()
        try:
            if value is not None:
                position = decode_position(value)
                self.positions[position.feed] = position
        except UNREADABLE:
            log.exception("memory.position_unreadable", offset=message.offset())

    def _read(self, key: str, message: Message) -> Version | None:
        value = message.value()
        mine = self._in_flight.get(key)
        if mine is not None and mine.body == value and value is not None:
            return mine
        try:
            if value is None:
                return retired(key, from_headers(message.headers(), _NullHeaders).seq)  # type: ignore[arg-type]
            version = read_version(value)
            if version.id != key:
                raise Invalid("id", "must be the record's key", "bad_record")
            return version
        except Invalid as error:
            log.error("memory.record_unreadable", stone=key, offset=message.offset(), error=str(error))
            # Nobody's version of a stone we know: lower than any, so that the owner appends what it knows again.
            return retired(key, _BELOW_ALL) if key in self._columns.rows else None

    def observe(self, entries: Sequence[tuple[int, Version]]) -> None:
        """Take in records with their offsets: the one function by which anything is remembered.

        Entries are of different stones.
        """
        with self._lock:
            offsets, versions = zip(*entries, strict=True) if entries else ((), ())
            ids = [version.id for version in versions]
            # A stone that was never seen gets a row of nulls, which any offset and any version is above.
            index = np.array(self._columns.take_rows(ids), dtype=np.int64)
            offset = np.array(offsets, dtype=np.int64)
            numbers = chain.from_iterable(map(_told, versions))
            told = np.fromiter(numbers, np.int64, len(ids) * len(_TOLD)).reshape(-1, len(_TOLD))
            above = offset > self._columns.arrays["offset"][index]
            lower = self._lower(index, told)
            taken = above & ~lower
            if taken.all():
                self._take(versions, told, index)
            else:
                self._take([versions[place] for place in np.flatnonzero(taken)], told[taken], index[taken])
            self._columns.arrays["offset"][index[above]] = offset[above]
            for place in np.flatnonzero(above).tolist() if self.repairs or lower.any() else ():
                (self.repairs.add if lower[place] else self.repairs.discard)(ids[place])

    def _lower(self, rows: NDArray[np.int64], told: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which versions are lower than what their rows hold."""
        seq, mapper, rules = told[:, :3].T
        arrays = self._columns.arrays
        known_seq, known_mapper = arrays["seq"][rows], arrays["mapper_version"][rows]
        lower_rules = (mapper == known_mapper) & (rules < arrays["rules_version"][rows])
        lower: NDArray[np.bool_] = (seq < known_seq) | (
            (seq == known_seq) & ((mapper < known_mapper) | lower_rules)
        )
        return lower

    def _take(self, versions: Sequence[Version], told: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        if not len(rows):
            return
        arrays, codes = self._columns.arrays, self._columns.codes
        held = rows[arrays["length"][rows] > 0]
        self._bodies.drop(arrays["place"][held], arrays["length"][held])
        bodies = [version.body or b"" for version in versions]
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        arrays["place"][rows] = self._bodies.append(bodies, lengths)
        arrays["length"][rows] = np.where(lengths == 0, -1, lengths)
        for name, column in zip(_TOLD, told.T, strict=True):
            arrays[name][rows] = column
        arrays["looked"][rows] = NULL_INT
        arrays["run"][rows] = codes["run"].add_all([version.run for version in versions])
        new = np.flatnonzero(arrays["feed"][rows] == NULL_CODE)
        feeds = [versions[place].id.partition(":")[0] for place in new.tolist()]
        arrays["feed"][rows[new]] = codes["feed"].add_all(feeds)
        self._reclaim()

    def _reclaim(self) -> None:
        """Move what lives out of a wasteful segment, some at a time: nobody waits long for the lock, and a whole
        segment is never in memory at once, which would stay with the process."""
        if self._leaving is None:
            segment = self._bodies.wasteful()
            if segment is None:
                return
            self._leaving = segment, self._kept_in(segment, np.arange(len(self._columns.live)))
        segment, rows = self._leaving
        # Meanwhile a stone may have got a new body, or have gone.
        moved = self._kept_in(segment, rows[:_MOVED_AT_ONCE])
        if len(moved):
            arrays = self._columns.arrays
            lengths = arrays["length"][moved]
            bodies = self._bodies.read_all(arrays["place"][moved], lengths)
            arrays["place"][moved] = self._bodies.append(bodies, lengths)
        if len(rows) > _MOVED_AT_ONCE:
            self._leaving = segment, rows[_MOVED_AT_ONCE:]
        else:
            self._leaving = None
            self._bodies.release(segment)

    def _kept_in(self, segment: int, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of some rows whose body is in a segment."""
        length, place = (self._columns.arrays[name][rows] for name in ("length", "place"))
        kept: NDArray[np.intp] = rows[
            self._columns.live[rows] & (length > 0) & (place >> SEGMENT_SHIFT == segment)
        ]
        return kept

    def _body(self, row: int) -> bytes | None:
        length = int(self._columns.arrays["length"][row])
        return self._bodies.read(int(self._columns.arrays["place"][row]), length) if length > 0 else None


def retired(stone_id: str, seq: int) -> Version:
    """The version that a null with this seq makes."""
    return Version(
        *(stone_id, seq, NO_NUMBER, NO_NUMBER),
        content_hash=0,
        price_cents=NULL_INT,
        updated_ms=0,
        raw_offset=NULL_INT,
        first_seen_s=NULL_INT,
        run=None,
        changed=True,
        body=None,
    )


def read_version(body: bytes) -> Version:
    """The version of a canonical record.

    Raises:
        Invalid: the record is not one of ours.
    """
    try:
        record = _decode(body)
    except UNREADABLE as error:
        raise Invalid("record", f"is no canonical stone: {error}", "bad_record") from error
    return Version(
        id=record.id,
        seq=record.seq,
        mapper=record.mapper_version,
        rules=record.rules_version,
        content_hash=signed(record.content_hash),
        price_cents=record.price_cents,
        updated_ms=epoch_ms(record.updated_at),
        raw_offset=record.raw_offset,
        first_seen_s=epoch_s(record.first_seen),
        run=record.run,
        changed=record.cause != "seen",
        body=body,
    )


def signed(content_hash: str) -> int:
    """A content hash as a signed 64-bit integer."""
    return int.from_bytes(bytes.fromhex(content_hash), "big", signed=True)
