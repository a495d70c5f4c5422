"""Rows of Postgres' binary `COPY`, made of canonical records.

`stone_row` and `history_row` make them of a decoded stone, value by value; `rows_of` makes those of many records in one go,
in one buffer (`connectors.records.transcode`), and leaves out the few records that are not plain. Format: "COPY", section
"Binary Format", of Postgres' manual.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from connectors.log.records import Records, Spans, of
from connectors.records import plain
from connectors.records.transcode import (
    CAUSE,
    HASH_BEGIN,
    ID_BEGIN,
    ID_END,
    MARKS,
    NO_ROW,
    PRICE_BEGIN,
    gather,
    shorten,
    transcode,
)
from schemas.sql import STONE_COLUMNS
from schemas.stone import CONTENT_HASH_BYTES, Cause, Stone

COPIED: Final = (*(column.name for column in STONE_COLUMNS), "canonical_offset", "topic_id")
"""Columns of a stone's row."""
_ID, _PRICE, _HASH = map(COPIED.index, ("id", "price_cents", "content_hash"))
PRICED: Final = ("id", *COPIED[_PRICE:])
"""Columns of a row that is to leave a stone's content as it is: a record names its content first."""

HISTORY_COLUMNS: Final = (
    "stone_id",
    "seq",
    "mapper_version",
    "rules_version",
    "price_cents",
    "previous_price_cents",
    "currency",
    "cost_cents",
    "margin_bps",
    "rate_id",
    "rule",
    "cause",
    "first_seen",
    "changed_at",
)

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"

CAUSES: Final = {cause: plain.word_number("cause", cause) for cause in Cause}
"""The number of each cause in `Versions`."""

_PRICED_HEAD: Final = np.frombuffer(struct.pack(">h", len(PRICED)), np.uint8)
_HASH_SIZE: Final = struct.pack(">i", 2 * CONTENT_HASH_BYTES)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SIZE_BYTES: Final = 4
_MOMENT_BYTES: Final = 8
_HASH_BYTES: Final = _SIZE_BYTES + 2 * CONTENT_HASH_BYTES
_NULL: Final = struct.pack(">i", -1)

Places = NDArray[np.intp]


def _sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


