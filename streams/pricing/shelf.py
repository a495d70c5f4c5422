"""Stones as columns, frozen at one moment: what a rule set is tried on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT
from schemas.conditions import AGE, DERIVED, TYPES, conditions_in
from schemas.ruleset import PublishedRuleSet
from streams.pricing.engine import DAY_S, sides
from streams.pricing.matching import FANCY

PRESENT: Final = ("price_cents", "currency", "rules_version")
"""What a stone is asked for at present."""
REPORTED: Final = ("cost_cents", "shape", "carat", "color", "fancy_color", "lab_grown")
"""What every preview looks at, whatever the rows ask."""
FIRST_SEEN: Final = "first_seen"
BUCKET: Final = "bucket"
"""The extra column with `streams.pricing.engine.bucket`."""


@dataclass(frozen=True)
class Shelf:
    """A consistent copy of some columns of the stock; row i of every array is stone `ids[i]`.

    Attributes:
        ids: the stones.
        arrays: by attribute, as `schemas.columns` keeps them: codes of texts, integers, floats, -1/0/1.
        texts: the text behind each code, by attribute; code 0 is null.
        buckets: where each stone stands in a share, 0 to 9 999.
    """

    ids: Sequence[str]
    arrays: Mapping[str, NDArray[Any]]
    texts: Mapping[str, Sequence[str | None]]
    buckets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: NDArray[np.bool_]) -> Shelf:
        """The chosen stones alone."""
        ids = [self.ids[row] for row in np.flatnonzero(chosen).tolist()]
        arrays = {name: column[chosen] for name, column in self.arrays.items()}
        return Shelf(ids, arrays, self.texts, self.buckets[chosen])

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each stone is."""
        return {stone: row for row, stone in enumerate(self.ids)}

    @cached_property
    def types(self) -> NDArray[np.int8]:
        """The derived attribute `type` as a place in `TYPES`."""
        fancy_color = self.arrays["fancy_color"] != 0
        codes = [code for code, text in enumerate(self.texts["color"]) if text == FANCY]
        fancy = fancy_color | np.isin(self.arrays["color"], codes) if codes else fancy_color
        grown = self.arrays["lab_grown"] == 1
        types = np.where(grown, TYPES.index("lab_grown"), TYPES.index("natural")).astype(np.int8)
        types[fancy] = TYPES.index("fancy")
        return types

    def aged(self, at_ms: int) -> Shelf:
        """The same with the derived attribute `age` at a moment (ms since 1970); see `streams.pricing.engine.PriceBook.age`."""
        seen = self.arrays[FIRST_SEEN]
        days = np.maximum(0, (at_ms // 1000 - seen // 1000) // DAY_S)
        return replace(self, arrays={**self.arrays, AGE: np.where(seen == NULL_INT, NULL_INT, days)})

    @cached_property
    def cost_per_carat_cents(self) -> NDArray[np.float64]:
        """The derived attribute of that name; NaN for a stone without weight."""
        carat = self.arrays["carat"]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(carat > 0, self.arrays["cost_cents"] / carat, np.nan)


def attributes_of(*rule_sets: PublishedRuleSet) -> frozenset[str]:
    """The columns that pricing under these numbers and reporting on it need."""
    asked = {
        name
        for published in rule_sets
        for side in sides(published)
        for row in side.content.rows
        for name, _ in conditions_in(row.when)
    }
    if AGE in asked:
        asked.add(FIRST_SEEN)
    return frozenset((asked | {*PRESENT, *REPORTED}) - {"id"} - DERIVED.keys())
