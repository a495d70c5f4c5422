"""The order of stones: one sorting key as one number a stone where that is enough, whole comparisons where it is not."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from api.engine.clusters import Clusters
from api.engine.ids import MAX_FEEDS
from api.engine.kernels import marks
from api.engine.kernels import sorting as order
from api.engine.limits import LEAST
from api.engine.plan import WEIGHTS, Plan
from api.engine.stock import Stock
from api.query import After, Query, SortKey, Value
from api.ranks import TextOrder

PRICE: Final = "price_cents"

_LAST: Final = np.iinfo(np.int64).max
_BIT63: Final = np.uint64(1 << 63)
_NO_RANKS: Final = np.zeros(0, dtype=np.int64)
_NO_SECOND: Final = (False, 0)
_KEY_BITS: Final = 63
_EQUALS: Final = 256
_ROOM: Final = 96
"""Candidates held beyond twice those that are wanted."""
_ROOM_FOR_EQUALS: Final = 768
"""The same, where keys do not tell all stones apart."""
_CODE_BITS: Final = 21
_CARAT_BITS: Final = 24
_PRICE_BITS: Final = 32
_BITS: Final = MappingProxyType({np.int8: 9, np.int16: 17, np.int32: 33, np.int64: 42})
"""Bits that the numbers of a column take, unknown ones included; of 64-bit ones, those that a moment takes."""


class Key(NamedTuple):
    """How an attribute becomes the upper bits of a sorting key; see `api.engine.kernels.sorting.smallest`.

    `ascending` says whether clusters have their stones in its order.
    """

    column: NDArray[Any]
    by_row: bool
    ranks: NDArray[np.int64]
    null: int
    offset: int
    bits: int
    ascending: bool = False


class Sorter:
    """Finds the first stones of an order among those that match."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._orders: dict[str, tuple[int, TextOrder]] = {}
        self._ranks: tuple[int, NDArray[np.int64]] = (-1, _NO_RANKS)

    def first(
        self, query: Query, plan: Plan, clusters: Clusters, matching: Any, total: int, most: int
    ) -> list[int]:
        """Rows of the first `most` stones among those that match, in order from the query's offset on."""
        found = self._quick(query, plan, clusters, matching, most)
        if found is None:
            places = np.empty(total, dtype=np.int32)
            marks.marked(matching.spans, matching.words, places)
            return self.whole(query, clusters.row_at[places], most)
        return found

    def _quick(
        self, query: Query, plan: Plan, clusters: Clusters, matching: Any, most: int
    ) -> list[int] | None:
        """By one number a stone, which tells most of the order; None when the attribute does not fit in one."""
        stock, sort = self._stock, query.sort[0]
        key = self._key(sort.name, clusters)
        if key is None:
            return None
        second, second_descending, second_bits, said = self._second(query.sort, key, clusters)
        room = _KEY_BITS - key.bits - second_bits
        if not said or stock.odd_ids or len(stock.encoder.ids.feeds) > MAX_FEEDS:
            room = 0
        after = self._after(query, key, second_bits, room) if query.after else (-1, -1)
        if after is None:
            return None
        held = 2 * most + (_ROOM if room else _ROOM_FOR_EQUALS)
        # Places at first, rows at the end.
        keys, places = np.empty(held, dtype=np.int64), np.empty(held, dtype=np.int32)
        equals = np.empty(_EQUALS, dtype=np.int32)
        count, distinct, same = order.smallest(
            *(matching.spans, matching.mask, matching.words, key.ascending and plan.rows is None),
            *(clusters.row_at, key.column, key.by_row, key.ranks, key.null, sort.descending, key.offset),
            *(key.bits, second, second_descending, second_bits, room, self._feed_ranks(), stock.id_feed),
            *(stock.id_high, *after, query.offset, most, keys, places, equals),
        )
        if count < 0:
            return None
        if distinct and not same and (room or count < 2):
            found: list[int] = places[: min(count, most)].tolist()
            return found
        return self.whole(query, np.concatenate([equals[:same], places[:count]]), most)

    def _second(
        self, sort: tuple[SortKey, ...], key: Key, clusters: Clusters
    ) -> tuple[NDArray[np.int32], bool, int, bool]:
        """A second attribute of the key, and whether attributes have then said all that they have to say."""
        if len(sort) > 1:
            for name, column, bits in (
                (PRICE, clusters.price, _PRICE_BITS),
                ("carat", clusters.carat, _CARAT_BITS),
            ):
                if sort[1].name != name or key.bits + bits > _KEY_BITS:
                    continue
                step = self._stock.step(name)
                if not step.floating and step.dtype is not np.int64:
                    return column, sort[1].descending, bits, len(sort) == 2
        return clusters.price, *_NO_SECOND, len(sort) == 1

    def whole(self, query: Query, rows: NDArray[np.int32], most: int) -> list[int]:
        """Rows of the first `most` stones of these, whatever the keys."""
        order = [self._ranks_of(key, rows) for key in query.sort]
        stock = self._stock
        feed = 2 * self._feed_ranks()[stock.id_feed[rows]]
        order += [feed, _signed(stock.id_high[rows]), _signed(stock.id_low[rows])]
        if query.after is not None:
            later = self._later(query, query.after, rows, order)
            rows, order = rows[later], [ranks[later] for ranks in order]
        first = _first(order, most)
        chosen = rows[first].tolist()
        keys = [ranks[first].tolist() for ranks in order[: len(query.sort)]]
        ranked = sorted(zip(*keys, map(stock.id_text, chosen), chosen, strict=True))
        return [entry[-1] for entry in ranked[:most]]

    def end_of(self, query: Query, row: int) -> After:
        """Where the page behind this row begins."""
        return After(tuple([self._value(key.name, row) for key in query.sort]), self._stock.id_text(row))

    def _key(self, name: str, clusters: Clusters) -> Key | None:
        stock = self._stock
        if name not in stock.numbers:
            ranks = self._order(name).by_code
            return Key(stock.coded[name], True, np.where(ranks == _LAST, -1, ranks), -1, 0, _CODE_BITS)
        step = stock.step(name)
        if step.floating:
            return None
        if name == "carat":
            return Key(clusters.carat, False, _NO_RANKS, -1, 0, _CARAT_BITS, ascending=True)
        if name == PRICE and step.dtype is np.int32:
            return Key(clusters.price, False, _NO_RANKS, LEAST, 0, _PRICE_BITS)
        offset = 0 if step.dtype is np.int64 else step.null + 1
        return Key(stock.numbers[name], True, _NO_RANKS, step.null, offset, _BITS[step.dtype])

    def _after(self, query: Query, key: Key, second_bits: int, room: int) -> tuple[int, int] | None:
        """The key of a page's end, and its row if the stone is still there; None if there is no such key."""
        after = query.after
        assert after is not None
        found = 0
        for sort, value, bits, offset in zip(
            query.sort, after.values, (key.bits, second_bits), (key.offset, 0), strict=False
        ):
            if not bits:
                break
            stored = self._in_clusters(sort.name, value)
            last = (1 << bits) - 1
            component = last if stored is None else stored - offset
            if isinstance(component, float) or (stored is not None and not 0 <= component < last):
                return None
            if stored is not None and sort.descending:
                component = last - 1 - component
            found = found << bits | component
        if not room:
            return found, -1
        ids = self._stock.encoder.ids
        if ids.feeds.find(after.stone_id.partition(":")[0]) is None:
            return None
        packed = ids.pack([after.stone_id])
        if packed.odd:
            return None
        rest = int(self._feed_ranks()[packed.feed[0]]) << 59 | int(packed.high[0]) >> 5
        return found << room | rest >> (64 - room), int(self._stock.find(packed)[0])

    def _in_clusters(self, name: str, value: Value) -> int | float | None:
        """As `_stored`, but weights in the unit of the clusters."""
        if name == "carat" and value is not None and not isinstance(value, str):
            stored = WEIGHTS.low(value)
            return int(stored) if WEIGHTS.load(stored) == value else stored - 0.5
        return self._stored(name, value)

    def _stored(self, name: str, value: Value) -> int | float | None:
        """A value as its column holds it or a text's rank; a fraction where no stone can have it."""
        if value is None:
            return None
        if isinstance(value, str):
            return self._order(name).rank(value)
        step = self._stock.step(name)
        if step.floating:
            return float(value)
        low = step.low(value)
        stored = int(low)
        return stored if step.load(stored) == value else stored - 0.5

    def _value(self, name: str, row: int) -> Value:
        if name in self._stock.numbers:
            return self._stock.number(name, row)
        text: Value = self._stock.texts(name)[self._stock.coded[name][row]]
        return text

    def _ranks_of(self, key: SortKey, rows: NDArray[np.int32]) -> NDArray[Any]:
        name = key.name
        if name in self._stock.numbers:
            step = self._stock.step(name)
            stored = self._stock.numbers[name][rows]
            unknown = np.isnan(stored) if step.floating else stored == step.null
            ranks = stored if step.floating else stored.astype(np.int64)
        else:
            ranks = self._order(name).by_code[self._stock.coded[name][rows]]
            unknown = ranks == _LAST
        if key.descending:
            ranks = -ranks
        if unknown.any():
            ranks = np.where(unknown, np.inf if ranks.dtype.kind == "f" else _LAST, ranks)
        return ranks

    def _later(self, query: Query, after: After, rows: Any, order: list[NDArray[Any]]) -> NDArray[np.bool_]:
        """Which rows come behind the end of the page before."""
        place: list[int | float] = []
        for key, value in zip(query.sort, after.values, strict=True):
            stored = self._stored(key.name, value)
            if stored is None:
                place.append(np.inf if order[len(place)].dtype.kind == "f" else _LAST)
            else:
                place.append(-stored if key.descending else stored)
        feed, high, low = self._stock.encoder.ids.place(after.stone_id)
        place += [feed, *(int(_signed(np.array([word], dtype=np.uint64))[0]) for word in (high, low))]
        later = np.zeros(len(rows), dtype=np.bool_)
        equal = np.ones(len(rows), dtype=np.bool_)
        for ranks, end in zip(order, place, strict=True):
            later |= equal & (ranks > end)
            equal &= ranks == end
        for found in np.flatnonzero(equal).tolist():
            later[found] = self._stock.id_text(int(rows[found])) > after.stone_id
        return later

    def _order(self, name: str) -> TextOrder:
        codes = self._stock.codes(name)
        size, order = self._orders.get(name, (0, None))
        if order is None or size != len(codes):
            order = TextOrder(name, codes)
            self._orders[name] = (len(codes), order)
        return order

    def _feed_ranks(self) -> NDArray[np.int64]:
        feeds = len(self._stock.encoder.ids.feeds)
        if self._ranks[0] != feeds:
            self._ranks = feeds, self._stock.encoder.ids.ranks()
        return self._ranks[1]


def _first(order: list[NDArray[Any]], count: int) -> NDArray[np.intp]:
    """Positions of the `count` first in lexicographic order, and of all that tie with the last of them."""
    candidates: NDArray[np.intp] = np.arange(len(order[0]))
    taken: list[NDArray[np.intp]] = []
    for ranks in order:
        if len(candidates) <= count:
            break
        own = ranks[candidates]
        border = np.partition(own, count - 1)[count - 1]
        taken.append(candidates[own < border])
        count -= len(taken[-1])
        candidates = candidates[own == border]
    return np.concatenate([*taken, candidates])


def _signed(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Words as signed numbers of the same order."""
    return (words ^ _BIT63).view(np.int64)