_WRITERS: Final[dict[str, Callable[[Any], bytes]]] = {
    "text": lambda text: _sized(text.encode()),
    "bigint": lambda number: struct.pack(">iq", 8, number),
    "double precision": lambda number: struct.pack(">id", 8, number),
    "boolean": lambda flag: struct.pack(">i?", 1, flag),
    "timestamptz": lambda moment: struct.pack(">iq", 8, (moment - _EPOCH) // timedelta(microseconds=1)),
}
_TYPES: Final = {column.name: column.sql_type for column in STONE_COLUMNS}
_SOURCES: Final = tuple(
    {"stone_id": "id", "changed_at": "updated_at"}.get(name, name) for name in HISTORY_COLUMNS
)
_stone_values: Final = attrgetter(*_TYPES)
_history_values: Final = attrgetter(*_SOURCES)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in one buffer.

    Attributes:
        data: the buffer.
        spans: shape (2, rows): where each is in it; `NO_ROW` where there is none.
    """

    data: NDArray[np.uint8]
    spans: Spans

    @classmethod
    def none(cls, count: int, room: int) -> Rows:
        """So many rows, of which none is there yet, and room for that many bytes."""
        return cls(np.empty(room, np.uint8), np.full((2, count), NO_ROW))

    def __len__(self) -> int:
        return int(self.spans.shape[1])

    def row(self, place: int) -> bytes:
        """One row; nothing where there is none."""
        begin, end = self.spans[:, place]
        return self.data[max(0, begin) : max(0, end)].tobytes()

    def put(self, place: int, row: bytes) -> None:
        """Add a row behind all others."""
        begin = int(self.spans[1].max(initial=0))
        self.data[begin : begin + len(row)] = np.frombuffer(row, np.uint8)
        self.spans[:, place] = begin, begin + len(row)

    def part(self, places: Places) -> Rows:
        """Some of them."""
        return Rows(self.data, self.spans.take(places, axis=1))

    def copied(self, places: Places) -> Rows:
        """Some of them, one behind the other in a buffer that holds no more."""
        begins, ends = spans = self.spans.take(places, axis=1)
        behind = np.cumsum(ends - begins)
        data = np.empty(int(behind[-1]) if len(places) else 0, np.uint8)
        gather(self.data, spans, data)
        return Rows(data, np.stack([behind - (ends - begins), behind]))

    def joined(self) -> memoryview:
        """One behind the other, all being there."""
        begins, ends = self.spans
        if len(self) and (begins[1:] == ends[:-1]).all():
            return self.data[begins[0] : ends[-1]].data
        return self.copied(np.arange(len(self))).data.data


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of stones.

    Attributes:
        rows: of each for the columns `COPIED`.
        marks: shape (`MARKS`, versions).
        offsets: of each in its partition.
    """

    rows: Rows
    marks: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def causes(self) -> NDArray[np.int64]:
        """Why each was written, a number of `CAUSES`."""
        causes: NDArray[np.int64] = self.marks[CAUSE]
        return causes

    def part(self, places: Places) -> Versions:
        """Some of them."""
        return Versions(self.rows.part(places), self.marks.take(places, axis=1), self.offsets[places])

    def copied(self, places: Places) -> Versions:
        """Some of them, their rows in a buffer that holds no more."""
        return Versions(self.rows.copied(places), self.marks.take(places, axis=1), self.offsets[places])

    def ids(self) -> list[str]:
        """Each one's stone."""
        begins = self.rows.spans[0]
        spans = begins + self.marks[ID_BEGIN] + _SIZE_BYTES, begins + self.marks[ID_END]
        return [self.rows.data[begin:end].tobytes().decode() for begin, end in zip(*spans, strict=True)]

    def hash_values(self) -> list[bytes]:
        """The hash of each one's content as it stands in its row; compare with `hash_value`."""
        begins = self.rows.spans[0] + self.marks[HASH_BEGIN]
        return [self.rows.data[begin : begin + _HASH_BYTES].tobytes() for begin in begins]

    def priced(self) -> memoryview:
        """What does not tell their contents, as rows for the columns `PRICED`, one behind the other."""
        out = np.empty(int((self.rows.spans[1] - self.rows.spans[0]).sum()), np.uint8)
        return out[: shorten(self.rows.data, self.rows.spans, self.marks, _PRICED_HEAD, out)].data


def hash_value(content_hash: str) -> bytes:
    """A content's hash as a row has it; any other text as no row has it."""
    return _HASH_SIZE + content_hash.encode()


def stone_row(stone: Stone, offset: int, topic_id: UUID) -> bytes:
    """The row of a version at an offset of a canonical topic."""
    values = _values(_stone_values(stone), map(_TYPES.__getitem__, _TYPES))
    return struct.pack(">h", len(COPIED)) + values + struct.pack(">iq", 8, offset) + _sized(topic_id.bytes)


def marks_of(row: bytes, cause: Cause) -> list[int]:
    """The marks of a stone's row that was written for a cause."""
    starts, at = [], 2
    for _ in COPIED:
        starts.append(at)
        (size,) = struct.unpack_from(">i", row, at)
        at += _SIZE_BYTES + max(0, size)
    marks = {
        ID_BEGIN: starts[_ID],
        ID_END: starts[_ID + 1],
        PRICE_BEGIN: starts[_PRICE],
        HASH_BEGIN: starts[_HASH],
        CAUSE: CAUSES[cause],
    }
    return [marks[mark] for mark in range(MARKS)]


def history_row(stone: Stone) -> bytes | None:
    """The price-history row of a version; none where neither stone nor price is new. Everybody counts by this rule."""
    if stone.cause is not Cause.NEW and stone.price_cents == stone.previous_price_cents:
        return None
    values = _values(_history_values(stone), map(_TYPES.__getitem__, _SOURCES))
    return struct.pack(">h", len(HISTORY_COLUMNS)) + values


def months_of(history: Rows) -> set[date]:
    """The first days of the months (UTC) in which these price-history rows changed; that is their last value."""
    last = history.spans[1][:, np.newaxis] + np.arange(-_MOMENT_BYTES, 0)
    moments = history.data[last].view(">i8").astype("m8[us]")
    months = np.unique((np.datetime64(_EPOCH.date(), "us") + moments).astype("M8[M]"))
    return set(months.astype("M8[D]").tolist())


def _values(values: Any, types: Any) -> bytes:
    return b"".join(
        _NULL if value is None else _WRITERS[kind](value) for value, kind in zip(values, types, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What was made of records, by their places.

    Attributes:
        versions: the rows of those that are versions of stones.
        history: their price-history rows.
    """

    versions: Versions
    history: Rows

    def put(self, place: int, stone: Stone, topic_id: UUID) -> None:
        """Add the rows of a record that was decoded."""
        row = stone_row(stone, int(self.versions.offsets[place]), topic_id)
        self.versions.rows.put(place, row)
        self.versions.marks[:, place] = marks_of(row, stone.cause)
        if (history := history_row(stone)) is not None:
            self.history.put(place, history)


def rows_of(records: Records, topic_id: UUID) -> Made:
    """The rows of records of this topic; a record that is no plain version of a stone has none."""
    count = len(records)
    room = int((records.values[1] - records.values[0]).sum()) + count * _ROOM
    rows, history = Rows.none(count, room), Rows.none(count, room)
    marks = np.empty((MARKS, count), np.int64)
    given: tuple[Any, ...] = (
        *(records.data, records.values, records.keys, records.offsets),
        *(*plain.LAYOUT, _SPECIAL, _HISTORY, np.frombuffer(_sized(topic_id.bytes), np.uint8)),
        *(rows.data, rows.spans, marks, history.data, history.spans),
    )
    transcode(*given)
    return Made(Versions(rows, marks, records.offsets), history)


def compile_ahead() -> None:
    """Spend the seconds that compiling takes, where it was never done on this machine, before anybody waits."""
    made = rows_of(of([(b"", b"")]), UUID(int=0))
    nothing = made.versions.part(np.empty(0, np.intp))
    nothing.priced()
    Rows(made.history.data, np.array([[0, 0], [1, 1]])).joined()


_SPECIAL: Final = (
    *map(plain.NAMES.index, ("id", "cause", "price_cents", "previous_price_cents", "content_hash")),
    CAUSES[Cause.NEW],
)
_HISTORY: Final = np.array([plain.NAMES.index(name) for name in _SOURCES])
_ROOM: Final = 12 * len(COPIED)
"""No value's row form is more than twelve bytes longer than the value's text."""
