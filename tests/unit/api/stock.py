"""Stones for searches, and a naive search to compare with."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import strategies as st

from api.fields import FIELDS, Kind
from api.fragments import frame
from api.index import Batch, Index, Page, decode_searchable
from api.query import After, Query, SortKey
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
        availability=st.sampled_from(Availability),
        updated_at=st.integers(0, 3).map(lambda ms: _BEGIN + timedelta(milliseconds=ms)),
    )


def _stone(feed: str, vendor_id: str, **changes: Any) -> Stone:
    return make_stone(id=f"{feed}:{vendor_id}", feed=feed, **changes)


def batch_of(*changed: Stone, removed: tuple[str, ...] = (), **positions: int) -> Batch:
    records = [encode(stone) for stone in changed]
    framed = [frame(record) for record in records]
    return Batch([decode_searchable(r) for r in records], framed, list(removed), positions)


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
    return matching[: query.limit], total


def _matches(stone: Stone, query: Query) -> bool:
    for name, values in query.lists.items():
        if getattr(stone, name) not in values:
            return False
    for name, wanted in query.ranges.items():
        value = getattr(stone, name)
        if wanted.low is not None and value < wanted.low:
            return False
        if wanted.high is not None and value > wanted.high:
            return False
    return all(getattr(stone, name) is truth for name, truth in query.flags.items())


def _order(stone: Stone, sort: tuple[SortKey, ...]) -> tuple[Any, ...]:
    return (*(_place(key, getattr(stone, key.name)) for key in sort), stone.id)


def _order_of_end(after: After, sort: tuple[SortKey, ...]) -> tuple[Any, ...]:
    return (*(_place(key, value) for key, value in zip(sort, after.values, strict=True)), after.stone_id)


def _place(key: SortKey, value: Any) -> "Place":
    if isinstance(value, datetime):
        value = epoch_ms(value)
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
