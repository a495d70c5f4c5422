"""A search as the index understands it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

DEFAULT_LIMIT: Final = 24
MAX_LIMIT: Final = 250

Number = int | float
Value = int | float | str | None
"""What a stone's attribute is to a search: numbers as they are, times in epoch milliseconds, None when unknown."""


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends inclusive; None leaves an end open. A stone without the attribute is never in a range."""

    low: Number | None = None
    high: Number | None = None


@dataclass(frozen=True, slots=True)
class SortKey:
    """One sorting key. Unknown values come last, whichever the direction."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class After:
    """The last item of the page before: its value of each sorting key, and its id."""

    values: tuple[Value, ...]
    stone_id: str


DEFAULT_SORT: Final = (SortKey("price_cents"),)


@dataclass(frozen=True, slots=True)
class Facets:
    """What to count beside the page.

    Attributes:
        counts: listed attributes and flags, of which each value's stones are counted.
        numbers: attributes of which least, greatest and mean are told and a histogram is made, with the edges of its
            buckets, ascending; no edges means `Field.edges`.
        exclude_own: whether an attribute's own filter is left out where it is counted, so that a shopper sees what
            else could be chosen.
    """

    counts: tuple[str, ...] = ()
    numbers: Mapping[str, tuple[Number, ...]] = field(default_factory=dict)
    exclude_own: bool = True


@dataclass(frozen=True, slots=True)
class Query:
    """Every condition must hold; ties of the sorting keys are broken by id.

    Attributes:
        lists: attribute to the values of which it must be one.
        ranges: attribute to the range it must be in.
        flags: attribute to the truth it must have.
        prefixes: attribute (`api.fields.PREFIXED`) to the beginnings of which it must have one.
        sort: sorting keys, the first counts most.
        limit: greatest number of items; 0 asks for the total alone.
        offset: items to leave out before the page, behind `after` when both are given.
        after: where the page begins; the first page without one.
        facets: what to count of all stones that match.
    """

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    prefixes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: tuple[SortKey, ...] = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    after: After | None = None
    facets: Facets | None = None
