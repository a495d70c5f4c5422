"""The plain search index: numpy masks over columns. Slow, and easy to trust: what the fast one is held to.

Records are in `Fragments` beside the columns; nothing but what a search looks at is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from api.fields import FIELDS, Kind
from api.fragments import NOTHING, Fragments, Spans
from api.index import Batch, Counted, Numbers, Page, parts
from api.query import After, Facets, Number, Query, Range, SortKey
from api.ranks import Ranker, Ranks
from api.searchable import Searchable, decode_searchable
from api.values import Data
from schemas.columns import NULL_BOOL, NULL_INT, Columns

_EXACT: Final = tuple(name for name, field in FIELDS.items() if field.kind is Kind.EXACT)
_COLUMNS: Final = tuple(name for name in FIELDS if name not in _EXACT)
_DERIVED: Final = {
    "price_per_carat_cents": "bigint",
    "ratio": "double precision",
    "has_image": "boolean",
    "has_video": "boolean",
}
_SIGN: Final = np.uint64(1 << 63)
_WORD: Final = 8

Rows = NDArray[np.intp]


class PlainIndex:
    """`api.index.Index` over numpy columns.

    Args:
        folder: where the records' files are; the system's temporary folder without one.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._columns = Columns(_COLUMNS, extra=("id_high", "id_low"), derived=_DERIVED)
        self._fragments = Fragments(folder)
        self._ranker = Ranker(self._columns)
        self._texts: dict[str, list[str | None]] = {name: [] for name in _EXACT}
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        """Stones held, available or not."""
        return len(self._columns)

    @property
    def positions(self) -> Mapping[str, int]:
        """Per feed the last position, epoch ms by the vendor's clock."""
        return self._positions

    def values(self, name: str) -> Sequence[str]:
        """The values that stones ever had of a listed attribute."""
        return [text for text in self._columns.codes[name].texts if text is not None]

    @property
    def fragments(self) -> Fragments:
        """The canonical record and the item of each row."""
        return self._fragments

    def row(self, stone_id: str) -> int | None:
        """Where a stone is in `fragments`, or None if there is none."""
        return self._columns.rows.get(stone_id)

    def find(self, data: Data, ids: Spans) -> NDArray[np.int64]:
        """Where stones are in `fragments`, -1 for those that are not held."""
        texts = (data[begin:end].tobytes().decode(errors="replace") for begin, end in ids.T)
        return np.array([self._columns.rows.get(text, -1) for text in texts], dtype=np.int64)

    def prepare(self, batch: Batch, at_once: int) -> list[Callable[[], None]]:
        """Nothing is encoded beforehand: the results do all the work."""
        return [partial(self.apply, part) for part in parts(batch, at_once)]

    def apply(self, batch: Batch) -> None:
        """Take over a batch; the next search sees all of it. Raises `OSError` when the disk is full."""
        for records in (batch.records, batch.priced.records if batch.priced else NOTHING):
            if len(records):
                stones = [decode_searchable(record) for record in records]
                self._fragments.put(self._describe(stones), records)
        gone = [row for row in map(self._columns.remove, batch.removed) if row is not None]
        if gone:
            self._fragments.drop(np.array(gone))
        self._positions.update(batch.positions)
        self._fragments.reclaim()

    def save(self, folder: Path) -> None:
        """Write everything but the records into files in an empty folder, for `load`. Raises `OSError`."""
        places = self._fragments.places(self._columns.used)
        np.save(folder / "places.npy", places[self._columns.live[: self._columns.used]])
        (folder / "positions.json").write_bytes(msgspec.json.encode(self._positions))

    def load(self, folder: Path, records: Mapping[str, int]) -> None:
        """Fill an empty index with what was saved, by reading the records again.

        Raises:
            OSError: a file is missing.
            ValueError: a file is damaged.
        """
        places = np.load(folder / "places.npy")
        self._fragments.restore(places, records)
        stones = [decode_searchable(self._fragments.record(row)) for row in range(len(places))]
        if stones:
            self._describe(stones)
        self._positions = msgspec.json.decode((folder / "positions.json").read_bytes(), type=dict[str, int])

    def settle(self) -> None:
        """Nothing is arranged here."""

    def search(self, query: Query) -> Page:
        """One page, the exact total, and facets."""
        rows = np.flatnonzero(self._mask(query))
        total = len(rows)
        counted = None if query.facets is None else self._counted(query, query.facets)
        if query.limit == 0:
            return Page([], total, None, counted)
        keys = [self._ranker.of_rows(key, rows) for key in query.sort]
        order = [*keys, *self._id_ranks(rows)]
        if query.after is not None:
            later = self._later(query, query.after, rows, order)
            rows, order = rows[later], [ranks[later] for ranks in order]
        chosen, last = self._page(query, rows, order)
        return Page(chosen, total, last, counted)

    def _describe(self, stones: list[Searchable]) -> Rows:
        """Put stones into the columns; their rows."""
        columns = self._columns
        rows = np.array(columns.put(stones))
        arrays = columns.arrays
        arrays["id_high"][rows], arrays["id_low"][rows] = _id_words([stone.id for stone in stones])
        for name, texts in self._texts.items():
            texts.extend([None] * (columns.used - len(texts)))
            for row, stone in zip(rows.tolist(), stones, strict=True):
                texts[row] = getattr(stone, name)
        return rows

    def _mask(self, query: Query) -> NDArray[np.bool_]:
        mask = self._columns.live[: self._columns.used].copy()
        for name, truth in query.flags.items():
            mask &= self._columns[name] == (1 if truth else 0)
        for name, values in query.lists.items():
            mask &= self._one_of(name, values)
        for name, wanted in query.ranges.items():
            mask &= self._within(name, wanted)
        for name, beginnings in query.prefixes.items():
            found = [text is not None and text.startswith(beginnings) for text in self._texts[name]]
            mask &= np.array(found, dtype=np.bool_)
        return mask

    def _one_of(self, name: str, values: Sequence[str]) -> NDArray[np.bool_]:
        if name in self._texts:
            wanted_texts = frozenset(values)
            return np.array([text in wanted_texts for text in self._texts[name]], dtype=np.bool_)
        codes = self._columns.codes[name]
        wanted = [code for code in map(codes.find, values) if code is not None]
        if len(wanted) == 1:
            one: NDArray[np.bool_] = self._columns[name] == wanted[0]
            return one
        allowed = np.zeros(len(codes), dtype=np.bool_)
        allowed[wanted] = True
        any_of: NDArray[np.bool_] = allowed[self._columns[name]]
        return any_of

    def _within(self, name: str, wanted: Range) -> NDArray[np.bool_]:
        column = self._columns[name]
        known = _known(column)
        if wanted.low is not None:
            known &= column >= wanted.low
        if wanted.high is not None:
            known &= column <= wanted.high
        return known

    def _counted(self, query: Query, facets: Facets) -> Counted:
        def rows_for(name: str) -> Rows:
            return np.flatnonzero(self._mask(without(query, name) if facets.exclude_own else query))

        return Counted(
            {name: self._counts(name, rows_for(name)) for name in facets.counts},
            {
                name: self._numbers(name, rows_for(name), edges or FIELDS[name].edges)
                for name, edges in facets.numbers.items()
            },
        )

    def _counts(self, name: str, rows: Rows) -> dict[str | bool | None, int]:
        found, counts = np.unique(self._columns[name][rows], return_counts=True)
        texts: Any = {NULL_BOOL: None, 0: False, 1: True}
        if name in self._columns.codes:
            texts = self._columns.codes[name].texts
        return {texts[value]: count for value, count in zip(found.tolist(), counts.tolist(), strict=True)}

    def _numbers(self, name: str, rows: Rows, edges: tuple[Number, ...]) -> Numbers:
        column = self._columns[name][rows]
        values = np.sort(column[_known(column)])
        below = np.searchsorted(values, edges, side="left").tolist()
        buckets = np.diff([0, *below, len(values)]).tolist()
        if not len(values):
            return Numbers(0, None, None, None, edges, tuple(buckets))
        return Numbers(
            len(values), values[0].item(), values[-1].item(), float(values.mean()), edges, tuple(buckets)
        )

    def _id_ranks(self, rows: Rows) -> list[Ranks]:
        arrays = self._columns.arrays
        feed = self._ranker.of_rows(SortKey("feed"), rows)
        return [feed, arrays["id_high"][rows], arrays["id_low"][rows]]

    def _later(self, query: Query, after: After, rows: Rows, order: list[Ranks]) -> NDArray[np.bool_]:
        """Which rows come behind the end of the page before."""
        feed = after.stone_id.partition(":")[0]
        high, low = (int(word[0]) for word in _id_words([after.stone_id]))
        place = [
            *(self._ranker.of_value(key, value) for key, value in zip(query.sort, after.values, strict=True)),
            self._ranker.of_value(SortKey("feed"), feed),
            high,
            low,
        ]
        later = np.zeros(len(rows), dtype=np.bool_)
        equal = np.ones(len(rows), dtype=np.bool_)
        for ranks, end in zip(order, place, strict=True):
            later |= equal & (ranks > end)
            equal &= ranks == end
        # Two words hold the first 16 characters of a vendor's id; the few that share them are compared whole.
        for position in np.flatnonzero(equal):
            later[position] = self._id(int(rows[position])) > after.stone_id
        return later

    def _page(self, query: Query, rows: Rows, order: list[Ranks]) -> tuple[list[int], After | None]:
        end = query.offset + query.limit
        first = _first(order, end + 1)
        keys = [ranks[first].tolist() for ranks in order[: len(query.sort)]]
        ids = [self._id(row) for row in rows[first].tolist()]
        ranked = sorted(zip(*keys, ids, rows[first].tolist(), strict=True))
        chosen = [entry[-1] for entry in ranked[query.offset : end]]
        more = len(ranked) > end
        return chosen, self._after(query, chosen[-1]) if more else None

    def _after(self, query: Query, row: int) -> After:
        values = tuple(self._columns.value(key.name, row) for key in query.sort)
        return After(values, self._id(row))

    def _id(self, row: int) -> str:
        stone_id = self._texts["id"][row]
        assert stone_id is not None
        return stone_id


