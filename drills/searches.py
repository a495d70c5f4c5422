"""Searches as a storefront sends them: the filters of the former platform's statements, in about its mix, no two alike."""

from __future__ import annotations

from random import Random
from typing import Final
from urllib.parse import urlencode

from api.parameters import read_parameters, split
from api.query import DEFAULT_LIMIT, Facets, Query
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

_SHAPES: Final = {
    **{"ROUND": 45, "OVAL": 16, "EMERALD": 9, "PEAR": 7, "CUSHION": 4, "CUSHION MODIFIED": 3, "PRINCESS": 4},
    **{"RADIANT": 5, "MARQUISE": 4, "HEART": 2, "ASSCHER": 2},
}
_SORTS: Final = {
    "price_cents": 72,
    "-price_cents": 10,
    "-carat": 6,
    "carat": 4,
    "-updated_at": 4,
    "price_per_carat_cents": 3,
    "-carat,price_cents": 1,
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


def query_strings(count: int, seed: int) -> list[str]:
    """So many different query strings, each a page of 24."""
    random, found = Random(seed), dict[str, None]()
    while len(found) < count:
        found[urlencode(_draw(random), safe=",")] = None
    return list(found)


def make_searches(count: int, seed: int) -> list[Query]:
    """The same, as the index is asked them."""
    texts = query_strings(count, seed)
    return [read_parameters(split(text.encode()), lambda _: ()).query() for text in texts]


def _draw(random: Random) -> dict[str, str]:
    kind = random.choices(("landing", "browsing", "choosing", "comparing", "hunting"), (9, 46, 27, 8, 10))[0]
    shapes = random.choices([*_SHAPES], [*_SHAPES.values()], k=random.choice((1, 1, 1, 2, 3)))
    query = {
        "lab_grown": "true" if random.random() < 0.6 else "false",
        "shape": ",".join(dict.fromkeys(shapes)),
    }
    if kind in ("browsing", "choosing", "comparing"):
        query |= _range("carat", *random.choice(_BAND))
    if kind == "browsing":
        if random.random() < 0.6:
            query["color"] = _run(random, COLORS[:10], 3, 7)
        if random.random() < 0.4:
            query["price_cents_max"] = str(100 * random.choice((1_000, 2_500, 5_000, 10_000, 20_000)))
    if kind in ("choosing", "comparing"):
        query["color"] = _run(random, COLORS[:9], 3, 5)
        query["clarity"] = _run(random, CLARITIES[2:8], 3, 5)
        low = 100 * random.choice((0, 0, 0, 100, 300, 1_000))
        query |= _range("price_cents", low, low + 100 * random.choice((1_000, 3_000, 8_000, 20_000)))
    if kind == "comparing":
        query["cut" if query["shape"] == "ROUND" else "polish"] = "8X,ID,EX"
        query["symmetry"] = "8X,ID,EX"
        if random.random() < 0.4:
            query["fluorescence"] = "NONE,FAINT"
        if random.random() < 0.5:
            query["lab"] = random.choice(("GIA", "IGI"))
    if kind == "hunting":
        carat = random.choice((0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0))
        query |= _range("carat", carat, round(carat + random.choice((0.02, 0.05, 0.1)), 2))
        query["color"] = _run(random, COLORS[:9], 2, 3)
        query["clarity"] = _run(random, CLARITIES[2:8], 2, 3)
        if random.random() < 0.5:
            query["polish"] = "8X,ID,EX"
        if random.random() < 0.5:
            query["lab"] = random.choice(("GIA", "IGI"))
        if random.random() < 0.5:
            query |= _range("depth_percent", 58, random.choice((62.5, 70)))
    if random.random() >= 0.6:
        query["offset"] = str(DEFAULT_LIMIT * random.randrange(1, 11))
    sort = random.choices([*_SORTS], [*_SORTS.values()])[0]
    return query if sort == "price_cents" else query | {"sort": sort}


def _range(name: str, low: float, high: float) -> dict[str, str]:
    return {f"{name}_min": f"{low:.15g}", f"{name}_max": f"{high:.15g}"}


def _run(random: Random, grades: tuple[str, ...], least: int, most: int) -> str:
    width = random.randint(least, most)
    start = random.randrange(len(grades) - width + 1)
    return ",".join(grades[start : start + width])
