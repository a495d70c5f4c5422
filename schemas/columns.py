"""The columnar form of the stock: one row a stone, one numpy array an attribute.

1.34 million stones as Python objects take 2.1 GB; as columns about 130 MB. The search index, the owner's memory and
everything that looks at the whole stock at once share this form. There is no I/O in it and no lock: one thread owns
an instance.

Text is dictionary-coded (`Codes`), code 0 being null. Integers are int64 with `NULL_INT` for null, floats float64
with NaN, booleans int8 with -1. `schemas.stone.Stone` gives each column its type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.sql import columns_of
from schemas.stone import Stone

NULL_INT: Final = np.iinfo(np.int64).min
NULL_BOOL: Final = -1
NULL_CODE: Final = 0

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DTYPES: Final[dict[str, tuple[Any, Any]]] = {
    "text": (np.int32, NULL_CODE),
    "bigint": (np.int64, NULL_INT),
    "timestamptz": (np.int64, NULL_INT),
    "double precision": (np.float64, np.nan),
    "boolean": (np.int8, NULL_BOOL),
}
_SQL_TYPES: Final = {column.name: column.sql_type for column in columns_of(Stone)}


class Codes:
    """A dictionary of texts: equal text, equal code; codes count up from 1 and are never reused."""

    def __init__(self) -> None:
        self.texts: list[str | None] = [None]
        self._codes: dict[str | None, int] = {None: NULL_CODE}

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str | None) -> int:
        """The text's code, a new one if it was never seen."""
        code = self._codes.get(text)
        if code is None:
            code = len(self.texts)
            self._codes[text] = code
            self.texts.append(text)
        return code

    def add_all(self, texts: Sequence[str | None]) -> NDArray[np.int32]:
        """The codes of many texts, in order."""
        try:
            return np.fromiter(map(self._codes.__getitem__, texts), np.int32, len(texts))
        except KeyError:
            return np.fromiter(map(self.add, texts), np.int32, len(texts))

    def find(self, text: str) -> int | None:
        """The text's code, or None if no stone ever had it."""
        return self._codes.get(text)


class Columns:
    """Rows of stones by id, as arrays.

    Args:
        names: the attributes to keep, names of `Stone` fields of any type.
        extra: integer columns beside them, written by whoever holds the instance; null is `NULL_INT`.
        derived: SQL types of attributes that are no fields of `Stone`.

    Rows of removed stones are reused; `live` tells which rows hold a stone. `rows` maps an id to its row.
    """

    def __init__(
        self,
        names: Sequence[str],
        extra: Sequence[str] = (),
        derived: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._types = {**_SQL_TYPES, **derived}
        self.names = tuple(names)
        self.extra = tuple(extra)
        self.arrays: dict[str, NDArray[Any]] = {}
        self.codes: dict[str, Codes] = {name: Codes() for name in names if self._types[name] == "text"}
        self.rows: dict[str, int] = {}
        self.live: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._free: list[int] = []
        self._used = 0
        self._grow(1024)

    def __len__(self) -> int:
        """Stones held."""
        return len(self.rows)

    @property
    def used(self) -> int:
        """Rows ever used; arrays are valid in [0, used)."""
        return self._used

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The column's valid part: a view, shape (used,)."""
        return self.arrays[name][: self._used]

    def put(self, stones: Iterable[msgspec.Struct]) -> NDArray[np.int64]:
        """Insert or overwrite stones (structs with `id` and every named attribute); their rows, in order."""
        batch = list(stones)
        return self.put_encoded((stone.id for stone in batch), self.encode(batch))  # type: ignore[attr-defined]

    def put_encoded(self, ids: Iterable[str], values: Mapping[str, Any]) -> NDArray[np.int64]:
        """The same with stones whose attributes are encoded, an array a name."""
        rows = self.take_rows(ids)
        for name in self.names:
            self.arrays[name][rows] = values[name]
        return rows

    def encode(self, stones: Sequence[msgspec.Struct]) -> dict[str, Any]:
        """Every named attribute of stones as its column holds it."""
        return {name: self._encode(name, list(map(attrgetter(name), stones))) for name in self.names}

    def take_rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The rows of these stones, new ones where there were none; all of them live from now on."""
        get, new_row = self.rows.get, self._new_row
        taken = [new_row(stone_id) if (row := get(stone_id)) is None else row for stone_id in ids]
        rows = np.array(taken, np.int64)
        self.live[rows] = True
        return rows

    def remove(self, stone_id: str) -> int | None:
        """Forget a stone; the row it had, or None if there is no such stone."""
        row = self.rows.pop(stone_id, None)
        if row is not None:
            self.live[row] = False
            self._free.append(row)
        return row

    def value(self, name: str, row: int) -> Any:
        """One attribute of one row, decoded; times as epoch milliseconds."""
        stored = self.arrays[name][row]
        kind = self._types[name]
        if kind == "text":
            return self.codes[name].texts[stored]
        if kind == "double precision":
            return None if np.isnan(stored) else float(stored)
        if kind == "boolean":
            return None if stored == NULL_BOOL else bool(stored)
        return None if stored == NULL_INT else int(stored)

    def _encode(self, name: str, values: list[Any]) -> Any:
        kind = self._types[name]
        if kind == "text":
            return self.codes[name].add_all(values)
        if kind == "timestamptz":
            return [NULL_INT if value is None else epoch_ms(value) for value in values]
        if None not in values:
            return values
        null = _DTYPES[kind][1]
        return [null if value is None else value for value in values]

    def _new_row(self, stone_id: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = self._used
            if row == len(self.live):
                self._grow(2 * row)
            self._used += 1
        self.rows[stone_id] = row
        return row

    def _grow(self, capacity: int) -> None:
        for name in (*self.names, *self.extra):
            dtype, null = _DTYPES[self._types[name] if name in self.names else "bigint"]
            grown = np.full(capacity, null, dtype=dtype)
            old = self.arrays.get(name)
            if old is not None:
                grown[: len(old)] = old
            self.arrays[name] = grown
        live = np.zeros(capacity, dtype=np.bool_)
        live[: len(self.live)] = self.live
        self.live = live


def epoch_s(moment: datetime | None) -> int:
    """Whole seconds since 1970, UTC, of an aware datetime; `NULL_INT` for null."""
    return NULL_INT if moment is None else epoch_ms(moment) // 1000


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since 1970, UTC, of an aware datetime."""
    return (moment - _EPOCH) // _MILLISECOND
