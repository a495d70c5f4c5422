"""Fields of canonical records into columns: read in machine code, without an object a value.

A record that is not plain (`connectors.records.plain`) is decoded, which also says what is wrong with it. Both ways
give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.records.dictionary import Dictionary
from connectors.records.plain import DECIMAL, FLAG, KIND_OF, NAMES, TEXT, WORD
from connectors.records.scan import LENGTH, LENGTH_BITS, NOT, read_fields
from schemas.columns import Columns
from schemas.errors import Invalid
from schemas.sql import BIGINTS
from schemas.stone import Stone

_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Stone)}

Spans = NDArray[np.int64]
"""Shape (2, records): where each begins and ends."""


class Read(NamedTuple):
    """What was put into the columns.

    Attributes:
        places: of the records, in no order.
        ids: of their stones.
        rows: of the columns.
        failures: by place, why a record could not be read.
    """

    places: NDArray[np.intp]
    ids: list[str]
    rows: NDArray[np.int64]
    failures: dict[int, Exception]


class Fields:
    """Fills columns. One thread at a time.

    Args:
        columns: of fields of `Stone`, and none of them its id.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._rows = {name: row for row, name in enumerate((*columns.names, "id"))}
        self._slots = np.array([self._rows.get(name, -1) for name in NAMES])
        texts = [name for name in columns.names if KIND_OF[name] in (TEXT, WORD)]
        self._texts = {name: place for place, name in enumerate(texts)}
        self._text_rows = np.array([self._rows[name] for name in texts], dtype=np.intp)
        self._dictionary = Dictionary([columns.codes[name] for name in texts])
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(record_of(columns.names)).decode

    def put(self, data: NDArray[np.uint8], records: Spans, keys: Spans | None = None) -> Read:
        """Insert or overwrite the stones of records, each stone at most once; nothing is kept of what they lie in.

        Args:
            data: where the records lie.
            records: where they are.
            keys: where their keys are, which must be their stones' ids; without it, nobody looks.
        """
        table, plain = read_fields(data, records, keys, self._slots)
        places = np.flatnonzero(plain)
        if len(places) < len(plain):
            table = table.take(places, axis=1)
        ids = _ids(data, table[self._rows["id"]])
        rows = self._columns.put_encoded(ids, self._encoded(data, table))
        others, failures = self._decoded(data, records, keys, np.flatnonzero(~plain).tolist())
        if others:
            places = np.concatenate([places, [*others]])
            stones = [*others.values()]
            ids += [stone.id for stone in stones]
            rows = np.concatenate([rows, self._columns.put(stones)])
        return Read(places, ids, rows, failures)

    def _encoded(self, data: NDArray[np.uint8], table: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Rows of the table as `Columns` holds them."""
        codes = self._dictionary.add(data, table, self._text_rows)
        values: dict[str, NDArray[Any]] = {}
        for name in self._columns.names:
            told, kind = table[self._rows[name]], KIND_OF[name]
            if kind in (TEXT, WORD):
                values[name] = codes[self._texts[name]]
            elif kind == DECIMAL:
                values[name] = told.view(np.float64)
            else:
                # Both have the same null for integers and moments, and count flags up from it.
                values[name] = told - NOT if kind == FLAG else told
        return values

    def _decoded(
        self, data: NDArray[np.uint8], records: Spans, keys: Spans | None, places: list[int]
    ) -> tuple[dict[int, Any], dict[int, Exception]]:
        """The records in these places, one by one, and why some cannot be read."""
        stones, failures = dict[int, Any](), dict[int, Exception]()
        for place in places:
            try:
                stone = self._decode(_bytes(data, records, place))
                if keys is not None and stone.id.encode() != _bytes(data, keys, place):
                    raise Invalid("id", f"is {stone.id}, not the record's key", "other_key")
                stones[place] = stone
            except (msgspec.MsgspecError, ValueError, Invalid) as error:
                failures[place] = error
        return stones, failures


def record_of(names: Collection[str]) -> type[msgspec.Struct]:
    """`Stone` with these fields and its id only, so that decoding a record costs no more than what is kept."""
    fields: list[Any] = [("id", str)]
    for name in names:
        field = _FIELDS[name]
        kind = str if name == "availability" else BIGINTS.get(name, field.type)
        fields.append((name, kind) if field.required else (name, kind, field.default))
    return msgspec.defstruct("Kept", fields, frozen=True, gc=False, kw_only=True)


def _ids(data: NDArray[np.uint8], spans: NDArray[np.int64]) -> list[str]:
    """The texts that these spans say, all of them ASCII."""
    begins = spans >> LENGTH_BITS
    ends, view = begins + (spans & LENGTH), data.data
    return [str(view[begin:end], "ascii") for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _bytes(data: NDArray[np.uint8], spans: Spans, place: int) -> bytes:
    begin, end = spans[:, place].tolist()
    return data[max(0, begin) : max(0, end)].tobytes()
