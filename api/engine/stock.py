"""Every attribute of every stone by row, and the row of every id. Rows stay what they are until their stone is removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.encoding import CODED, TRUTHS, Encoded, Encoder, News, code_type
from api.engine.ids import IdTable, Packed
from api.engine.kernels import ids as id_kernels
from api.engine.numbers import LADDERS, Step, widen
from api.engine.texts import OddTexts
from api.fields import FLAGS, NUMBERS, PREFIXED
from api.query import Number
from schemas.columns import Codes

Rows = NDArray[np.int32]

_FIRST_ROWS: Final = 1024
_ROOM_SHARE: Final = 16
_NOWHERE: Final = np.zeros(0, dtype=np.int64)


class Stock:
    """The columns by row. One thread owns an instance; `encoder` may be used in another.

    Attributes:
        encoder: makes what `put` takes.
        coded: codes by row, for each listed attribute and flag.
        numbers: numbers by row, as their step of the ladder (`step`) holds them.
        packed: certificate and stock numbers by row.
        odd: those that are odd.
        id_feed, id_high, id_low: the ids.
        odd_ids: row of the ids that are odd.
        used: rows ever used; free: those without a stone.
        state: another number after every change.
    """

    def __init__(self) -> None:
        self.state = 0
        self.encoder = Encoder()
        self.levels = dict.fromkeys(NUMBERS, 0)
        self.coded: dict[str, NDArray[Any]] = {
            name: np.zeros(0, dtype=np.uint8 if name in FLAGS else code_type(len(self.encoder.codes[name])))
            for name in CODED
        }
        self.numbers: dict[str, NDArray[Any]] = {
            name: np.zeros(0, dtype=LADDERS[name][0].dtype) for name in NUMBERS
        }
        self.packed = {name: np.zeros(0, dtype=np.uint64) for name in PREFIXED}
        self.odd = {name: OddTexts() for name in PREFIXED}
        self.id_feed = np.zeros(0, dtype=np.uint8)
        self.id_high = np.zeros(0, dtype=np.uint64)
        self.id_low = np.zeros(0, dtype=np.uint64)
        self.odd_ids: dict[str, int] = {}
        self._odd_text: dict[int, str] = {}
        self._table = IdTable()
        self.free: list[int] = []
        self.used = 0
        self._grow(_FIRST_ROWS)

    def __len__(self) -> int:
        return self.used - len(self.free)

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return len(self.id_feed)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (*self.coded.values(), *self.numbers.values(), *self.packed.values(), self._table.slots)
        ids = (self.id_feed, self.id_high, self.id_low)
        return sum(array.nbytes for array in (*arrays, *ids))

    def step(self, name: str) -> Step:
        """How a column of numbers holds them."""
        return LADDERS[name][self.levels[name]]

    def find(self, packed: Packed) -> NDArray[np.int32]:
        """The rows of ids, -1 for those that are not held."""
        rows = np.empty(len(packed.feed), dtype=np.int32)
        id_kernels.find_rows(
            packed.feed, packed.high, packed.low, self._table.slots, *self._id_columns(), rows
        )
        for place, text in packed.odd.items():
            rows[place] = self.odd_ids.get(text, -1)
        return rows

    def row(self, stone_id: str) -> int | None:
        """The row of one id."""
        ids = self.encoder.ids
        packed = ids.pack_uuid(stone_id)
        if packed is not None:
            return self._table.find(*packed, self._id_columns())
        if ids.feeds.find(stone_id.partition(":")[0]) is None:
            return None
        found = int(self.find(ids.pack([stone_id]))[0])
        return None if found < 0 else found

    def compare(self, encoded: Encoded, rows: NDArray[np.int32] | None = None) -> News:
        """How stones, of these rows if they are known, differ from what is held, so that `put` need not write what is there already.

        In the thread that prepares, while nothing is applied: it reads what the owner writes.
        """
        if rows is None:
            rows = self._rows_of(encoded)
        new, everywhere = rows < 0, np.arange(len(rows))
        all_new = bool(new.all())
        places = {}
        for name, held, values in self._beside(encoded):
            there = everywhere
            # Numbers in other units cannot be compared.
            if not all_new and encoded.levels.get(name) == self.levels.get(name):
                there = np.flatnonzero(new | (held[rows] != values))
            if len(there):
                places[name] = there
        return News(self.state, rows, places)

    def put(self, encoded: Encoded) -> NDArray[np.int32]:
        """Insert or overwrite stones; their rows, in order."""
        news = encoded.news if encoded.news is not None and encoded.news.state == self.state else None
        rows = self._rows_of(encoded) if news is None else news.rows.copy()
        self.state += 1
        new = np.flatnonzero(rows < 0)
        if len(new):
            assert encoded.ids is not None
            rows[new] = self._take(len(new))
            self._enter(rows, new, encoded.ids)
        self._widen(encoded)
        for name, held, values in self._beside(encoded):
            places = None if news is None else news.places.get(name, _NOWHERE)
            if places is None or len(places) == len(rows):
                held[rows] = values
            elif len(places):
                held[rows[places]] = values[places]
        for name, odd in encoded.odd.items():
            if odd or self.odd[name].by_row:
                self.odd[name].put(rows.tolist(), odd)
        return rows

    def _rows_of(self, encoded: Encoded) -> NDArray[np.int32]:
        if encoded.ids is None:
            raise ValueError("the stock was changed since it was asked whose prices these are")
        return self.find(encoded.ids)

    def _widen(self, encoded: Encoded) -> None:
        """Make the columns as wide as those of what comes."""
        for name, codes in encoded.coded.items():
            if codes.dtype.itemsize > self.coded[name].dtype.itemsize:
                self.coded[name] = self.coded[name].astype(codes.dtype)
        for name, level in encoded.levels.items():
            if level > self.levels[name]:
                self.numbers[name] = widen(name, self.numbers[name], self.levels[name], level)
                self.levels[name] = level

    def _beside(self, encoded: Encoded) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Each column as it is held, and what comes."""
        for columns, coming in (
            (self.coded, encoded.coded),
            (self.numbers, encoded.numbers),
            (self.packed, encoded.packed),
        ):
            for name, values in coming.items():
                yield name, columns[name], values

    def remove(self, packed: Packed) -> NDArray[np.int32]:
        """Forget stones; the rows they had."""
        self.state += 1
        rows = np.unique(self.find(packed))
        rows = rows[rows >= 0]
        regular = [row for row in rows.tolist() if row not in self._odd_text] if self._odd_text else rows
        id_kernels.remove_rows(np.array(regular, dtype=np.int32), self._table.slots, *self._id_columns())
        for row in rows.tolist():
            text = self._odd_text.pop(row, None)
            if text is not None:
                del self.odd_ids[text]
            for odd in self.odd.values():
                odd.by_row.pop(row, None)
        self.free += rows.tolist()
        return rows

    def restore(
        self,
        arrays: dict[str, NDArray[Any]],
        used: int,
        levels: dict[str, int],
        free: list[int],
        odd_ids: dict[str, int],
    ) -> None:
        """Take over columns by name, in place of what is held; the encoder has been told its part.

        Rows behind those that are `used` are room for new stones.
        """
        self.state += 1
        self.levels = dict(levels)
        self.coded = {name: arrays[name] for name in self.coded}
        self.numbers = {name: arrays[name] for name in self.numbers}
        self.packed = {name: arrays[name] for name in self.packed}
        self.id_feed, self.id_high, self.id_low = (arrays[name] for name in ("id_feed", "id_high", "id_low"))
        self.used, self.free = used, list(free)
        self.odd_ids = dict(odd_ids)
        self._odd_text = {row: text for text, row in odd_ids.items()}
        self._table.rebuild(0, self._regular(np.zeros(0, dtype=np.int32)), self._id_columns())
        if not self.capacity:
            self._grow(_FIRST_ROWS)

    def renumber(self, old_rows: NDArray[np.int32]) -> None:
        """Give rows new numbers: row n is from now on what `old_rows[n]` was. These are all the rows with stones."""
        arrays = {}
        for columns in (self.coded, self.numbers, self.packed):
            # One column at a time, so that two copies of the whole stock never exist.
            for name in columns:
                columns[name] = columns[name][old_rows]
                arrays[name] = columns[name]
        ids = ("id_feed", "id_high", "id_low")
        arrays |= {name: array[old_rows] for name, array in zip(ids, self._id_columns(), strict=True)}
        if self.odd_ids or any(odd.by_row for odd in self.odd.values()):
            new = {old: row for row, old in enumerate(old_rows.tolist())}
            self.odd_ids = {text: new[row] for text, row in self.odd_ids.items()}
            for odd in self.odd.values():
                odd.by_row = {new[row]: text for row, text in odd.by_row.items() if row in new}
        self.restore(arrays, len(old_rows), self.levels, [], self.odd_ids)

    def id_text(self, row: int) -> str:
        """The id of a row."""
        text = self._odd_text.get(row)
        if text is not None:
            return text
        return self.encoder.ids.text(int(self.id_feed[row]), int(self.id_high[row]), int(self.id_low[row]))

    def texts(self, name: str) -> Sequence[Any]:
        """What the codes of a listed attribute or flag stand for."""
        return TRUTHS if name in FLAGS else self.codes(name).texts

    def codes(self, name: str) -> Codes:
        """The dictionary of a listed attribute."""
        return self.encoder.codes[name]

    def weights(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Carats as they were given; in the thread that prepares, while nothing is applied."""
        step = self.step("carat")
        weights: NDArray[np.float64] = self.numbers["carat"][rows] / step.units
        return weights

    def number(self, name: str, row: int) -> Number | None:
        """One number as it was given."""
        found: Number | None = self.step(name).load(self.numbers[name][row].item())
        return found

    def _id_columns(self) -> tuple[Any, Any, Any]:
        return self.id_feed, self.id_high, self.id_low

    def _take(self, count: int) -> NDArray[np.int32]:
        reused = self.free[max(0, len(self.free) - count) :]
        del self.free[len(self.free) - len(reused) :]
        fresh = count - len(reused)
        if self.used + fresh > self.capacity:
            self._grow(max(self.used + fresh, self.capacity + self.capacity // 8))
        rows = [*reused, *range(self.used, self.used + fresh)]
        self.used += fresh
        return np.array(rows, dtype=np.int32)

    def _enter(self, rows: NDArray[np.int32], new: NDArray[Any], packed: Packed) -> None:
        entered = rows[new]
        # What is in the table now, should it have to be made anew.
        held = self._regular(entered) if self._table.is_tight(len(new)) else None
        self.id_feed[entered] = packed.feed[new]
        self.id_high[entered] = packed.high[new]
        self.id_low[entered] = packed.low[new]
        if held is not None:
            self._table.rebuild(len(new), held, self._id_columns())
        regular = entered
        if packed.odd:
            is_odd = np.zeros(len(rows), dtype=np.bool_)
            is_odd[list(packed.odd)] = True
            regular = entered[~is_odd[new]]
            for place in new[is_odd[new]].tolist():
                text, row = packed.odd[place], int(rows[place])
                self.odd_ids[text] = row
                self._odd_text[row] = text
        self._table.add(regular, self._id_columns())

    def _regular(self, but: NDArray[np.int32]) -> NDArray[np.int32]:
        """Rows with an id that is not odd, but for some."""
        regular = np.ones(self.used, dtype=np.bool_)
        for others in (self.free, but, list(self._odd_text)):
            regular[others] = False
        return np.flatnonzero(regular).astype(np.int32)

    def make_room(self, new: int) -> None:
        """Have room for so many new stones, and where there is none, for many more: else `put` would copy all columns.

        In the thread that prepares, while nothing is applied; the owner may search. A column takes the place of the
        one it was copied from when it is whole, and the ids, which tell how many rows there is room for, come last.
        """
        wanted = self.used - len(self.free) + new
        if wanted > self.capacity:
            self._grow(wanted + _room(wanted))
        if self._table.is_tight(new):
            self._table.rebuild(new, self._regular(np.zeros(0, dtype=np.int32)), self._id_columns())

    def _grow(self, capacity: int) -> None:
        def grown(array: NDArray[Any]) -> NDArray[Any]:
            larger = np.zeros(capacity, dtype=array.dtype)
            larger[: len(array)] = array
            return larger

        for columns in (self.coded, self.numbers, self.packed):
            for name in columns:
                columns[name] = grown(columns[name])
        self.id_feed, self.id_high, self.id_low = map(grown, self._id_columns())


def with_room(column: NDArray[Any]) -> NDArray[Any]:
    """A copy of a column with room behind it."""
    larger = np.zeros(len(column) + _room(len(column)), dtype=column.dtype)
    larger[: len(column)] = column
    return larger


def _room(rows: int) -> int:
    return max(_FIRST_ROWS, rows // _ROOM_SHARE)
