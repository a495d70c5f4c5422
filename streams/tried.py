"""What a new rule set gives each stone: told by columns, a million of them a second.

A stone whose price, currency, rule and rating stay the same is not written again: it goes on naming the number it was
priced under, and its price is what that number gives. The others are written from what the columns say and their
record's own bytes, without reading either. The columns are read from the memory's records while nothing else is to be
done, so that a new number finds them ready.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT, Columns
from schemas.ruleset import PublishedRuleSet
from streams.fields import Fields
from streams.memory import Held, Memory
from streams.pricing.bulk import BulkBook
from streams.pricing.engine import Margin, buckets
from streams.pricing.shelf import BUCKET, FIRST_SEEN, Shelf, attributes_of
from streams.records import terms_texts
from streams.transcription.record import Texts

_COMPARED: Final = frozenset({"price_cents", "currency", "rule", "rating", "feed"})
_ROW: Final = "memory_row"
_OFFSET: Final = "read_offset"
_HASH: Final = "hash"
_NOWHERE: Final = -1
_RATINGS: Final = 16
"""More than there are ratings."""


class Given(NamedTuple):
    """What a number gives some stones.

    Attributes:
        ids: the stones'.
        rows: of the memory.
        offsets: those they were read at.
        prices: in minor units of the sale currency.
        terms: places in `named_terms`.
    """

    ids: list[str]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]
    prices: NDArray[np.int64]
    terms: NDArray[np.int64]
    named_terms: Texts


class _Outcome(NamedTuple):
    """What a number gives the stones of the columns, as they were when it was tried; an array each, by place."""

    number: int
    price_cents: NDArray[np.int64]
    terms: NDArray[np.int32]
    rating: NDArray[np.int8]
    margins: Sequence[Margin]
    currencies: Sequence[str]
    valid: NDArray[np.bool_]


_NO_OUTCOME: Final = _Outcome(
    *(0, np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.int8), (), ()), np.empty(0, np.bool_)
)


class Tried:
    """The columns, and the last number tried on them. One thread at a time.

    Attributes:
        waiting: places of the stones that the number changes, by feed; whoever writes them takes them out.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._feeds: set[str] = set()
        self._ids: list[str] = []
        self._stale: NDArray[np.int64]
        self._columns: Columns
        self._fields: Fields
        self.waiting: dict[str, NDArray[np.int64]] = {}
        self._begin(_COMPARED)

    @property
    def number(self) -> int:
        """The number that was tried last; 0 before the first."""
        return self._outcome.number

    def read(self, published: PublishedRuleSet, feeds: Collection[str], limit: int) -> int:
        """Bring at most `limit` stones of these feeds that are new or newer into the columns; how many are left then."""
        wanted = attributes_of(published) | _COMPARED
        if not wanted <= self._names:
            self._begin(wanted | self._names)
        if not len(self._stale) or set(feeds) != self._feeds:
            self._feeds = set(feeds)
            self._stale = self._without_our_own(self._memory.rows_newer_than(feeds, self._read_offsets()))
        held = self._memory.records(self._stale[:limit])
        self._stale = self._stale[limit:]
        if len(held.rows):
            self._put(held)
        return len(self._stale)

    def look(self, published: PublishedRuleSet) -> int:
        """Try a number on all that was read, and tell the memory which stones it leaves as they are; how many."""
        columns, used = self._columns, self._columns.used
        self._ids = list(columns.rows)
        shelf = Shelf(
            ids=self._ids,
            arrays={name: columns[name] for name in self._names},
            texts={name: tuple(codes.texts) for name, codes in columns.codes.items()},
            buckets=columns[BUCKET],
        )
        book = BulkBook(published, shelf)
        price, terms = np.empty(used, np.int64), np.empty(used, np.int32)
        ratings = np.empty(used, np.int8)
        for rows in book.lots():
            _, price[rows], terms[rows], ratings[rows] = book.lot(rows)
        self._outcome = _Outcome(
            published.number, price, terms, ratings, book.margins, book.currencies, np.ones(used, np.bool_)
        )
        rules, currencies = self._codes("rule", book.names), self._codes("currency", book.currencies)
        known = columns["rating"]
        same = (
            (price == columns["price_cents"])
            & (rules[terms] == columns["rule"])
            & (currencies[terms] == columns["currency"])
            & (ratings == np.where(known == NULL_INT, 0, known))
        )
        alike = np.flatnonzero(same)
        left = self._memory.leave_as_they_are(columns[_ROW][alike], columns[_OFFSET][alike], published.number)
        self.waiting = {
            feed: self._places_of(self._memory.rows_below_rules(feed, published.number))
            for feed in self._feeds
        }
        return left

    def given(self, places: NDArray[np.int64]) -> Given:
        """What the number gives the stones in these places."""
        outcome, arrays = self._outcome, self._columns.arrays
        pairs = outcome.terms[places] * _RATINGS + outcome.rating[places]
        different, terms = np.unique(pairs, return_inverse=True)
        return Given(
            [self._ids[place] for place in places.tolist()],
            arrays[_ROW][places],
            arrays[_OFFSET][places],
            outcome.price_cents[places],
            terms,
            terms_texts(
                (outcome.margins[pair // _RATINGS], pair % _RATINGS or None) for pair in different.tolist()
            ),
        )

    def _begin(self, names: frozenset[str]) -> None:
        self._names = names
        self._stale = np.empty(0, dtype=np.int64)
        self._outcome = _NO_OUTCOME
        self.waiting = {}
        self._columns = Columns(sorted(names), extra=(BUCKET, _ROW, _OFFSET, _HASH))
        self._places = np.empty(0, np.int64)
        self._fields = Fields(self._columns)

    def _read_offsets(self) -> NDArray[np.int64]:
        """The offset each row of the memory was read at; below all where it was not."""
        offsets: NDArray[np.int64] = self._columns.arrays[_OFFSET][self._places]
        offsets[self._places == _NOWHERE] = _NOWHERE
        return offsets

    def _without_our_own(self, stale: NDArray[np.int64]) -> NDArray[np.int64]:
        """What was written since under the number tried, of the same content, is as was foretold: no need to read it."""
        outcome, arrays = self._outcome, self._columns.arrays
        places = self._places_of(stale)
        places = places[places < len(outcome.valid)]
        places = places[outcome.valid[places]]
        offsets, numbers, hashes, seen_s = self._memory.standing(arrays[_ROW][places])
        told = (numbers == outcome.number) & (hashes == arrays[_HASH][places])
        if FIRST_SEEN in self._names:
            # A stone that was gone and came back as it was is young again.
            read = arrays[FIRST_SEEN][places]
            told &= seen_s == np.where(read == NULL_INT, NULL_INT, read // 1000)
        places = places[told]
        if not len(places):
            return stale
        terms = outcome.terms[places]
        arrays["price_cents"][places] = outcome.price_cents[places]
        arrays["rule"][places] = self._codes("rule", [margin.rule for margin in outcome.margins])[terms]
        arrays["currency"][places] = self._codes("currency", outcome.currencies)[terms]
        rating = outcome.rating[places].astype(np.int64)
        arrays["rating"][places] = np.where(rating == 0, NULL_INT, rating)
        arrays[_OFFSET][places] = offsets[told]
        return np.setdiff1d(stale, arrays[_ROW][places], assume_unique=True)

    def _places_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where these rows of the memory are in the columns; without those that were not read."""
        places = self._places[rows[rows < len(self._places)]]
        read: NDArray[np.int64] = places[places != _NOWHERE]
        return read

    def _codes(self, name: str, texts: Sequence[str]) -> NDArray[np.int32]:
        return self._columns.codes[name].add_all(texts)

    def _put(self, held: Held) -> None:
        spans = np.stack([np.concatenate([[0], held.ends[:-1]]), held.ends])
        read = self._fields.put(np.frombuffer(held.records, np.uint8), spans)
        for error in read.failures.values():
            raise error
        rows, places = held.rows[read.places], read.rows
        arrays = self._columns.arrays
        arrays[BUCKET][places] = buckets(read.ids)
        arrays[_ROW][places] = rows
        arrays[_OFFSET][places] = held.offsets[read.places]
        arrays[_HASH][places] = held.hashes[read.places]
        self._outcome.valid[places[places < len(self._outcome.valid)]] = False
        if rows.max() >= len(self._places):
            grown = np.full(2 * (int(rows.max()) + 1), _NOWHERE, dtype=np.int64)
            grown[: len(self._places)] = self._places
            self._places = grown
        self._places[rows] = places
