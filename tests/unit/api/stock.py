"""Stones for searches, and a naive search to compare with."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import floor, isclose
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from api.fields import FIELDS, Kind
from api.folding import Folded, take_known
from api.fragments import frame
from api.index import Batch, Counted, Index, Numbers, Page
from api.query import After, Query, SortKey
from api.values import read
from connectors.log.records import of
from schemas.columns import epoch_ms
from schemas.grades import CLARITIES, COLORS, FANCY_INTENSITIES, FLUORESCENCES, QUALITIES
from schemas.stone import Availability, Stone, encode
from tests.unit.schemas.stones import make_stone

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def stones(ids: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Stone]:
    """Stones with few different values, so that ties and empty answers are common."""
    feed = st.sampled_from(("nivoda-natural", "nivoda-labgrown", "nivoda"))
    vendor_id = ids or st.text("ab0-é", min_size=1, max_size=3) | st.text("ab", min_size=17, max_size=19)
    return st.builds(
        _stone,
        feed=feed,
        vendor_id=vendor_id,
        shape=st.sampled_from(("ROUND", "OVAL", "KITE")),
        carat=st.sampled_from((0.3, 0.5, 1.0, 1.01, 2.5)),
        color=st.none() | st.sampled_from((*COLORS[:4], "FANCY", "ODD")),
        clarity=st.none() | st.sampled_from(CLARITIES[:5]),
        cut=st.none() | st.sampled_from(QUALITIES),
        polish=st.none() | st.sampled_from(QUALITIES[:3]),
        fluorescence=st.none() | st.sampled_from(FLUORESCENCES[:3]),
        lab=st.none() | st.sampled_from(("GIA", "IGI")),
        certificate_number=st.none() | st.sampled_from(("1", "2", "A-3")),
        lab_grown=st.booleans(),
        fancy_intensity=st.none() | st.sampled_from(FANCY_INTENSITIES[:3]),
        price_cents=st.integers(0, 5),
        cost_cents=st.integers(0, 3),
        list_discount_bps=st.none() | st.integers(-2, 2),
        length_mm=st.none() | st.sampled_from((4.0, 4.25, 4.2501)),
        width_mm=st.none() | st.just(4.0),
        girdle=st.none() | st.sampled_from(("THIN", "Thin - Thick")),
        treated=st.none() | st.booleans(),
        image_url=st.none() | st.just("https://images.example/1"),
        supplier_stock_number=st.none() | st.sampled_from(("A-1", "A-12", "a-1", "0123456789ABCDEF", "")),
        availability=st.sampled_from(Availability),
        first_seen=st.none() | st.integers(0, 3).map(lambda s: _BEGIN + timedelta(seconds=s)),
        updated_at=st.integers(0, 3).map(lambda ms: _BEGIN + timedelta(milliseconds=ms)),
    )


def _stone(feed: str, vendor_id: str, **changes: Any) -> Stone:
    return make_stone(id=f"{feed}:{vendor_id}", feed=feed, **changes)


def batch_of(*changed: Stone, removed: tuple[str, ...] = (), **positions: int) -> Batch:
    # Not folded: a stone's key may be anything here, that of a position too.
    log = of((stone.id.encode(), encode(stone)) for stone in changed)
    values, borders, failures = read(log.data, log.values, log.keys)
    assert not failures
    return Batch(values, frame(log.data, log.values, borders), list(removed), positions)


def known_batch_of(index: Index, *changed: Stone, removed: tuple[str, ...] = ()) -> Batch:
    """The same, where of stones that are held with their contents only the price is told."""
    log = of((stone.id.encode(), encode(stone)) for stone in changed)
    compared = index.fragments.compare(index.find(log.data, log.keys), log.data, log.values)
    folded = Folded(batch_of(removed=removed))
    left = take_known(log, np.arange(len(log)), compared, folded)
    told = batch_of(*(changed[place] for place in left.tolist()))
    return replace(folded.batch, stones=told.stones, records=told.records)


def records_of(index: Index, page: Page) -> list[bytes]:
    """The canonical records of a page's stones."""
    return [index.fragments.record(row) for row in page.rows]


def record_of(index: Index, stone_id: str) -> bytes | None:
    """The canonical record of a stone, if there is one."""
    row = index.row(stone_id)
    return None if row is None else index.fragments.record(row)


def naive_search(stock: list[Stone], query: Query) -> tuple[list[Stone], int]:
    """The page's stones and the total, the slow and obvious way."""
    matching = sorted((s for s in stock if _matches(s, query)), key=lambda s: _order(s, query.sort))
    total = len(matching)
    if query.after is not None:
        end = _order_of_end(query.after, query.sort)
        matching = [s for s in matching if _order(s, query.sort) > end]
    return matching[query.offset : query.offset + query.limit], total


