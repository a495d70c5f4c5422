"""Nivoda's vocabularies and what each word is called here. Data only; source: the vendor's GraphQL schema and payloads.

Keys are spelled as `connectors.feeds.table.word` spells a text: upper case, one space for every dash, underscore or
space. A value of None is a word we know and which says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

from connectors.feeds.table import word
from schemas.grades import CLARITIES, COLORS, FANCY_INTENSITIES, LAB_GROWN_TYPES
from schemas.stone import Availability


def _as_they_are(names: Iterable[str]) -> dict[str, str | None]:
    return {word(name): name for name in names}


SHAPES: Final[dict[str, str | None]] = _as_they_are(
    (
        *("ROUND", "OCTAGONAL", "ASSCHER", "ROUND MODIFIED BRILLIANT", "OTHER", "EMERALD", "PENTAGONAL"),
        *("RECTANGULAR", "BRIOLETTE", "PEAR MODIFIED BRILLIANT", "OLD EUROPEAN", "SQUARE", "PEAR", "KITE"),
        *("EUROPEAN", "HEXAGONAL", "BULLET", "TRAPEZOID", "HALFMOON", "SHIELD", "OVAL MIXED CUT", "OVAL"),
        *("BAGUETTE", "CUSHION MODIFIED", "CUSHION BRILLIANT", "RADIANT", "FAN", "TETRAGONAL"),
        *("TAPERED BAGUETTE", "CUSHION", "SQUARE EMERALD", "HEART", "PRAD", "LOZENGE", "PRINCESS"),
        *("HEPTAGONAL", "TRILLIANT", "ROSE", "SQUARE RADIANT", "FLANDERS", "OLD MINER", "MARQUISE"),
        *("NONAGONAL", "TRIANGULAR"),
    )
) | {
    # The vendor's own duplicates: one shape, two spellings.
    "ASCHER": "ASSCHER",
    "HALF MOON": "HALFMOON",
    "TRAPEZE": "TRAPEZOID",
    "CUSHION B": "CUSHION BRILLIANT",
    "EUROPEAN CUT": "EUROPEAN",
    "RECTANGLE": "RECTANGULAR",
}

_COLOR_CODES: Final = ("NO", "OP", "PR", "QR", "ST", "SZ", "UV", "WX", "XY", "YZ")

COLOR_GRADES: Final[dict[str, str | None]] = _as_they_are(COLORS) | {
    code: f"{code[0]}-{code[1]}" for code in _COLOR_CODES
}

CLARITY_GRADES: Final = _as_they_are(CLARITIES)

QUALITY_GRADES: Final[dict[str, str | None]] = {
    **{"EIGHTX": "8X", "8X": "8X", "ID": "ID", "IDEAL": "ID", "EX": "EX", "EXCELLENT": "EX"},
    **{"VG": "VG", "VERY GOOD": "VG", "GD": "G", "G": "G", "GOOD": "G"},
    # F and P are the current codes of fair and poor, FR and PR the old ones.
    **{"F": "F", "FR": "F", "FAIR": "F", "P": "P", "PR": "P", "POOR": "P", "NONE": None},
}

FLUORESCENCE_GRADES: Final[dict[str, str | None]] = {
    **{"NON": "NONE", "NONE": "NONE", "VSL": "VERY_SLIGHT", "SLT": "SLIGHT", "FNT": "FAINT", "MED": "MEDIUM"},
    **{"STG": "STRONG", "STN": "STRONG", "VST": "VERY_STRONG"},
    **{"VERY SLIGHT": "VERY_SLIGHT", "SLIGHT": "SLIGHT", "FAINT": "FAINT", "MEDIUM": "MEDIUM"},
    **{"STRONG": "STRONG", "VERY STRONG": "VERY_STRONG"},
}

FLUORESCENCE_COLORS: Final[dict[str, str | None]] = _as_they_are(
    (
        *("BLUE", "BLACK", "BROWN", "CHAMPAGNE", "COGNAC", "CHAMELEON", "GRAY", "GREEN", "ORANGE", "OTHER"),
        *("PINK", "PURPLE", "RED", "VIOLET", "WHITE", "YELLOW"),
    )
) | {"B": "BLUE", "Y": "YELLOW", "W": "WHITE", "O": "ORANGE", "G": "GREEN", "GREY": "GRAY", "NONE": None}

LABS: Final[dict[str, str | None]] = _as_they_are(
    (
        *("GIA", "IGI", "HRD", "GCAL", "IIDGR", "SGL", "EGL", "AGS", "LAB", "OTHER", "GGL", "DSEF", "CDC"),
        *("FGL", "GRS", "AGL", "ICL", "AGTL", "EMTEEM", "GTL", "GUBELIN", "RGL", "TGL", "AIGS", "LOTUS"),
        *("SSEF", "ZG", "GSI", "ALGT", "WISE"),
    )
) | {"NONE": None, "STOCKID": None}
"""NONE and STOCKID mark a stone without a report; its number is the supplier's own."""

CULETS: Final[dict[str, str | None]] = {
    **{"NON": "NONE", "NONE": "NONE", "VSM": "VERY_SMALL", "SML": "SMALL", "MED": "MEDIUM"},
    **{"SLG": "SLIGHTLY_LARGE", "LGE": "LARGE", "VLG": "VERY_LARGE", "ELG": "EXTREMELY_LARGE"},
}

