"""Stones like another one: the closest by weight, price and grades, and with them what a shopper compares it to.

Pure: it asks the index and changes nothing. The tolerance is widened step by step until there is enough to choose from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import Final

from api.index import Index
from api.query import Query, Range, SortKey
from api.searchable import Searchable, decode_searchable
from schemas.grades import GRADES
from schemas.stone import Availability

MAX_RELATED: Final = 24


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far related stones may be apart.

    Attributes:
        carat: share of the weight, either way.
        price: share of the price, either way.
        grades: steps of color and clarity, either way; None for any.
    """

    carat: float
    price: float
    grades: int | None


STEPS: Final = (
    Tolerance(0.03, 0.10, 1),
    Tolerance(0.07, 0.20, 2),
    Tolerance(0.15, 0.35, 3),
    Tolerance(0.30, 0.60, None),
    Tolerance(1.00, 2.00, None),
)

_POOL: Final = 40
"""Stones looked at on each side of price and weight: enough to find the closest, few enough to take milliseconds."""
_STEPPED: Final = ("color", "clarity")
_WEIGHTS: Final = {
    "color": 0.5,
    "clarity": 0.5,
    "cut": 0.4,
    "polish": 0.15,
    "symmetry": 0.15,
    "fluorescence": 0.2,
}
_UNKNOWN_APART: Final = 1.0


@dataclass(frozen=True, slots=True)
class Related:
    """What was found.

    Attributes:
        rows: rows of the stones, the closest first.
        roles: row to why it is there, of those that are there for more than being close.
        within: the tolerance they are within.
        total: how many stones are within it.
    """

    rows: Sequence[int]
    roles: Mapping[int, str]
    within: Tolerance
    total: int


def related(index: Index, stone: Searchable, limit: int) -> Related:
    """The stones most like this one that can be sold.

    Args:
        index: the stones.
        stone: the one to compare with; it is not among them.
        limit: how many are wanted at most.
    """
    tolerance, query, total = STEPS[-1], Query(), 0
    for tolerance in STEPS:
        query = _within(stone, tolerance)
        total = _others(index, query, stone)
        if total >= limit:
            break
    pool = _pool(index, query, stone)
    closest = sorted(pool, key=lambda row: (_distance(stone, pool[row]), pool[row].id))
    roles = _roles(index, query, stone, total)
    # The three that span the choice have their places whatever their distance.
    spanning = [row for row in roles if row not in closest[:limit]]
    rows = [*closest[: limit - len(spanning)], *spanning][:limit]
    return Related(rows, {row: role for row, role in roles.items() if row in rows}, tolerance, total)


def _within(stone: Searchable, tolerance: Tolerance) -> Query:
    lists: dict[str, tuple[str, ...]] = {
        "shape": (stone.shape,),
        "availability": (str(Availability.AVAILABLE),),
    }
    if tolerance.grades is not None:
        for name in _STEPPED:
            grades, own = GRADES[name], getattr(stone, name)
            if own in grades:
                place = grades.index(own)
                lists[name] = grades[max(0, place - tolerance.grades) : place + tolerance.grades + 1]
    ranges = {
        "carat": Range(stone.carat * (1 - tolerance.carat), stone.carat * (1 + tolerance.carat)),
        "price_cents": Range(
            int(stone.price_cents * max(0.0, 1 - tolerance.price)),
            int(stone.price_cents * (1 + tolerance.price)),
        ),
    }
    return Query(lists=lists, ranges=ranges, flags={"lab_grown": stone.lab_grown})


def _others(index: Index, query: Query, stone: Searchable) -> int:
    total = index.search(replace(query, limit=0)).total
    alone = replace(query, lists={**query.lists, "id": (stone.id,)}, limit=0)
    return total - index.search(alone).total


def _pool(index: Index, query: Query, stone: Searchable) -> dict[int, Searchable]:
    rows: dict[int, None] = {}
    for name in ("price_cents", "carat"):
        own, wanted = getattr(stone, name), query.ranges[name]
        for side, descending in ((Range(own, wanted.high), False), (Range(wanted.low, own), True)):
            half = replace(
                query, ranges={**query.ranges, name: side}, sort=(SortKey(name, descending),), limit=_POOL
            )
            rows |= dict.fromkeys(index.search(half).rows)
    stones = {row: decode_searchable(index.fragments.record(row)) for row in rows}
    return {row: found for row, found in stones.items() if found.id != stone.id}


def _roles(index: Index, query: Query, stone: Searchable, total: int) -> dict[int, str]:
    """The best rated, the dearest and the one in the middle of the prices."""
    own = index.row(stone.id)
    found: dict[int, str] = {}
    by_price = (SortKey("price_cents", descending=True),)
    for role, sort, offset in (
        ("best_rated", (SortKey("rating", descending=True), SortKey("price_cents")), 0),
        ("dearest", by_price, 0),
        ("middle", by_price, total // 2),
    ):
        page = index.search(replace(query, sort=sort, offset=offset, limit=4))
        row = next((row for row in page.rows if row != own and row not in found), None)
        if row is not None:
            found[row] = role
    return found


def _distance(stone: Searchable, other: Searchable) -> float:
    apart = abs(log(other.carat / stone.carat)) / 0.05
    apart += abs(log(max(1, other.price_cents) / max(1, stone.price_cents))) / 0.15
    for name, weight in _WEIGHTS.items():
        own, its = getattr(stone, name), getattr(other, name)
        if own == its:
            continue
        grades = GRADES[name]
        steps = abs(grades.index(own) - grades.index(its)) if own in grades and its in grades else None
        apart += weight * (_UNKNOWN_APART if steps is None else steps)
    return apart + (0.2 if stone.lab != other.lab else 0)
