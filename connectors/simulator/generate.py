"""Stones that look like the trade: grades and carats first, then a price per carat from the measured density.

Natural rounds are rows of the `diamonds` table, whole: carat, cut, color, clarity, depth, table and measurements belong
together, and their order by price per carat is kept while the prices themselves are mapped to today's density (the
table's are of 2008). Other natural shapes borrow a row's grades and price order and get an outline of their own.
Lab-grown stones are drawn from the trade's grades and spikes of weight. Stones below 0.40 ct are left out, as the
measured density leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import vocabulary as words
from .columns import CERTIFICATE_COLUMNS, CERTIFICATE_IMAGE, IMAGE, V360, VIDEO, Columns, empty
from .density import dollars_per_carat

Floats = NDArray[np.float64]
Rng = np.random.Generator

SUPPLIERS: Final = 900
DUPLICATE_SHARE: Final = 0.04
LEAST_CARAT_X100: Final = 40
MOST_CARAT_X100: Final = 1501
STOCKED_BEFORE_MS: Final = 1_767_225_600_000
"""2026-01-01: every stone a simulator starts with was last updated before it."""
STOCKED_WITHIN_MS: Final = 400 * 86_400_000

_TABLE: Final = Path(__file__).parent / "data" / "round_diamonds.npz"
_TABLE_CUTS: Final = (words.codes(words.QUALITIES, ("F", "GD", "VG", "EX", "ID")), (0.55, 0.95))
_SHAPES_NATURAL: Final = {
    "ROUND": 58, "OVAL": 8, "EMERALD": 6, "PEAR": 6, "CUSHION": 3, "CUSHION MODIFIED": 2, "CUSHION BRILLIANT": 1,
    "CUSHION B": 0.5, "PRINCESS": 4, "RADIANT": 3, "MARQUISE": 3, "HEART": 2, "ASSCHER": 1.5, "SQUARE EMERALD": 0.3,
    "OLD MINER": 0.4, "OLD EUROPEAN": 0.3, "ROSE": 0.2, "TRILLIANT": 0.3, "HEXAGONAL": 0.1, "BAGUETTE": 0.1,
    "ASCHER": 0.05, "HALFMOON": 0.05, "HALF MOON": 0.03, "KITE": 0.03, "SHIELD": 0.03, "TRAPEZOID": 0.03, "OTHER": 0.03,
}  # fmt: skip
_SHAPES_LABGROWN: Final = {
    "ROUND": 44, "OVAL": 14, "EMERALD": 9, "PEAR": 8, "CUSHION": 3, "CUSHION MODIFIED": 2, "CUSHION BRILLIANT": 2,
    "CUSHION B": 0.5, "PRINCESS": 4, "RADIANT": 6, "MARQUISE": 4, "HEART": 2.5, "ASSCHER": 2, "SQUARE RADIANT": 0.3,
    "OLD MINER": 0.3, "OLD EUROPEAN": 0.2, "ROSE": 0.1, "TRILLIANT": 0.2, "HEXAGONAL": 0.1, "ASCHER": 0.05,
    "BAGUETTE": 0.05, "KITE": 0.05, "SHIELD": 0.03, "BRIOLETTE": 0.01,
}  # fmt: skip
_LENGTH_OVER_WIDTH: Final = {
    "OVAL": 1.42, "EMERALD": 1.4, "PEAR": 1.55, "MARQUISE": 1.95, "RADIANT": 1.22, "BAGUETTE": 2.2, "BULLET": 1.6,
    "KITE": 1.5, "TAPERED BAGUETTE": 2.1, "HALFMOON": 1.8, "HALF MOON": 1.8, "TRAPEZOID": 1.6, "BRIOLETTE": 1.7,
}  # fmt: skip
_LABS_NATURAL: Final = {"GIA": 74, "IGI": 13, "HRD": 4, "GCAL": 1, "AGS": 1, "EGL": 1, "NONE": 4, "OTHER": 0.5, "DSEF": 0.3,
    "STOCKID": 0.3, "LAB": 0.2, "GSI": 0.3, "SGL": 0.3, "FGL": 0.1}  # fmt: skip
_LABS_LABGROWN: Final = {
    "IGI": 80,
    "GIA": 11,
    "GCAL": 4,
    "HRD": 1,
    "NONE": 3,
    "SGL": 0.5,
    "GSI": 0.3,
    "WISE": 0.2,
}
_COLORS_LABGROWN: Final = {"D": 21, "E": 34, "F": 22, "G": 11, "H": 4, "I": 2, "J": 1, "K": 0.3, "FANCY": 4}
_CLARITIES_LABGROWN: Final = {"FL": 0.2, "IF": 2, "VVS1": 13, "VVS2": 28, "VS1": 35, "VS2": 16, "SI1": 5, "SI2": 0.7,
    "SI3": 0.05, "I1": 0.1}  # fmt: skip
_SPIKES_LABGROWN: Final = {50: 8, 60: 2, 70: 6, 80: 3, 90: 3, 100: 20, 120: 4, 150: 17, 170: 3, 200: 15, 250: 8, 300: 9,
    350: 3, 400: 4, 500: 3, 600: 1, 700: 0.6, 800: 0.4, 1000: 0.2}  # fmt: skip
_FLUORESCENCES: Final = {"NON": 62, "VSL": 3, "SLT": 2, "FNT": 18, "MED": 9, "STG": 3, "STN": 2, "VST": 1}


@cache
def round_diamonds() -> Mapping[str, NDArray[np.integer]]:
    """The table of natural rounds of at least 0.40 ct that have all their measurements."""
    with np.load(_TABLE) as table:
        columns = {name: table[name] for name in table.files}
    measured = (columns["length_x100"] > 0) & (columns["width_x100"] > 0) & (columns["depth_x100"] > 0)
    plausible = measured & (columns["width_x100"] < 1200) & (columns["depth_x100"] < 1000)
    keep = plausible & (columns["carat_x100"] >= LEAST_CARAT_X100)
    return {name: values[keep] for name, values in columns.items()}


def generate(rows: int, labgrown: bool, first_identity: int, rng: Rng) -> Columns:
    """Stones of one feed, in the order in which the vendor got them. The same `rng` state gives the same stones."""
    stones = empty(rows)
    if rows == 0:
        return stones
    stones["lab"][:] = labgrown
    stones["identity"][:] = np.arange(first_identity, first_identity + rows)
    score = _labgrown_grades(stones, rng) if labgrown else _natural_grades(stones, rng)
    _reports(stones, labgrown, rng)
    _prices(stones, score, labgrown, rng)
    _duplicates(stones, rng)
    _listing(stones, rng)
    return stones


def _natural_grades(stones: Columns, rng: Rng) -> Floats:
    table = round_diamonds()
    rows = len(stones["lab"])
    pick = rng.integers(0, len(table["carat_x100"]), rows)
    for name in (
        "carat_x100",
        "length_x100",
        "width_x100",
        "depth_x100",
        "depth_percentage_x10",
        "table_x10",
    ):
        stones[name][:] = table[name][pick]
    stones["color"][:] = table["color"][pick]
    stones["clarity"][:] = table["clarity"][pick] + words.CLARITIES.index("IF")
    stones["clarity"][stones["clarity"] > words.CLARITIES.index("SI2")] = words.CLARITIES.index("I1")
    stones["shape"][:] = _draw(words.SHAPES, _SHAPES_NATURAL, rows, rng)
    _cuts(stones, table["cut"][pick], rng)
    score = np.log(table["price_dollars"][pick] / table["carat_x100"][pick]) + rng.normal(0, 0.2, rows)
    score += _widen_grades(stones, rng)
    score += _grow(stones, rng)
    _outline(stones, rng)
    return score + _fancy(stones, rng.random(rows) < 0.025, rng)


def _cuts(stones: Columns, table_cut: NDArray[np.integer], rng: Rng) -> None:
    """Rounds keep the table's cut in the vendor's codes; some carry the older codes, a few none. Others have no cut."""
    codes, (half, most) = _TABLE_CUTS
    make = np.array(codes, dtype=np.uint8)[table_cut]
    coin = rng.random(len(make))
    excellent = words.QUALITIES.index("EX")
    make[(table_cut == 4) & (coin > half)] = excellent
    make[(table_cut == 0) & (coin > most)] = words.QUALITIES.index("FR")
    make[(table_cut == 1) & (coin > most)] = words.QUALITIES.index("G")
    make[(table_cut == 4) & (coin < 0.01)] = words.QUALITIES.index("EIGHTX")
    poor = (table_cut == 0) & (coin < 0.1)
    make[poor] = np.where(coin[poor] < 0.05, words.QUALITIES.index("P"), words.QUALITIES.index("PR"))
    stones["cut"][:] = np.where((stones["shape"] == words.ROUND) & (coin > 0.002), make, words.NULL)
    finish = np.array(words.codes(words.QUALITIES, ("EX", "VG", "GD", "ID", "F", "G")), dtype=np.uint8)
    for name in ("polish", "symmetry"):
        stones[name][:] = rng.choice(finish, len(make), p=(0.74, 0.2, 0.035, 0.015, 0.005, 0.005))


def _widen_grades(stones: Columns, rng: Rng) -> Floats:
    """The table ends at J and I1; the trade goes on. Returns the effect on the logarithm of the price."""
    rows = len(stones["lab"])
    effect = np.zeros(rows)
    low = rng.random(rows) < 0.03
    stones["color"][low] = rng.integers(words.COLORS.index("K"), words.COLORS.index("XY"), int(low.sum()))
    effect[low] -= 0.35
    included = rng.random(rows) < 0.01
    stones["clarity"][included] = rng.integers(words.CLARITIES.index("SI3"), 12, int(included.sum()))
    effect[included] -= 0.5
    flawless = rng.random(rows) < 0.002
    stones["clarity"][flawless] = words.CLARITIES.index("FL")
    effect[flawless] += 0.4
    return effect


def _grow(stones: Columns, rng: Rng) -> Floats:
    """The table ends at 5 ct, the stock at 15.01. Returns the effect on the logarithm of the price per carat."""
    rows = len(stones["lab"])
    factor = np.where(rng.random(rows) < 0.012, np.exp(rng.exponential(0.55, rows)), 1.0)
    carats = np.minimum(stones["carat_x100"] * factor, MOST_CARAT_X100)
    grown = carats / stones["carat_x100"]
    stones["carat_x100"][:] = carats
    for name in ("length_x100", "width_x100", "depth_x100"):
        stones[name][:] = stones[name] * np.cbrt(grown)
    effect: Floats = 0.8 * np.log(grown)
    return effect


def _labgrown_grades(stones: Columns, rng: Rng) -> Floats:
    rows = len(stones["lab"])
    stones["shape"][:] = _draw(words.SHAPES, _SHAPES_LABGROWN, rows, rng)
    stones["color"][:] = _draw(words.COLORS, _COLORS_LABGROWN, rows, rng)
    stones["clarity"][:] = _draw(words.CLARITIES, _CLARITIES_LABGROWN, rows, rng)
    spikes = np.array(list(_SPIKES_LABGROWN))
    weights = np.array(list(_SPIKES_LABGROWN.values()))
    base = rng.choice(spikes, rows, p=weights / weights.sum())
    carats = base * (1 + rng.exponential(0.035, rows))
    stones["carat_x100"][:] = np.clip(carats, LEAST_CARAT_X100, MOST_CARAT_X100)
    cut = rng.choice(np.array([1, 2, 3, 4], dtype=np.uint8), rows, p=(0.55, 0.38, 0.06, 0.01))
    stones["cut"][:] = np.where(stones["shape"] == words.ROUND, cut, words.NULL)
    for name in ("polish", "symmetry"):
        stones[name][:] = rng.choice(np.array([2, 3, 4], dtype=np.uint8), rows, p=(0.9, 0.09, 0.01))
    stones["depth_percentage_x10"][:] = rng.normal(619, 9, rows)
    stones["table_x10"][:] = rng.normal(585, 18, rows)
    _round_outline(stones)
    _outline(stones, rng)
    fancy = _fancy(stones, stones["color"] == words.FANCY, rng)
    grade = -0.09 * stones["color"].clip(0, 10) - 0.08 * stones["clarity"]
    return grade + rng.normal(0, 0.45, rows) + fancy


def _round_outline(stones: Columns) -> None:
    """The diameter follows from the weight: carats = 0.0061 × diameter² × depth (mm)."""
    depth_share = stones["depth_percentage_x10"] / 1000
    diameter = np.cbrt(stones["carat_x100"] / 100 / (0.0061 * depth_share))
    stones["length_x100"][:] = np.rint(diameter * 100)
    stones["width_x100"][:] = np.rint(diameter * 100 * 0.996)
    stones["depth_x100"][:] = np.rint(diameter * 100 * depth_share)


def _outline(stones: Columns, rng: Rng) -> None:
    """Stretch everything that is not round to its shape's proportions; the weight stays."""
    rows = len(stones["lab"])
    ratios = np.array([_LENGTH_OVER_WIDTH.get(shape, 1.04) for shape in words.SHAPES])
    other = stones["shape"] != words.ROUND
    ratio = np.where(other, ratios[stones["shape"]] * rng.normal(1, 0.04, rows).clip(0.85, 1.2), 1.0)
    stones["length_x100"][:] = np.rint(stones["length_x100"] * np.sqrt(ratio))
    stones["width_x100"][:] = np.rint(stones["width_x100"] / np.sqrt(ratio))
    depth = np.where(other, rng.normal(665, 30, rows), stones["depth_percentage_x10"])
    stones["depth_percentage_x10"][:] = depth
    deep = np.rint(stones["width_x100"] * depth / 1000)
    stones["depth_x100"][:] = np.where(other, deep, stones["depth_x100"])


