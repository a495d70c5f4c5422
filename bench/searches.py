"""Searches as a storefront sends them: the filters of the former platform's statements, in about its mix."""

from __future__ import annotations

from random import Random
from typing import Final

from api.query import Facets, Query, Range, SortKey
from schemas.grades import CLARITIES, COLORS

FACETS: Final = Facets(
    counts=("shape", "color", "clarity", "cut", "lab_grown"),
    numbers={
        "price_cents": tuple(
            100 * dollars
            for dollars in (
                *(200, 300, 400, 500, 750, 1_000, 1_500, 2_000, 2_500, 3_000, 4_000, 5_000, 7_500, 10_000),
                *(15_000, 20_000, 30_000, 50_000, 100_000),
            )
        )
    },
    exclude_own=False,
)
"""What is counted beside a page: five attributes and a histogram of twenty buckets."""

LIMIT: Final = 24

_SHAPES: Final = {
    **{"ROUND": 45, "OVAL": 16, "EMERALD": 9, "PEAR": 7, "CUSHION": 4, "CUSHION MODIFIED": 3, "PRINCESS": 4},
    **{"RADIANT": 5, "MARQUISE": 4, "HEART": 2, "ASSCHER": 2},
}
_SORTS: Final = {
    (SortKey("price_cents"),): 72,
    (SortKey("price_cents", True),): 10,
    (SortKey("carat", True),): 6,
    (SortKey("carat"),): 4,
    (SortKey("updated_at", True),): 4,
    (SortKey("price_per_carat_cents"),): 3,
    (SortKey("carat", True), SortKey("price_cents")): 1,
}
_BAND: Final = (
    (0.5, 0.7),
    (0.7, 0.9),
    (0.9, 1.2),
    (1.0, 1.5),
    (1.5, 2.0),
    (2.0, 3.0),
    (1.0, 2.0),
    (3.0, 5.0),
)


def make_searches(count: int, seed: int) -> list[Query]:
    """So many different searches."""
    random, found = Random(seed), dict[str, Query]()
    while len(found) < count:
        query = _draw(random)
        found.setdefault(repr(query), query)
    return list(found.values())


def _draw(random: Random) -> Query:
    kind = random.choices(("landing", "browsing", "choosing", "comparing", "hunting"), (9, 46, 27, 8, 10))[0]
    lists: dict[str, tuple[str, ...]] = {"availability": ("available",)}
    ranges: dict[str, Range] = {}
    flags = {"lab_grown": random.random() < 0.6}
    shapes = random.choices([*_SHAPES], [*_SHAPES.values()], k=random.choice((1, 1, 1, 2, 3)))
    lists["shape"] = tuple(dict.fromkeys(shapes))
    if kind in ("browsing", "choosing", "comparing"):
        ranges["carat"] = Range(*random.choice(_BAND))
    if kind == "browsing":
        if random.random() < 0.6:
            lists["color"] = _run(random, COLORS[:10], 3, 7)
        if random.random() < 0.4:
            ranges["price_cents"] = Range(None, 100 * random.choice((1_000, 2_500, 5_000, 10_000, 20_000)))
    if kind in ("choosing", "comparing"):
        lists["color"] = _run(random, COLORS[:9], 3, 5)
        lists["clarity"] = _run(random, CLARITIES[2:8], 3, 5)
        low = 100 * random.choice((0, 0, 0, 100, 300, 1_000))
        ranges["price_cents"] = Range(low, low + 100 * random.choice((1_000, 3_000, 8_000, 20_000)))
    if kind == "comparing":
        lists["cut" if lists["shape"] == ("ROUND",) else "polish"] = ("8X", "ID", "EX")
        lists["symmetry"] = ("8X", "ID", "EX")
        if random.random() < 0.4:
            lists["fluorescence"] = ("NONE", "FAINT")
        if random.random() < 0.5:
            lists["lab"] = (random.choice(("GIA", "IGI")),)
    if kind == "hunting":
        carat = random.choice((0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0))
        ranges["carat"] = Range(carat, round(carat + random.choice((0.02, 0.05, 0.1)), 2))
        lists["color"] = _run(random, COLORS[:9], 2, 3)
        lists["clarity"] = _run(random, CLARITIES[2:8], 2, 3)
        if random.random() < 0.5:
            lists["polish"] = ("8X", "ID", "EX")
        if random.random() < 0.5:
            lists["lab"] = (random.choice(("GIA", "IGI")),)
        if random.random() < 0.5:
            ranges["ratio"] = Range(1.0, random.choice((1.05, 1.5)))
    offset = 0 if random.random() < 0.6 else LIMIT * random.randrange(1, 11)
    sort = random.choices([*_SORTS], [*_SORTS.values()])[0]
    return Query(lists, ranges, flags, sort=sort, limit=LIMIT, offset=offset)


def _run(random: Random, grades: tuple[str, ...], least: int, most: int) -> tuple[str, ...]:
    width = random.randint(least, most)
    start = random.randrange(len(grades) - width + 1)
    return grades[start : start + width]
