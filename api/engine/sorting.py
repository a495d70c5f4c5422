"""The order of stones: one sorting key as one number a stone where that is enough, whole comparisons where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.clusters import Clusters
from api.engine.ids import MAX_FEEDS
from api.engine.kernels import sorting as order
from api.engine.limits import LEAST
from api.engine.plan import Plan
from api.engine.stock import Stock
from api.fields import NUMBERS
from api.query import After, Query, SortKey, Value
from api.ranks import TextOrder

PRICE: Final = "price_cents"

_LAST: Final = np.iinfo(np.int64).max
_BIT63: Final = np.uint64(1 << 63)
_NO_RANKS: Final = np.zeros(0, dtype=np.int64)
_MOMENT_BITS: Final = 42
_CODE_BITS: Final = 33
_NUMBER_BITS: Final = 33
_WALK_MANY: Final = 4_000
_OTHERS: Final = 20_000
_SLACK_STEPS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Key:
    """How an attribute becomes the upper bits of a sorting key; see `api.engine.kernels.sorting.smallest`."""

    column: NDArray[Any]
    by_row: bool
    ranks: NDArray[np.int64]
    null: int
    offset: int
    bits: int


class Sorter:
    """Finds the first stones of an order among those that match."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._orders: dict[str, tuple[int, TextOrder]] = {}
        self._ranks: tuple[int, NDArray[np.int64]] = (-1, _NO_RANKS)

    def quick(
        self, query: Query, plan: Plan, clusters: Clusters, spans: Any, words: Any, total: int, most: int
    ) -> NDArray[np.int32] | None:
        """Positions of the first `most` stones, by a single key; None when that is not enough to tell."""
        stock, sort = self._stock, query.sort[0]
        feeds = stock.encoder.ids.feeds
        if len(query.sort) > 1 or stock.odd_ids or len(feeds) > MAX_FEEDS:
            return None
        key = self._key(sort.name, clusters)
        after, after_row = self._after(query.after, sort, key) if query.after else (-1, -1)
        if key is None or after is None:
            return None
        room = max(2 * most, 256)
        keys, places = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int32)
        ids = (self._feed_ranks(), stock.id_feed, stock.id_high)
        found = -2
        if sort.name == PRICE and not key.by_row and self._worth_a_walk(plan, clusters, total, most):
            low, high = plan.low, plan.high
            value = query.after.values[0] if query.after else None
            if isinstance(value, int):
                # Whatever is before the page's beginning need not be walked past.
                low, high = (low, min(high, value)) if sort.descending else (max(low, value), high)
            steps = 4 * most * max(1, clusters.ordered_end // max(1, total)) + _SLACK_STEPS
            found = order.walk(
                *(clusters.order, clusters.ordered_price, clusters.moved, clusters.others(), clusters.front),
                *(clusters.rear, clusters.price, clusters.carat, clusters.row_at),
                *(np.uint32(plan.no_front), np.uint32(plan.no_rear), low, high, plan.carat_low),
                *(
                    plan.carat_high,
                    sort.descending,
                    key.offset,
                    key.bits,
                    *ids,
                    after,
                    after_row,
                    most,
                    steps,
                ),
                *(keys, places),
            )
        if found == -2:
            found = order.smallest(
                *(
                    spans,
                    words,
                    clusters.row_at,
                    key.column,
                    key.by_row,
                    key.ranks,
                    key.null,
                    sort.descending,
                ),
                *(key.offset, key.bits, *ids, after, after_row, most, keys, places),
            )
        return None if found < 0 else places[:found]

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
        return After(tuple(self._value(key.name, row) for key in query.sort), self._stock.id_text(row))

    def _worth_a_walk(self, plan: Plan, clusters: Clusters, total: int, most: int) -> bool:
        if plan.by_row or plan.rows is not None or total < _WALK_MANY or len(clusters.others()) > _OTHERS:
            return False
        return 4 * most * clusters.ordered_end < total * total

    def _key(self, name: str, clusters: Clusters) -> Key | None:
        stock = self._stock
        if name not in NUMBERS:
            ranks = self._order(name).by_code
            ranks = np.where(ranks == _LAST, -1, ranks)
            return Key(stock.coded[name], True, ranks, -1, 0, _CODE_BITS)
        step = stock.step(name)
        column = stock.numbers[name]
        if step.floating:
            return None
        if step.dtype is np.int64:
            return Key(column, True, _NO_RANKS, step.null, 0, _MOMENT_BITS)
        if name == PRICE:
            return Key(clusters.price, False, _NO_RANKS, LEAST, LEAST + 1, _NUMBER_BITS)
        return Key(column, True, _NO_RANKS, step.null, LEAST + 1, _NUMBER_BITS)

    def _after(self, after: After, sort: SortKey, key: Key | None) -> tuple[int | None, int]:
        """The sorting key of a page's end, and its row if the stone is still there."""
        stock, ids = self._stock, self._stock.encoder.ids
        if key is None or ids.feeds.find(after.stone_id.partition(":")[0]) is None:
            return None, -1
        packed = ids.pack([after.stone_id])
        stored = self._stored(sort.name, after.values[0])
        if packed.odd or isinstance(stored, float):
            return None, -1
        last = (1 << key.bits) - 1
        if stored is None:
            component = last
        else:
            component = stored - key.offset
            if not 0 <= component < last:
                return None, -1
            component = last - 1 - component if sort.descending else component
        room = 63 - key.bits
        rest = int(self._feed_ranks()[packed.feed[0]]) << 59 | int(packed.high[0]) >> 5
        return component << room | rest >> (64 - room), int(stock.find(packed)[0])

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
        if name in NUMBERS:
            return self._stock.number(name, row)
        text: Value = self._stock.texts(name)[self._stock.coded[name][row]]
        return text

    def _ranks_of(self, key: SortKey, rows: NDArray[np.int32]) -> NDArray[Any]:
        name = key.name
        if name in NUMBERS:
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