def _fancy(stones: Columns, fancy: NDArray[np.bool_], rng: Rng) -> Floats:
    """Color the chosen stones. A few lack their color's name, and a few D-Z stones carry one."""
    rows = len(stones["lab"])
    for name in ("fancy_color", "fancy_intensity", "fancy_overtone"):
        stones[name][:] = words.NULL
    stones["color"][fancy] = words.FANCY
    coin = rng.random(rows)
    named = np.where(fancy, coin > 0.04, coin < 0.003)
    count = int(named.sum())
    weights = 1 / (1 + np.arange(len(words.FANCY_COLORS)) * 0.3)
    stones["fancy_color"][named] = rng.choice(len(words.FANCY_COLORS), count, p=weights / weights.sum())
    intensity = rng.integers(0, len(words.FANCY_INTENSITIES), count)
    stones["fancy_intensity"][named] = np.where(rng.random(count) < 0.03, words.NULL, intensity)
    overtone = rng.integers(0, len(words.FANCY_OVERTONES), count)
    stones["fancy_overtone"][named] = np.where(rng.random(count) < 0.65, words.NULL, overtone)
    return np.where(fancy, 0.5 + rng.exponential(0.7, rows), 0.0)


def _reports(stones: Columns, labgrown: bool, rng: Rng) -> None:
    rows = len(stones["lab"])
    stones["laboratory"][:] = _draw(words.LABS, _LABS_LABGROWN if labgrown else _LABS_NATURAL, rows, rng)
    stones["fluorescence"][:] = 0 if labgrown else _draw(words.FLUORESCENCES, _FLUORESCENCES, rows, rng)
    unmeasured = stones["laboratory"] == words.NO_LAB
    for name in ("length_x100", "width_x100", "depth_x100", "depth_percentage_x10", "table_x10"):
        stones[name][unmeasured] = 0
    coin = rng.random(rows)
    if labgrown:
        stones["labgrown_claim"][:] = np.where(coin < 0.4, 2, 1)
        stones["labgrown_type"][:] = rng.choice(
            np.array([0, 1, 2, words.NULL], dtype=np.uint8), rows, p=(0.14, 0.8, 0.03, 0.03)
        )
    else:
        stones["labgrown_claim"][:] = np.where(coin < 0.08, 2, 0)
        stones["labgrown_type"][:] = words.NULL


