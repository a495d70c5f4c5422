"""Fields that follow from a stone's mixed number instead of taking memory, with the dirt seen in real payloads.

A field has 1 024 slots filled by weight; ten bits of the stone's number choose one. Certificate fields follow from the
physical stone, so that two listings of one certificate agree; listing fields follow from the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.object_]

SLOTS: Final = 1024


def slots(weights: Mapping[Any, float]) -> Slots:
    """1 024 values in proportion to their weights; the heaviest value takes what rounding leaves."""
    total = sum(weights.values())
    filled: list[Any] = []
    for value, weight in sorted(weights.items(), key=lambda pair: pair[1]):
        filled += [value] * max(1, round(SLOTS * weight / total))
    heaviest = max(weights, key=lambda value: weights[value])
    filled = (filled + [heaviest] * SLOTS)[:SLOTS] if len(filled) < SLOTS else filled[:SLOTS]
    return np.array([*filled, None], dtype=object)[:SLOTS]


def _tinge(word: str) -> Slots:
    return slots({None: 48, "No": 48, "no": 1, "NONE": 1, f"Faint {word}": 1, "Yes": 1})


_EYE_CLEAN: Final = {
    None: 55,
    "90%": 16,
    "80%": 5,
    "100%": 14,
    "Yes": 7,
    "No": 1,
    "Borderline": 1,
    "YES": 0.5,
    "": 0.5,
}
_MILKY: Final = {None: 48, "No": 47, "no": 1, "NONE": 1, "Light": 1, "M1": 1, "Yes": 0.3}

LISTING: Final[dict[str, Slots]] = {
    "eyeClean": slots(_EYE_CLEAN),
    "milky": slots(_MILKY),
    "brown": _tinge("brown"),
    "green": _tinge("green"),
    "blue": slots({None: 60, "No": 40}),
    "gray": slots({None: 60, "No": 39, "Yes": 1}),
    "other": slots({None: 70, "No": 28, "MIX TINGE 1": 1, "None": 1}),
    "bowtie": slots({None: 90, "No": 8, "Slight": 2}),
    "mine_of_origin": slots({None: 92, "BOTSWANA": 4, "CANADA": 2, "Russia": 1, "UNKNOWN": 1}),
    "location": slots(
        {None: 30, "INDIA": 35, "USA": 12, "Hong Kong": 10, "BELGIUM": 6, "UAE": 4, "ISRAEL": 3}
    ),
    "country_of_polishing": slots({None: 95, "INDIA": 5}),
    "canada_mark_eligible": slots({False: 96, True: 1, None: 3}),
    "forever_mark_eligible": slots({False: 97, None: 3}),
    "show_measurements": slots({True: 98, False: 2}),
    "show_certificate_number": slots({True: 97, False: 3}),
    "final_price": slots({True: 70, False: 30}),
    "approval_type": slots({None: 60, "FULL": 36, "INTERNAL": 4}),
    "express": slots({True: 20, False: 75, None: 5}),
    "min_days": slots({1: 15, 3: 25, 5: 30, 7: 20, 10: 10}),
    "extra_days": slots({2: 60, 3: 25, 5: 15}),
    "return_window": slots({None: 40, 0: 25, 7: 15, 14: 5, 30: 15}),
    "frame_count": slots({1: 2, 100: 20, 200: 20, 256: 58}),
    "availability_case": slots({None: 99, "Available": 0.5, "available": 0.5}),
    "supplier_missing": slots({False: 99, True: 1}),
    "stock_missing": slots({False: 80, True: 20}),
}
"""Fields of a supplier's listing. The last three are not served but decide how others are."""

CERTIFICATE: Final[dict[str, Slots]] = {
    "girdle": slots(
        {"TN - TK": 12, "MED - STK": 24, "STK-THK": 12, "Medium - Very Thick": 8, "MED": 14, "Slightly Thick": 8,
         "THN - MED": 8, "null": 4, None: 9, "STK": 1}
    ),
    "girdleCondition": slots({None: 40, "FACETED": 50, "POLISHED": 6, "BRUTED": 4}),
    "culet_condition": slots({None: 70, "POINTED": 30}),
    "culetSize": slots({"NON": 70, None: 18, "None": 6, "VSM": 4, "SML": 2}),
    "cut_style": slots({None: 95, "BRILLIANT": 5}),
    "mix_tinge": slots({None: 96, "MT1": 4}),
    "colorShade": slots({None: 70, "NONE": 20, "WH": 7, "BROWN": 2, "Mixed": 1}),
    "floCol": slots({None: 75, "B": 8, "BLUE": 9, "Blue": 6, "Yellow": 1, "": 1}),
    "comments": slots(
        {None: 55, "": 8, "Additional clouds are not shown.": 12, "Pinpoints are not shown.": 10,
         "Surface graining is not shown.": 8, "None": 3, "As Grown - No indication of post-growth treatment.": 4}
    ),
    "keyToSymbols": slots(
        {None: 40, "Crystal, Feather": 14, "Cloud, Pinpoint": 14, "Feather, Needle": 10, "Twinning Wisp, Crystal": 10,
         "": 4, "Crystal,Cloud,Natural": 8}
    ),
    "country_of_origin": slots({None: 90, "BOTSWANA": 5, "CANADA": 2, "RUSSIA": 1, "UNKNOWN": 2}),
    "treated": slots({None: 60, False: 38, True: 2}),
    "verified": slots({None: 50, "true": 25, "false": 25}),
    "crown_angle_x10": slots({None: 8, **dict.fromkeys(range(335, 358), 4)}),
    "crown_height_x10": slots({None: 12, **dict.fromkeys(range(135, 168, 5), 4)}),
    "pavilion_angle_x10": slots({None: 8, **dict.fromkeys(range(404, 414), 9)}),
    "pavilion_depth_x10": slots({None: 12, **dict.fromkeys(range(425, 445, 5), 9)}),
    "star_length": slots({None: 30, 45: 10, 50: 45, 55: 15}),
    "lower_girdle": slots({None: 30, 75: 35, 80: 30, 85: 5}),
    "pdf_missing": slots({False: 93, True: 7}),
    "number_style": slots({"plain": 88, "bare": 12}),
    "cut_case": slots({False: 199, True: 1}),
    "decimals": slots({6: 55, 2: 35, 1: 10}),
}  # fmt: skip
"""Fields of a report. The last four are not served but decide how others are."""


def pick(table: Slots, numbers: NDArray[np.uint64], position: int) -> list[Any]:
    """The field's value for each mixed number; fields at different positions are independent enough."""
    rotated = numbers * np.uint64(2 * position + 1)
    chosen: list[Any] = table[(rotated >> np.uint64(54)).astype(np.int64)].tolist()
    return chosen
