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
class Query:
    """Every condition must hold; ties of the sorting keys are broken by id.

    Attributes:
        lists: attribute to the values of which it must be one.
        ranges: attribute to the range it must be in.
        flags: attribute to the truth it must have.
        sort: sorting keys, the first counts most.
        limit: greatest number of items.
        after: where the page begins; the first page without one.
    """

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    sort: tuple[SortKey, ...] = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    after: After | None = None