def naive_counted(stock: list[Stone], query: Query) -> Counted:
    """The facets, the slow and obvious way."""
    facets = query.facets
    assert facets is not None
    counts, numbers = {}, {}
    for name in facets.counts:
        counts[name] = dict(Counter(value_of(stone, name) for stone in _counting(stock, query, name)))
    for name, edges in facets.numbers.items():
        edges = edges or FIELDS[name].edges
        values = [value_of(stone, name) for stone in _counting(stock, query, name)]
        values = [value for value in values if value is not None]
        buckets = [0] * (len(edges) + 1)
        for value in values:
            buckets[sum(edge <= value for edge in edges)] += 1
        mean = fmean(values) if values else None
        low, high = min(values, default=None), max(values, default=None)
        numbers[name] = Numbers(len(values), low, high, mean, tuple(edges), tuple(buckets))
    return Counted(counts, numbers)


def _counting(stock: list[Stone], query: Query, name: str) -> list[Stone]:
    assert query.facets is not None
    if query.facets.exclude_own:
        query = replace(
            query,
            lists={key: wanted for key, wanted in query.lists.items() if key != name},
            ranges={key: span for key, span in query.ranges.items() if key != name},
            flags={key: truth for key, truth in query.flags.items() if key != name},
        )
    return [stone for stone in stock if _matches(stone, query)]


def assert_counted(found: Counted | None, expected: Counted) -> None:
    """Equal, but for the last digits of a mean."""
    assert found is not None
    assert found.counts == expected.counts
    assert found.numbers.keys() == expected.numbers.keys()
    for name, wanted in expected.numbers.items():
        told = found.numbers[name]
        assert replace(told, mean=None) == replace(wanted, mean=None), name
        assert (told.mean is None) == (wanted.mean is None)
        assert wanted.mean is None or (told.mean is not None and isclose(told.mean, wanted.mean))


def value_of(stone: Stone, name: str) -> Any:
    """A stone's attribute as a search sees it."""
    if name == "ratio":
        known = stone.length_mm and stone.width_mm
        return round(stone.length_mm / stone.width_mm, 2) if known else None  # type: ignore[operator]
    if name == "price_per_carat_cents":
        exact = Fraction(stone.price_cents * 1000, round(stone.carat * 1000))
        return floor(exact + Fraction(1, 2))
    if name in ("has_image", "has_video"):
        return getattr(stone, name.replace("has_", "") + "_url") is not None
    value = getattr(stone, name)
    return epoch_ms(value) if isinstance(value, datetime) else value


def _matches(stone: Stone, query: Query) -> bool:
    for name, values in query.lists.items():
        if value_of(stone, name) not in values:
            return False
    for name, beginnings in query.prefixes.items():
        text = value_of(stone, name)
        if text is None or not text.startswith(beginnings):
            return False
    for name, wanted in query.ranges.items():
        value = value_of(stone, name)
        if value is None:
            return False
        if wanted.low is not None and value < wanted.low:
            return False
        if wanted.high is not None and value > wanted.high:
            return False
    return all(value_of(stone, name) is truth for name, truth in query.flags.items())


def _order(stone: Stone, sort: tuple[SortKey, ...]) -> tuple[Any, ...]:
    return (*(_place(key, value_of(stone, key.name)) for key in sort), stone.id)


def _order_of_end(after: After, sort: tuple[SortKey, ...]) -> tuple[Any, ...]:
    return (*(_place(key, value) for key, value in zip(sort, after.values, strict=True)), after.stone_id)


def _place(key: SortKey, value: Any) -> "Place":
    field = FIELDS[key.name]
    if field.graded and value is not None:
        known = value in field.values
        return Place((0, field.values.index(value)) if known else (1, value), key.descending)
    if key.name == "feed":
        value = f"{value}:"
    return Place(
        value if field.kind is not Kind.LIST else (None if value is None else str(value)), key.descending
    )


class Place:
    """A sorting key's value: unknown last, whichever the direction."""

    def __init__(self, value: Any, descending: bool) -> None:
        self.value = value
        self.descending = descending

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: "Place") -> bool:
        if self.value is None or other.value is None:
            return self.value is not None and other.value is None
        return bool(self.value > other.value if self.descending else self.value < other.value)

    def __gt__(self, other: "Place") -> bool:
        return other < self


def as_public(stone: Stone) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(encode(stone))
    return decoded
