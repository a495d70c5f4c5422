"""Searches as shops send them, as query strings: no two alike.

The mix follows the former platform's statements: mostly a shape, a weight and some grades, sorted by price; some with
a budget, some with fancy colors or a certificate, some with hardly a condition.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from schemas.grades import CLARITIES, COLORS, QUALITIES

_SHAPES: Final = (
    "ROUND",
    "OVAL",
    "EMERALD",
    "CUSHION",
    "RADIANT",
    "PEAR",
    "MARQUISE",
    "PRINCESS",
    "ASSCHER",
    "HEART",
)
_SHAPE_WEIGHTS: Final = (40, 18, 9, 8, 6, 6, 4, 4, 2, 3)
_CARATS: Final = (0.3, 0.4, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 1.7, 2.0, 2.5, 3.0, 4.0, 5.0)
_SORTS: Final = (
    "price_cents",
    "price_cents",
    "price_cents",
    "-price_cents",
    "carat",
    "-carat",
    "color,price_cents",
)


def query_strings(count: int, seed: int) -> list[str]:
    """Different query strings, each a page of 24."""
    chance, found = random.Random(seed), dict[str, None]()
    for query in _queries(chance):
        found[urlencode(query, safe=",:")] = None
        if len(found) == count:
            break
    return list(found)


def _queries(chance: random.Random) -> Iterator[dict[str, str]]:
    while True:
        query: dict[str, str] = {}
        if chance.random() < 0.9:
            query["lab_grown"] = chance.choice(("true", "true", "false"))
        if chance.random() < 0.85:
            shapes = chance.choices(_SHAPES, _SHAPE_WEIGHTS, k=chance.choice((1, 1, 1, 2, 3)))
            query["shape"] = ",".join(dict.fromkeys(shapes))
        if chance.random() < 0.85:
            low = chance.choice(_CARATS) + chance.choice((0, 0, 0.01, 0.05))
            query["carat_min"] = f"{low:g}"
            query["carat_max"] = f"{low * chance.choice((1.05, 1.1, 1.25, 1.5, 2)):.2f}"
        if chance.random() < 0.6:
            query["color"] = ",".join(_run(COLORS[:10], chance))
        if chance.random() < 0.6:
            query["clarity"] = ",".join(_run(CLARITIES[:8], chance))
        if chance.random() < 0.35:
            query["cut"] = ",".join(QUALITIES[: chance.choice((2, 3, 4))])
        if chance.random() < 0.15:
            query["polish"] = query["symmetry"] = "8X,ID,EX"
        if chance.random() < 0.15:
            query["fluorescence"] = "NONE"
        if chance.random() < 0.2:
            query["lab"] = chance.choice(("GIA", "IGI", "GIA,IGI"))
        if chance.random() < 0.45:
            query["price_cents_max"] = str(chance.randrange(20_000, 3_000_000))
        if chance.random() < 0.2:
            query["price_cents_min"] = str(chance.randrange(1_000, 20_000))
        if chance.random() < 0.5:
            query["sort"] = chance.choice(_SORTS)
        if chance.random() < 0.3:
            query["offset"] = str(24 * chance.randrange(1, 11))
        yield query


def _run(grades: tuple[str, ...], chance: random.Random) -> tuple[str, ...]:
    first = chance.randrange(len(grades) - 1)
    return grades[first : first + chance.choice((1, 2, 3, 4, 6))]
