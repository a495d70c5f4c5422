"""Rows of Postgres' binary `COPY`, made of canonical records.

`stone_row` and `history_row` make them of a decoded stone, value by value; `rows_of` makes those of a whole batch of
records in one go (`connectors.records.transcode`), and leaves out the few records that are not plain. Format: "COPY",
section "Binary Format", of Postgres' manual.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.records import plain
from connectors.records.plain import joined
from connectors.records.transcode import transcode
from schemas.sql import STONE_COLUMNS
from schemas.stone import CONTENT_HASH_BYTES, Cause, Stone

COPIED: Final = (*(column.name for column in STONE_COLUMNS), "canonical_offset", "topic_id")
"""Columns of a stone's row. Rows lack the last value, the same for all of them; see `with_topic`."""

_PRICE: Final = COPIED.index("price_cents")
_HASH: Final = COPIED.index("content_hash")
_HASH_SIZE: Final = struct.pack(">i", 2 * CONTENT_HASH_BYTES)
_PRICED_BEGIN: Final = struct.pack(">h", 1 + len(COPIED) - _PRICE)
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
"""The number of each cause in marks."""
Marks = tuple[int, int, int]
"""Where in a stone's row the values of its price and of its content's hash begin, their lengths included, and its cause."""

_AT_ONCE: Final = 250
"""Records made at once: what is read and written of them stays in the processor's caches."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NULL: Final = struct.pack(">i", -1)


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


def stone_row(stone: Stone, offset: int) -> bytes:
    """The row of a version at an offset of the canonical topic."""
    values = _values(_stone_values(stone), map(_TYPES.__getitem__, _TYPES))
    return struct.pack(">h", len(COPIED)) + values + struct.pack(">iq", 8, offset)


def marks_of(row: bytes, cause: Cause) -> Marks:
    """The marks of a stone's row that was written for a cause."""
    starts, at = [], 2
    for _ in COPIED[:-1]:
        starts.append(at)
        (size,) = struct.unpack_from(">i", row, at)
        at += 4 + max(0, size)
    return starts[_PRICE], starts[_HASH], CAUSES[cause]


def hash_value(content_hash: str) -> bytes:
    """A content's hash as a row has it; any other text as no row has it."""
    return _HASH_SIZE + content_hash.encode()


def priced_row(stone_id: str, row: bytes, price_at: int) -> bytes:
    """Of a stone's row what does not tell its content, for the columns `PRICED`; see `Marks`."""
    return _PRICED_BEGIN + _sized(stone_id.encode()) + row[price_at:]


def history_row(stone: Stone) -> bytes | None:
    """The price-history row of a version; none where neither stone nor price is new. Everybody counts by this rule."""
    if stone.cause is not Cause.NEW and stone.price_cents == stone.previous_price_cents:
        return None
    values = _values(_history_values(stone), map(_TYPES.__getitem__, _SOURCES))
    return struct.pack(">h", len(HISTORY_COLUMNS)) + values


def months_of(history: Sequence[bytes]) -> set[date]:
    """The first days of the months (UTC) in which these price-history rows changed; that is their last value."""
    moments = np.frombuffer(b"".join(row[-8:] for row in history), ">i8").astype("m8[us]")
    months = np.unique((np.datetime64(_EPOCH.date(), "us") + moments).astype("M8[M]"))
    return set(months.astype("M8[D]").tolist())


def with_topic(rows: Sequence[bytes], topic_id: bytes) -> bytes:
    """The rows with their last value, one behind the other."""
    value = _sized(topic_id)
    return value.join(rows) + value


def _values(values: Any, types: Any) -> bytes:
    return b"".join(
        _NULL if value is None else _WRITERS[kind](value) for value, kind in zip(values, types, strict=True)
    )


Made = tuple[list[bytes | None], list[Marks], list[bytes | None]]
"""Rows of stones, the marks of each, and price-history rows."""


def rows_of(records: Sequence[bytes], keys: Sequence[bytes], offsets: Sequence[int]) -> Made:
    """The rows of records with these keys at these offsets, and their price-history rows, both in order.

    A record that is not plain has no row, and marks that mean nothing; one that gives no price history has none there.
    """
    made: Made = [], [], []
    for begin in range(0, len(records), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        rows, marks, history = _rows_of(records[part], keys[part], offsets[part])
        made[0].extend(rows)
        made[1].extend(marks)
        made[2].extend(history)
    return made


def compile_ahead() -> None:
    """Spend the seconds that compiling takes, where it was never done on this machine, before anybody waits."""
    rows_of([b""], [b""], [0])


def _rows_of(records: Sequence[bytes], keys: Sequence[bytes], offsets: Sequence[int]) -> Made:
    data, ends = joined(records)
    key_data, key_ends = joined(keys)
    room, count = len(data) + len(records) * _ROOM, len(records)
    rows, row_ends = np.empty(room, np.uint8), np.empty(count, np.int64)
    marks = np.zeros((count, 3), np.int64)
    history, history_ends = np.empty(room, np.uint8), np.empty(count, np.int64)
    places = np.array(offsets, np.int64)
    given = (
        data,
        ends,
        key_data,
        key_ends,
        places,
        *plain.LAYOUT,
        _SPECIAL,
        _HISTORY,
        rows,
        row_ends,
        marks,
        history,
        history_ends,
    )
    transcode(*given)
    return _cut(rows, row_ends), list(zip(*marks.T.tolist(), strict=True)), _cut(history, history_ends)


def _cut(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[bytes | None]:
    """The pieces that end there; none where an end is -1 or no further than the one before."""
    last = int(ends.max(initial=0))
    whole, begin = data[:last].tobytes(), 0
    pieces: list[bytes | None] = []
    for end in ends.tolist():
        if end > begin:
            pieces.append(whole[begin:end])
            begin = end
        else:
            pieces.append(None)
    return pieces


_SPECIAL: Final = (
    *map(plain.NAMES.index, ("id", "cause", "price_cents", "previous_price_cents", "content_hash")),
    CAUSES[Cause.NEW],
)
_HISTORY: Final = np.array([plain.NAMES.index(name) for name in _SOURCES])
_ROOM: Final = 12 * len(COPIED)
"""No value's row form is more than twelve bytes longer than the value's text."""
