"""The stock as columns: one small integer a value, about 60 bytes a stone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

Columns = dict[str, NDArray[Any]]

DTYPES: Final[dict[str, DTypeLike]] = {
    "lab": np.bool_,
    "identity": np.int32,
    "supplier": np.uint16,
    "shape": np.uint8,
    "carat_x100": np.uint16,
    "color": np.uint8,
    "clarity": np.uint8,
    "cut": np.uint8,
    "polish": np.uint8,
    "symmetry": np.uint8,
    "fluorescence": np.uint8,
    "laboratory": np.uint8,
    "length_x100": np.uint16,
    "width_x100": np.uint16,
    "depth_x100": np.uint16,
    "depth_percentage_x10": np.uint16,
    "table_x10": np.uint16,
    "fancy_color": np.uint8,
    "fancy_intensity": np.uint8,
    "fancy_overtone": np.uint8,
    "labgrown_claim": np.uint8,
    "labgrown_type": np.uint8,
    "media": np.uint8,
    "price_cents": np.int32,
    "availability": np.uint8,
    "updated_ms": np.int64,
    "fault": np.uint8,
}
"""`lab` routes a stone to its feed; `identity` is the physical stone (equal for one certificate at several suppliers);
`price_cents` is US cents for the whole stone; `updated_ms` epoch milliseconds; 255 is null in coded columns."""

CLAIMS: Final = (False, True, None)
"""What `labgrown_claim` stands for: the certificate's own word, which is missing on many lab-grown stones."""

IMAGE, VIDEO, CERTIFICATE_IMAGE, V360 = 1, 2, 4, 8
"""Bits of `media`: which links a listing has."""

CERTIFICATE_COLUMNS: Final = (
    *(
        "identity",
        "shape",
        "carat_x100",
        "color",
        "clarity",
        "cut",
        "polish",
        "symmetry",
        "fluorescence",
        "laboratory",
    ),
    *("length_x100", "width_x100", "depth_x100", "depth_percentage_x10", "table_x10"),
    *("fancy_color", "fancy_intensity", "fancy_overtone", "labgrown_claim", "labgrown_type"),
)
"""What two listings of one physical stone have in common."""


def empty(rows: int) -> Columns:
    """Columns of a given length, zeroed."""
    return {name: np.zeros(rows, dtype=dtype) for name, dtype in DTYPES.items()}