def _prices(stones: Columns, score: Floats, labgrown: bool, rng: Rng) -> None:
    """The stone with the r-th lowest score gets the r-th lowest price per carat of the measured density."""
    rows = len(score)
    ranks = np.empty(rows)
    ranks[np.argsort(score, kind="stable")] = (np.arange(rows) + rng.random(rows)) / rows
    cents = np.rint(dollars_per_carat(ranks, labgrown) * stones["carat_x100"])
    whole_dollars = rng.random(rows) < 0.3
    cents[whole_dollars] = np.rint(cents[whole_dollars] / 100) * 100
    stones["price_cents"][:] = np.maximum(cents, 100)


def _duplicates(stones: Columns, rng: Rng) -> None:
    """A few certificates are listed by another supplier as well, at a slightly different price."""
    rows = len(stones["lab"])
    copies = np.flatnonzero(rng.random(rows) < DUPLICATE_SHARE)
    originals = np.setdiff1d(np.arange(rows), copies)
    if not len(originals):
        return
    sources = rng.choice(originals, len(copies))
    for name in (*CERTIFICATE_COLUMNS, "price_cents"):
        stones[name][copies] = stones[name][sources]
    offset = rng.normal(1, 0.03, len(copies)).clip(0.9, 1.1)
    stones["price_cents"][copies] = np.maximum(stones["price_cents"][copies] * offset, 100)


def _listing(stones: Columns, rng: Rng) -> None:
    """What belongs to the supplier's listing: who sells, which links there are, when it last changed."""
    rows = len(stones["lab"])
    stones["supplier"][:] = rng.integers(0, SUPPLIERS, rows)
    media = np.zeros(rows, dtype=np.uint8)
    for bit, share in ((IMAGE, 0.55), (VIDEO, 0.7), (CERTIFICATE_IMAGE, 0.35), (V360, 0.5)):
        media |= (rng.random(rows) < share).astype(np.uint8) * np.uint8(bit)
    stones["media"][:] = media
    stones["availability"][:] = words.AVAILABLE
    stones["fault"][:] = words.NULL
    stones["updated_ms"][:] = STOCKED_BEFORE_MS - rng.integers(0, STOCKED_WITHIN_MS, rows)


def _draw(vocabulary: tuple[str, ...], weights: Mapping[str, float], rows: int, rng: Rng) -> NDArray[Any]:
    codes = np.array(words.codes(vocabulary, list(weights)), dtype=np.uint8)
    shares = np.array(list(weights.values()), dtype=np.float64)
    return rng.choice(codes, rows, p=shares / shares.sum())
