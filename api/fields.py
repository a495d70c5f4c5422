"""What a search may look at: each attribute once, with how it is filtered and sorted.

The query parser, the index, the cursors and the OpenAPI document all read this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from schemas.feeds import FEEDS
from schemas.grades import GRADES, LAB_GROWN_TYPES


class Kind(StrEnum):
    """How an attribute is filtered."""

    LIST = "list"
    """Any of the values: `shape=ROUND,OVAL`."""
    FLAG = "flag"
    """`lab_grown=true` or `false`."""
    INTEGER = "integer"
    """`price_cents_min=…` and `price_cents_max=…`, both inclusive."""
    DECIMAL = "decimal"
    """The same for numbers with decimals."""
    EXACT = "exact"
    """One of the texts as they are, of which there are too many to list: `certificate_number=…`; some by prefix too."""
    MOMENT = "moment"
    """A time, epoch milliseconds in a query's ranges."""


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute of a stone.

    Attributes:
        name: its name in the item.
        kind: how it is filtered.
        meaning: what the parameter's documentation says.
        values: the values known beforehand, in their sorting order for grades; more may come with the stones.
        closed: whether there are no other values.
        sortable: whether `sort` takes it.
        private: whether only callers with the scope for cost may filter, sort and count by it.
        prefix: whether `Query.prefixes` takes it.
        edges: for numbers, where a histogram's buckets begin when the caller names no edges.
    """

    name: str
    kind: Kind
    meaning: str
    values: tuple[str, ...] = ()
    closed: bool = False
    sortable: bool = True
    private: bool = False
    prefix: bool = False
    edges: tuple[float, ...] = ()

    @property
    def graded(self) -> bool:
        """Whether it sorts in the order of `values` rather than as text."""
        return self.name in GRADES


SHAPES: Final = (
    *("ROUND", "OVAL", "EMERALD", "CUSHION", "CUSHION BRILLIANT", "CUSHION MODIFIED", "ASSCHER", "RADIANT"),
    *("MARQUISE", "PEAR", "PRINCESS", "ROSE", "OLD MINER", "TRILLIANT", "HEXAGONAL", "HEART"),
)
"""What shops sell; rarer shapes become known with the first stone that has them."""

LABS: Final = ("GIA", "IGI", "HRD", "GCAL", "AGS")


def _graded(name: str, meaning: str) -> Field:
    return Field(name, Kind.LIST, meaning, GRADES[name], closed=True)


_TINGES: Final = {
    "milky": "how milky",
    "brown": "how brown",
    "green": "how green",
    "blue": "how blue",
    "gray": "how gray",
    "other_tinge": "which other tinge",
}
_PRICE_EDGES: Final = tuple(
    100 * dollars
    for dollars in (
        *(100, 150, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 15_000),
        *(20_000, 30_000, 50_000, 100_000),
    )
)
_CARAT_EDGES: Final = (
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6, 8, 10),
)
_MM_EDGES: Final = tuple(range(3, 16))


def _decimal(name: str, meaning: str, *edges: float) -> Field:
    return Field(name, Kind.DECIMAL, meaning, edges=edges)


def _integer(name: str, meaning: str, *edges: float, private: bool = False) -> Field:
    return Field(name, Kind.INTEGER, meaning, edges=edges, private=private)


_FIELDS: Final = (
    Field("id", Kind.EXACT, "feed:vendor's stone id", sortable=False),
    Field("feed", Kind.LIST, "where the stone comes from", tuple(FEEDS), closed=True),
    Field("shape", Kind.LIST, "shape, upper case", SHAPES),
    _decimal("carat", "weight in carats", *_CARAT_EDGES),
    _graded("color", "color grade, colorless first"),
    _graded("clarity", "clarity grade, flawless first"),
    _graded("cut", "cut grade, best first; long names are understood"),
    _graded("polish", "polish grade, best first; long names are understood"),
    _graded("symmetry", "symmetry grade, best first; long names are understood"),
    _graded("fluorescence", "fluorescence, weakest first"),
    Field("fluorescence_color", Kind.LIST, "color of the fluorescence"),
    Field("lab", Kind.LIST, "who graded the stone", LABS),
    Field("certificate_number", Kind.EXACT, "number of the grading report", sortable=False, prefix=True),
    Field("lab_grown", Kind.FLAG, "whether the stone is lab-grown", sortable=False),
    Field("lab_grown_type", Kind.LIST, "how a lab-grown stone was made", LAB_GROWN_TYPES, closed=True),
    Field("treated", Kind.FLAG, "whether the stone was treated", sortable=False),
    Field("fancy_color", Kind.LIST, "hue of a fancy-colored stone"),
    _graded("fancy_intensity", "intensity of a fancy color, weakest first"),
    Field("fancy_overtone", Kind.LIST, "overtone of a fancy color"),
    _integer("price_cents", "our price in integer US cents", *_PRICE_EDGES),
    _integer("price_per_carat_cents", "our price a carat in integer US cents, half up", *_PRICE_EDGES),
    _integer("cost_cents", "what the vendor asks, integer US cents", *_PRICE_EDGES, private=True),
    _integer(
        "list_discount_bps",
        "discount to the list price, basis points, as the vendor signs it",
        *range(-6_000, 6_001, 1_000),
        private=True,
    ),
    _integer("rating", "how good the offer is, 1 to 10, by the rule set", *range(2, 11)),
    _decimal("length_mm", "length in millimetres", *_MM_EDGES),
    _decimal("width_mm", "width in millimetres", *_MM_EDGES),
    _decimal("depth_mm", "depth in millimetres", *_MM_EDGES),
    _decimal("ratio", "length to width, two decimals", 1, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2),
    _decimal("table_percent", "table width in percent of the width", *range(50, 76, 2)),
    _decimal("depth_percent", "depth in percent of the width", *range(54, 78, 2)),
    _decimal("crown_angle", "crown angle in degrees", *range(30, 41)),
    _decimal("pavilion_angle", "pavilion angle in degrees", *range(38, 46)),
    Field("girdle", Kind.LIST, "girdle, as the report words it"),
    Field("culet", Kind.LIST, "culet size"),
    Field("eye_clean", Kind.LIST, "yes, no, borderline, or the vendor's percentage"),
    *(
        Field(name, Kind.LIST, f"{meaning}; none when the vendor says no")
        for name, meaning in _TINGES.items()
    ),
    Field("has_image", Kind.FLAG, "whether there is an image", sortable=False),
    Field("has_video", Kind.FLAG, "whether there is a video", sortable=False),
    Field("origin", Kind.LIST, "mine or country the stone comes from"),
    Field("location", Kind.LIST, "where the stone is"),
    _integer("delivery_days_min", "earliest delivery in business days", 1, 2, 3, 5, 7, 10, 14),
    _integer("delivery_days_max", "latest delivery in business days", 1, 2, 3, 5, 7, 10, 14, 21),
    _integer("return_window_days", "days in which the stone can be returned", 1, 7, 14, 30),
    Field("supplier_id", Kind.LIST, "the vendor's id of the supplier", private=True),
    Field("supplier_name", Kind.LIST, "the supplier's name", private=True),
    Field(
        "supplier_stock_number",
        Kind.EXACT,
        "the supplier's number of the stone",
        sortable=False,
        private=True,
        prefix=True,
    ),
    _graded("availability", "whether the stone can be sold now; `available` unless said otherwise"),
    Field(
        "first_seen",
        Kind.MOMENT,
        "when the stone came into stock, to the second; null for one there since before",
    ),
    Field("updated_at", Kind.MOMENT, "when content or price last changed"),
)

FIELDS: Final = MappingProxyType({field.name: field for field in _FIELDS})
"""Every attribute a search knows, by name."""

PUBLIC: Final = tuple(name for name, field in FIELDS.items() if not field.private)
"""What every caller may search by."""

SORTABLE: Final = tuple(name for name in PUBLIC if FIELDS[name].sortable)
"""What every caller may sort by."""

LISTED: Final = tuple(name for name, field in FIELDS.items() if field.kind is Kind.LIST)
FLAGS: Final = tuple(name for name, field in FIELDS.items() if field.kind is Kind.FLAG)
NUMBERS: Final = tuple(
    name for name, field in FIELDS.items() if field.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.MOMENT)
)
PREFIXED: Final = tuple(name for name, field in FIELDS.items() if field.prefix)
