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
    """One of the texts as they are, of which there are too many to list: `certificate_number=…`."""
    MOMENT = "moment"
    """A time; sorted by, not filtered."""


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
    """

    name: str
    kind: Kind
    meaning: str
    values: tuple[str, ...] = ()
    closed: bool = False
    sortable: bool = True

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


_FIELDS: Final = (
    Field("feed", Kind.LIST, "where the stone comes from", tuple(FEEDS), closed=True),
    Field("shape", Kind.LIST, "shape, upper case", SHAPES),
    Field("carat", Kind.DECIMAL, "weight in carats"),
    _graded("color", "color grade, colorless first"),
    _graded("clarity", "clarity grade, flawless first"),
    _graded("cut", "cut grade, best first; long names are understood"),
    _graded("polish", "polish grade, best first; long names are understood"),
    _graded("symmetry", "symmetry grade, best first; long names are understood"),
    _graded("fluorescence", "fluorescence, weakest first"),
    Field("lab", Kind.LIST, "who graded the stone", LABS),
    Field("certificate_number", Kind.EXACT, "number of the grading report", sortable=False),
    Field("lab_grown", Kind.FLAG, "whether the stone is lab-grown", sortable=False),
    Field("lab_grown_type", Kind.LIST, "how a lab-grown stone was made", LAB_GROWN_TYPES, closed=True),
    Field("fancy_color", Kind.LIST, "hue of a fancy-colored stone"),
    _graded("fancy_intensity", "intensity of a fancy color, weakest first"),
    Field("price_cents", Kind.INTEGER, "our price in integer US cents"),
    _graded("availability", "whether the stone can be sold now; `available` unless said otherwise"),
    Field("updated_at", Kind.MOMENT, "when content or price last changed"),
)

FIELDS: Final = MappingProxyType({field.name: field for field in _FIELDS})
"""Every attribute a search knows, by name."""

SORTABLE: Final = tuple(name for name, field in FIELDS.items() if field.sortable)
