"""How prices per carat lie in the vendor's stock, as measured in February 2026, and the map from a rank to a price.

Natural: a histogram of 437 177 stones in steps of 500 dollars. Lab-grown: what several counts agree on - about 904 000
stones, 770 000 of them below 250 dollars and most of those between 50 and 200, 36 413 from 180 to 209, next to none
below 18, few from 230 to 249, nearly nothing above 650.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NATURAL_SHARE: Final = 438 / (438 + 904)

_NATURAL_BY_500: Final = (
    *(29_999, 103_412, 96_907, 58_818, 36_719, 23_955, 16_690, 12_599, 9_190, 7_350),
    *(5_827, 4_844, 3_986, 3_361, 2_747, 2_267, 1_961, 1_841, 1_627, 1_424),
    *(1_221, 1_050, 1_019, 807, 805, 650, 523, 494, 400, 365),
    *(446, 293, 265, 236, 194, 191, 202, 187, 140, 116),
)
_NATURAL_ABOVE: Final = (
    *((25_000, 837), (30_000, 454), (35_000, 247), (40_000, 160), (45_000, 74), (50_000, 69), (60_000, 84)),
    *((70_000, 58), (80_000, 36), (90_000, 11), (100_000, 19)),
)
NATURAL_BUCKETS: Final[tuple[tuple[int, int, int], ...]] = tuple(
    (500 * step, 500 * (step + 1), count) for step, count in enumerate(_NATURAL_BY_500)
) + tuple(
    (low, high, count)
    for low, (high, count) in zip(
        [20_000, *(high for high, _ in _NATURAL_ABOVE)], _NATURAL_ABOVE, strict=False
    )
)
"""(from, to, stones) in dollars per carat; `to` is exclusive."""

LABGROWN_BUCKETS: Final[tuple[tuple[int, int, int], ...]] = (
    *((18, 50, 80_000), (50, 70, 60_000), (70, 90, 95_000), (90, 110, 115_000), (110, 130, 125_000)),
    *((130, 150, 100_000), (150, 180, 140_000), (180, 210, 36_413), (210, 230, 16_987), (230, 250, 1_600)),
    *(
        (250, 400, 80_000),
        (400, 650, 44_000),
        (650, 1_000, 8_000),
        (1_000, 5_000, 1_900),
        (5_000, 10_000, 100),
    ),
)

NATURAL_FLOOR: Final = 200
"""Dollars per carat below which no natural stone is generated: a logarithm needs a floor for the lowest bucket."""

NATURAL_VALUE_SHARES: Final = (
    *(
        (500, 0.234),
        (1_000, 0.445),
        (1_500, 0.557),
        (2_000, 0.644),
        (2_500, 0.704),
        (3_500, 0.781),
        (5_000, 0.842),
    ),
    *((7_500, 0.895), (10_000, 0.919), (15_000, 0.948), (20_000, 0.963)),
)
"""Measured share of natural stones whose whole price is below so many dollars: what the generator is checked against."""


def dollars_per_carat(ranks: NDArray[np.float64], labgrown: bool) -> NDArray[np.float64]:
    """The price per carat at each rank (0 to 1, cheapest first): log-uniform inside a bucket."""
    buckets = LABGROWN_BUCKETS if labgrown else NATURAL_BUCKETS
    edges = np.array([low for low, _, _ in buckets] + [buckets[-1][1]], dtype=np.float64)
    edges[0] = max(edges[0], NATURAL_FLOOR if not labgrown else edges[0])
    counts = np.array([count for _, _, count in buckets], dtype=np.float64)
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return np.exp(np.interp(ranks, shares, np.log(edges)))
