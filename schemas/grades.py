"""The trade's grades in grade order, and the other closed lists of values. Grades never sort as text.

`normalise` writes these spellings, the search sorts and checks filters by them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from schemas.stone import Availability

COLORS: Final = (
    *("D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "N-O", "O", "O-P", "P", "P-R", "Q", "Q-R", "R"),
    *("S", "S-T", "S-Z", "T", "U", "U-V", "V", "W", "W-X", "X", "X-Y", "Y", "Y-Z", "Z", "FANCY"),
)
"""Colorless first; a range stands behind its first letter; FANCY behind them all."""

CLARITIES: Final = ("FL", "IF", "VVS1", "VVS2", "VS1", "VS2", "SI1", "SI2", "SI3", "I1", "I2", "I3")
"""Flawless first."""

QUALITIES: Final = ("8X", "ID", "EX", "VG", "G", "F", "P")
"""Cut, polish and symmetry, best first."""

FLUORESCENCES: Final = ("NONE", "VERY_SLIGHT", "SLIGHT", "FAINT", "MEDIUM", "STRONG", "VERY_STRONG")
"""Weakest first."""

FANCY_INTENSITIES: Final = (
    *("FAINT", "VERY_LIGHT", "LIGHT", "FANCY_LIGHT", "FANCY", "FANCY_DARK"),
    *("FANCY_INTENSE", "FANCY_DEEP", "FANCY_VIVID"),
)
"""Weakest first."""

LAB_GROWN_TYPES: Final = ("CVD", "HPHT", "IIA")

GRADES: Final = MappingProxyType(
    {
        "color": COLORS,
        "clarity": CLARITIES,
        "cut": QUALITIES,
        "polish": QUALITIES,
        "symmetry": QUALITIES,
        "fluorescence": FLUORESCENCES,
        "fancy_intensity": FANCY_INTENSITIES,
        "availability": tuple(str(value) for value in Availability),
    }
)
"""Fields of a stone that sort by grade, with their values in that order."""

LONG_NAMES: Final = MappingProxyType(
    {
        "8X": "Super Ideal",
        "ID": "Ideal",
        "EX": "Excellent",
        "VG": "Very Good",
        "G": "Good",
        "F": "Fair",
        "P": "Poor",
    }
)
"""Qualities as people write them."""
