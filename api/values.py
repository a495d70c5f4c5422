"""What a search looks at of many stones, as numbers: read from their records in machine code, without an object a value.

A record that is not plain (`connectors.records.plain`) is decoded, which also says what is wrong with it. Both ways
give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from api.searchable import Searchable, decode_searchable
from connectors.records.plain import DECIMAL, FLAG, INTEGER, KIND_OF, LAYOUT, MOMENT, NAMES, joined
from connectors.records.scan import LENGTH_BITS, NO_FLAG, NO_NUMBER, NO_TEXT, NOT, YES, scan, text_at
from schemas.columns import epoch_ms
from schemas.errors import Invalid
from schemas.stone import public_borders

_FIELDS: Final = Searchable.__struct_fields__
_ROWS: Final = {name: row for row, name in enumerate(_FIELDS)}
_SLOTS: Final = np.array([_ROWS.get(name, -1) for name in NAMES])
_IDENTITY, _PRICE, _PROVENANCE = map(NAMES.index, ("id", "price_cents", "seq"))
PRICED: Final = frozenset(NAMES[_PRICE:_PROVENANCE])
"""The public attributes that are not content: new where a stone is priced anew."""
_TEXTS: Final = np.array([KIND_OF[name] not in (INTEGER, DECIMAL, FLAG, MOMENT) for name in _FIELDS])
_FLAGS: Final = {None: NO_FLAG, False: NOT, True: YES}

Data = NDArray[np.uint8]
Table = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Values:
    """The attributes of `Searchable` of some stones.

    Attributes:
        data: where the texts lie, in UTF-8.
        table: shape (attributes, stones); a number as `connectors.records.scan` writes it.
    """

    data: Data
    table: Table

    def __len__(self) -> int:
        return int(self.table.shape[1])

    def whole(self, name: str) -> Table:
        """Integers and moments with `NO_NUMBER`, flags with `NO_FLAG`, texts as spans with `NO_TEXT`."""
        found: Table = self.table[_ROWS[name]]
        return found

    def decimals(self, name: str) -> NDArray[np.float64]:
        """Decimals with NaN for null."""
        return self.whole(name).view(np.float64)

    def text(self, name: str, place: int) -> str | None:
        """One text."""
        return text_at(self.data, int(self.table[_ROWS[name], place]))

    def part(self, places: slice | NDArray[np.intp]) -> Values:
        """Of some of the stones: a slice or an array of places."""
        if isinstance(places, slice):
            return Values(self.data, self.table[:, places])
        # An array of another layout would have the kernels compiled once more.
        return Values(self.data, self.table.take(places, axis=1))

    def beside(self, others: Values) -> Values:
        """These stones and others behind them."""
        spans = others.table[_TEXTS]
        table = others.table.copy()
        table[_TEXTS] = np.where(spans == NO_TEXT, NO_TEXT, spans + (len(self.data) << LENGTH_BITS))
        data = np.frombuffer(self.data.tobytes() + others.data.tobytes(), np.uint8)
        return Values(data, np.concatenate([self.table, table], axis=1))


def rows_of(names: Iterable[str]) -> NDArray[np.intp]:
    """The rows of attributes in `Values.table`."""
    return np.array([_ROWS[name] for name in names], dtype=np.intp)


def spans_of(texts: Sequence[str | None]) -> tuple[Data, Table]:
    """Texts as their bytes, one behind the other, and their spans."""
    encoded = [None if text is None else text.encode() for text in texts]
    data, ends = joined([text or b"" for text in encoded])
    lengths = np.diff(ends, prepend=0)
    spans = (ends - lengths) << LENGTH_BITS | lengths
    spans[np.array([text is None for text in encoded], dtype=np.bool_)] = NO_TEXT
    return data, spans


def values_of(stones: Sequence[Searchable]) -> Values:
    """The values of decoded stones."""
    table = np.empty((len(_FIELDS), len(stones)), dtype=np.int64)
    texts: list[str | None] = []
    for row, name in enumerate(_FIELDS):
        given = [getattr(stone, name) for stone in stones]
        kind = KIND_OF[name]
        if kind == DECIMAL:
            table[row] = np.array(given, dtype=np.float64).view(np.int64)
        elif kind == INTEGER:
            table[row] = [NO_NUMBER if value is None else value for value in given]
        elif kind == MOMENT:
            table[row] = [NO_NUMBER if value is None else epoch_ms(value) for value in given]
        elif kind == FLAG:
            table[row] = [_FLAGS[value] for value in given]
        else:
            texts += given
    data, spans = spans_of(texts)
    table[_TEXTS] = spans.reshape(np.count_nonzero(_TEXTS), len(stones))
    return Values(data, table)


def read(data: Data, records: Table, keys: Table) -> tuple[Values, Table, Mapping[int, Exception]]:
    """The values of canonical records, and by place why a record cannot be read.

    What stands in the values of one that cannot be read means nothing.

    Args:
        data: where the records are.
        records: shape (2, records): where each begins and ends.
        keys: the same of their keys.

    Returns:
        The values; where each record's public stretch begins and ends, and where its price stands, 0 where nobody knows,
        shape (3, records); the failures.
    """
    count = records.shape[1]
    borders = np.zeros((3, count), dtype=np.int64)
    values, plain = _scanned(data, records, keys, 0, borders)
    failures, decoded = dict[int, Exception](), dict[int, Searchable]()
    for place in np.flatnonzero(~plain).tolist():
        record, key = (data[begin:end].tobytes() for begin, end in (records[:, place], keys[:, place]))
        try:
            borders[:, place] = *public_borders(record), 0
            decoded[place] = _decoded(record, key)
        except (msgspec.MsgspecError, ValueError, Invalid) as error:
            failures[place] = error
    if decoded:
        both = values.beside(values_of(list(decoded.values())))
        order = np.arange(count)
        order[list(decoded)] = np.arange(len(decoded)) + count
        values = both.part(order)
    return values, borders, failures


def read_prices(data: Data, records: Table, keys: Table, borders: Table) -> tuple[Values, NDArray[np.bool_]]:
    """What is `PRICED` of records of which all that stands before the price is known; and which of them are plain.

    Args:
        data, records, keys: as `read` has them.
        borders: as `read` gives them; where each public stretch ends is filled in.
    """
    return _scanned(data, records, keys, _PRICE, borders)


def _scanned(
    data: Data, records: Table, keys: Table, first: int, borders: Table
) -> tuple[Values, NDArray[np.bool_]]:
    """The values from a field on, and which records are plain."""
    count = records.shape[1]
    values, plain = (
        Values(data, np.empty((len(_FIELDS), count), dtype=np.int64)),
        np.empty(count, dtype=np.bool_),
    )
    begins = records[0] + borders[2] if first else records[0]
    given: tuple[Any, ...] = (
        *(data, records, keys, *LAYOUT, first, begins, _IDENTITY, _PRICE, _PROVENANCE, _SLOTS),
        *(values.table, borders, plain),
    )
    scan(*given)
    return values, plain


def _decoded(record: bytes, key: bytes) -> Searchable:
    stone = decode_searchable(record)
    if stone.id != key.decode():
        raise Invalid("id", f"is {stone.id}, not the record's key", "other_key")
    return stone


NO_STONES: Final = values_of([])
