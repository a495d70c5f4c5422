"""The words of the vendor's payloads and filters, as the vendor spells them, duplicates and misspellings included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NULL: Final = 255
"""The code of a missing value in every coded column."""

SHAPES: Final = tuple(
    """ROUND,OVAL,EMERALD,CUSHION,CUSHION B,CUSHION MODIFIED,CUSHION BRILLIANT,ASSCHER,RADIANT,MARQUISE,PEAR,PRINCESS,ROSE,
    OLD MINER,TRILLIANT,HEXAGONAL,HEART,OCTAGONAL,ROUND MODIFIED BRILLIANT,OTHER,PENTAGONAL,RECTANGULAR,BRIOLETTE,
    PEAR MODIFIED BRILLIANT,OLD EUROPEAN,SQUARE,KITE,EUROPEAN,BULLET,RECTANGLE,TRAPEZOID,HALFMOON,SHIELD,OVAL MIXED CUT,
    TRAPEZE,BAGUETTE,FAN,TETRAGONAL,TAPERED BAGUETTE,SQUARE EMERALD,ASCHER,HALF MOON,PRAD,LOZENGE,HEPTAGONAL,
    SQUARE RADIANT,FLANDERS,NONAGONAL,EUROPEAN CUT,TRIANGULAR""".replace("\n", "")
    .replace(",    ", ",")
    .split(",")
)
"""The vendor's 50 accepted shapes, the 17 that production asks for first."""
ROUND: Final = 0

COLORS: Final = _listed("D E F G H I J K L M N NO O OP PR P Q QR R S SZ ST T U UV V W WX X XY Y YZ Z FANCY")
FANCY: Final = COLORS.index("FANCY")
CLARITIES: Final = _listed("FL IF VVS1 VVS2 VS1 VS2 SI1 SI2 SI3 I1 I2 I3")
QUALITIES: Final = _listed("EIGHTX ID EX VG GD G F FR P PR")
FAIR_POOR: Final = ("F", "FR", "P", "PR")
FLUORESCENCES: Final = _listed("NON VSL SLT FNT MED STG STN VST")
LABS: Final = _listed(
    """GIA IGI HRD GCAL IIDGR SGL EGL AGS NONE LAB STOCKID OTHER GGL DSEF CDC FGL GRS AGL ICL AGTL EMTEEM GTL GUBELIN
    RGL TGL AIGS LOTUS SSEF ZG GSI ALGT WISE"""
)
NO_LAB: Final = LABS.index("NONE")
AVAILABILITIES: Final = _listed("AVAILABLE HOLD MEMO CONSIGNMENT SOLD NOT_AVAILABLE ON_HOLD ON_MEMO SOLD_OUT")
AVAILABLE, HOLD, SOLD = 0, 1, 4
LABGROWN_TYPES: Final = ("HPHT", "CVD", "IIA")
GIRDLES: Final = _listed("ACT ETK VTK THK STK MED STN THN VTN ETN ANY")
CULETS: Final = _listed("NON VSM SML MED SLG LGE VLG ELG")
INCLUSION_SIZES: Final = _listed("HEAVY MEDIUM MINOR NONE HAIRLINE PINPOINT")
CURRENCIES: Final = _listed("USD GBP EUR ZAR HKD INR AUD CAD AED")
PRODUCT_TYPES: Final = ("Diamond", "Gemstone", "MeleeCollection", "Melee", "Jewellery")
REQUESTED_INFO: Final = ("SHADE", "LUSTER", "EYECLEAN", "IMAGE", "VIDEO", "MEDIA")
MINES: Final = _listed(
    """CANADA BOTSWANA RUSSIA NAMIBIA ZIMBABWE SOUTH_AFRICA MIXED LESOTHO BRAUNA MUROWA ANGOLA MICRONESIA SIERRA_LEONE
    DE_BEERS_GROUP_OF_COMPANIES BRAZIL ZAMBIA BASALTIC MYANMAR THAILAND MOZAMBIQUE MADAGASCAR COLOMBIA COLUMBIA UNKNOWN
    OTHER BOLIVIA CAMBODIA CHINA CONGO EASTAFRICA ETHIOPIA FRANCE GERMANY GREENLAND INDIA IRAN KASHMIR KENYA NORTHKOREA
    LAOS MALAWI MEXICO NEPAL NEWZEALAND NIGERIA PAKISTAN RWANDA SRILANKA SWITZERLAND TAJIKISTAN TANZANIA UKRAINE
    UNITEDSTATES URUGUAY VIETNAM REST_OF_AFRICA"""
)

FANCY_COLORS: Final = (
    *(
        "YELLOW",
        "Yellow",
        "yellow",
        "PINK",
        "Pink",
        "BROWN",
        "Brown",
        "GREEN",
        "BLUE",
        "Blue",
        "ORANGE",
        "GRAY",
        "Grey",
    ),
    *(
        "GREY",
        "BLACK",
        "PURPLE",
        "RED",
        "VIOLET",
        "WHITE",
        "CHAMPAGNE",
        "COGNAC",
        "CHAMELEON",
        "PEACH",
        "TEAL",
    ),
    *(
        "BI_COLOR",
        "MULTI_COLOR",
        "OTHER",
        "EVEN",
        "U-V",
        "ORANGE BROWN",
        "BROWN ORANGE",
        "PINK BROWN",
        "BROWN PINK",
    ),
    *(
        "BROWN-PINK",
        "YELLOW BROWN",
        "BROWN YELLOW",
        "PURPLE PINK",
        "PINK PURPLE",
        "GREEN YELLOW",
        "YELLOW GREEN",
    ),
    *("ORANGE YELLOW", "YELLOW ORANGE", "GRAY BLUE", "ORANGY BROWN", "Orangy Yellow"),
)
"""Fancy colors as payloads spell them: any case, Grey and Gray, reversed pairs, hyphens and noise."""
FANCY_INTENSITIES: Final = (
    *(
        "Faint",
        "FAINT",
        "Very_Light",
        "Very Light",
        "Light",
        "LIGHT",
        "Fancy_Light",
        "Fancy Light",
        "FANCY-LIGHT",
    ),
    *(
        "Fancy",
        "FANCY",
        "Fancy_Dark",
        "Fancy_Intense",
        "FANCY INTENSE",
        "fancy intense",
        "Fancy_Vivid",
        "FANCY VIVID",
    ),
    *("FANCY-VIVID", "Fancy_Deep", "Fancy Deep"),
)
FANCY_OVERTONES: Final = (
    *(
        "BLUEISH",
        "BROWNISH",
        "Brownish",
        "GRAYISH",
        "GREENISH",
        "ORANGY",
        "PINKISH",
        "PURPLISH",
        "REDDISH",
        "YELLOWISH",
    ),
    *("BROWN", "GRAY", "GREEN", "PINK", "YELLOW", "NONE", "Even"),
)

FAULTS: Final = (
    "null_certificate",
    "unknown_shape",
    "null_price",
    "no_carats",
    "bad_enum",
    "huge_comment",
)
"""What makes a planted stone impossible to understand, in the order of the `fault` column's codes."""
UNKNOWN_SHAPE: Final = "SQUIRCLE"
BAD_COLOR: Final = "D+"
HUGE_COMMENT_CHARS: Final = 2 * 1024 * 1024

FEEDS: Final = ("nivoda-natural", "nivoda-labgrown", "demo")
NATURAL_FEED, LABGROWN_FEED, DEMO_FEED = FEEDS


def codes(vocabulary: Sequence[str], words: Sequence[str]) -> list[int]:
    """The codes of words in a vocabulary."""
    return [vocabulary.index(word) for word in words]