AVAILABILITIES: Final[dict[str, str | None]] = {
    "AVAILABLE": Availability.AVAILABLE,
    "HOLD": Availability.ON_HOLD,
    "ON HOLD": Availability.ON_HOLD,
    "MEMO": Availability.UNAVAILABLE,
    "ON MEMO": Availability.UNAVAILABLE,
    "CONSIGNMENT": Availability.UNAVAILABLE,
    "SOLD": Availability.UNAVAILABLE,
    "SOLD OUT": Availability.UNAVAILABLE,
    "NOT AVAILABLE": Availability.UNAVAILABLE,
}
"""Whole words, never parts of them: NOT_AVAILABLE contains AVAILABLE."""

LAB_GROWN_KINDS: Final = _as_they_are(LAB_GROWN_TYPES)

YES_NO: Final = {"YES": True, "Y": True, "TRUE": True, "NO": False, "N": False, "FALSE": False}
EYE_CLEAN: Final = {
    **{"YES": "yes", "Y": "yes", "TRUE": "yes", "NO": "no", "N": "no", "FALSE": "no"},
    "BORDERLINE": "borderline",
}
NO_TINGE: Final = frozenset({"NO", "N", "NONE", "FALSE"})

_HUES: Final = (
    *(
        "BLUE",
        "BLACK",
        "BROWN",
        "CHAMPAGNE",
        "COGNAC",
        "CHAMELEON",
        "GRAY",
        "GREEN",
        "ORANGE",
        "OTHER",
        "PINK",
    ),
    *("PURPLE", "RED", "VIOLET", "WHITE", "YELLOW", "PEACH", "TEAL"),
)
_TINTS: Final = (
    *("BLUEISH", "BROWNISH", "GRAYISH", "GREENISH", "ORANGY", "PINKISH", "PURPLISH", "REDDISH", "YELLOWISH"),
)
_VARIANTS: Final = {"GREY": "GRAY", "GREYISH": "GRAYISH", "BLUISH": "BLUEISH", "ORANGEY": "ORANGY"}
_NOISE: Final[dict[str, str | None]] = {"EVEN": None, "UNEVEN": None, "U V": None, "NONE": None}
_ONE_COLOR_IN_TWO_ORDERS: Final = {
    "BROWN ORANGE": "ORANGE BROWN",
    "BROWN PINK": "PINK BROWN",
    "BROWN YELLOW": "YELLOW BROWN",
    "PINK PURPLE": "PURPLE PINK",
}


def _hues() -> dict[str, str | None]:
    words = {hue: hue for hue in (*_HUES, *_TINTS)} | _VARIANTS
    singles: dict[str, str | None] = dict(words)
    pairs: dict[str, str | None] = {
        f"{first} {second}": f"{words[first]} {words[second]}"
        for first, second in product(words, words)
        if words[first] != words[second]
    }
    # Green yellow is not yellow green: only these four pairs name one color in two orders.
    joined: dict[str, str | None] = {
        spelled: _ONE_COLOR_IN_TWO_ORDERS[pair]
        for spelled, pair in pairs.items()
        if pair in _ONE_COLOR_IN_TWO_ORDERS
    }
    noisy = {f"{hue} EVEN": name for hue, name in singles.items()} | {
        f"EVEN {hue}": name for hue, name in singles.items()
    }
    special: dict[str, str | None] = {"BI COLOR": "BI_COLOR", "MULTI COLOR": "MULTI_COLOR"}
    return {**singles, **pairs, **joined, **noisy, **special, **_NOISE}


FANCY_COLORS: Final = _hues()
FANCY_OVERTONES: Final = FANCY_COLORS
INTENSITIES: Final = _as_they_are(FANCY_INTENSITIES) | {"NONE": None}

ORIGINS: Final[dict[str, str | None]] = _as_they_are(
    (
        *(
            "CANADA",
            "BOTSWANA",
            "RUSSIA",
            "NAMIBIA",
            "ZIMBABWE",
            "SOUTH_AFRICA",
            "MIXED",
            "LESOTHO",
            "BRAUNA",
        ),
        *("MUROWA", "ANGOLA", "MICRONESIA", "SIERRA_LEONE", "DE_BEERS_GROUP_OF_COMPANIES", "BRAZIL"),
        *("ZAMBIA", "BASALTIC", "MYANMAR", "THAILAND", "MOZAMBIQUE", "MADAGASCAR", "COLOMBIA", "OTHER"),
        *("BOLIVIA", "CAMBODIA", "CHINA", "CONGO", "EASTAFRICA", "ETHIOPIA", "FRANCE", "GERMANY"),
        *("GREENLAND", "INDIA", "IRAN", "KASHMIR", "KENYA", "NORTHKOREA", "LAOS", "MALAWI", "MEXICO"),
        *("NEPAL", "NEWZEALAND", "NIGERIA", "PAKISTAN", "RWANDA", "SRILANKA", "SWITZERLAND", "TAJIKISTAN"),
        *("TANZANIA", "UKRAINE", "UNITEDSTATES", "URUGUAY", "VIETNAM", "REST_OF_AFRICA"),
    )
) | {"COLUMBIA": "COLOMBIA", "UNKNOWN": None, "NONE": None}