def without(query: Query, name: str) -> Query:
    """The query without its filter on one attribute."""
    if name in query.lists:
        return replace(query, lists={key: query.lists[key] for key in query.lists if key != name})
    if name in query.ranges:
        return replace(query, ranges={key: query.ranges[key] for key in query.ranges if key != name})
    if name in query.flags:
        return replace(query, flags={key: query.flags[key] for key in query.flags if key != name})
    return query


def _known(column: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = ~np.isnan(column) if column.dtype.kind == "f" else column != _null_of(column)
    return known


def _first(order: list[Ranks], count: int) -> Rows:
    """Positions of the `count` first in lexicographic order, and of all that tie with the last of them."""
    candidates: Rows = np.arange(len(order[0]))
    taken: list[Rows] = []
    for ranks in order:
        if len(candidates) <= count:
            break
        own = ranks[candidates]
        border = np.partition(own, count - 1)[count - 1]
        taken.append(candidates[own < border])
        count -= len(taken[-1])
        candidates = candidates[own == border]
    return np.concatenate([*taken, candidates])


def _id_words(ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first 16 bytes of each vendor id as two integers that sort as the bytes do."""
    heads = [stone_id.partition(":")[2][: 2 * _WORD].encode()[: 2 * _WORD] for stone_id in ids]
    words = np.array(heads, dtype=f"S{2 * _WORD}").view(">u8").astype(np.uint64) ^ _SIGN
    signed = words.view(np.int64).reshape(-1, 2)
    return signed[:, 0], signed[:, 1]


def _null_of(column: NDArray[Any]) -> int:
    return NULL_BOOL if column.dtype == np.int8 else NULL_INT
