"""Facets: what of the stones that match has which value, and how its numbers lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.clusters import Clusters
from api.engine.encoding import GRADES
from api.engine.kernels import counting
from api.engine.signature import CLUSTERS, cluster_value
from api.engine.sorting import PRICE
from api.engine.stock import Stock
from api.fields import FIELDS
from api.index import Counted, Numbers
from api.query import Facets, Number, Query

_GRADES: Final = tuple(name for name, _ in GRADES)
_WIDTHS: Final = np.array([width for _, width in GRADES], dtype=np.int64)
_CLUSTERED: Final = ("shape", "lab_grown")
_NO_NUMBERS: Final = np.zeros(0, dtype=np.int64)
_COMBINATIONS: Final = 1 << int(_WIDTHS.sum())
_MOST_GRADES: Final = 1 << int(_WIDTHS.max())


@dataclass(slots=True)
class Matching:
    """The stones that match.

    Attributes:
        spans, mask, words: candidates and which of them; see `api.engine.kernels.marks`.
        counts: how many of each span.
        clusters: the clusters of the first spans; the others have stones of any.
    """

    spans: NDArray[np.int64]
    mask: NDArray[np.uint8]
    words: NDArray[np.uint64]
    counts: NDArray[np.int64]
    clusters: NDArray[np.int64]


Match = Callable[[str], Matching]
"""The stones that match when the filter on one attribute is left out, good until the next call."""


class Counter:
    """Counts facets over one stock."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock
        self._known: dict[tuple[str, int], NDArray[np.int64]] = {}

    def count(self, query: Query, facets: Facets, clusters: Clusters, match: Match) -> Counted:
        """The facets of a query. `match` is asked once for each attribute whose own filter is left out, last of all for none."""
        counts: dict[str, Any] = {}
        numbers: dict[str, Numbers] = {}
        filtered = {*query.lists, *query.ranges, *query.flags} if facets.exclude_own else set()
        for name in (*facets.counts, *facets.numbers):
            if name in filtered:
                self._tell([name], facets, clusters, match(name), counts, numbers)
        together = [name for name in (*facets.counts, *facets.numbers) if name not in filtered]
        self._tell(together, facets, clusters, match(""), counts, numbers)
        return Counted(
            {name: counts[name] for name in facets.counts}, {name: numbers[name] for name in facets.numbers}
        )

    def _tell(
        self,
        names: Sequence[str],
        facets: Facets,
        clusters: Clusters,
        matching: Matching,
        counts: dict[str, Any],
        numbers: dict[str, Numbers],
    ) -> None:
        grades = [name for name in names if name in _GRADES and name in facets.counts]
        if not self._stock.encoder.grades_fit:
            grades = []
        price = PRICE in names and self._stock.step(PRICE).dtype is np.int32
        if grades or price:
            edges = facets.numbers.get(PRICE, ()) or FIELDS[PRICE].edges
            by_grade, told = _grades_and_prices(clusters, matching, bool(grades), edges if price else None)
            for name in grades:
                counts[name] = self._named(name, by_grade[_GRADES.index(name)])
            if told is not None:
                numbers[PRICE] = told
        for name in names:
            if name in facets.counts and name not in grades:
                counts[name] = self._codes(name, clusters, matching)
            if name in facets.numbers and not (name == PRICE and price):
                edges = facets.numbers[name] or FIELDS[name].edges
                numbers[name] = self._numbers(name, edges, clusters, matching)

    def _codes(self, name: str, clusters: Clusters, matching: Matching) -> dict[Any, int]:
        texts = self._stock.texts(name)
        counts = np.zeros(len(texts), dtype=np.int64)
        known = np.full(len(matching.spans), -1, dtype=np.int64)
        if name in _CLUSTERED:
            known[: len(matching.clusters)] = self._codes_of_clusters(name, len(texts))[matching.clusters]
        counting.count_codes(
            *(matching.spans, matching.words, matching.counts, known),
            *(clusters.row_at, self._stock.coded[name], counts),
        )
        return self._named(name, counts)

    def _codes_of_clusters(self, name: str, size: int) -> NDArray[np.int64]:
        """The code that all stones of each cluster have, -1 where they differ; made anew when codes come to those there are."""
        known = self._known.get((name, size))
        if known is None:
            texts = list(self._stock.texts(name))
            values = [cluster_value(name, cluster) for cluster in range(CLUSTERS)]
            known = np.array([-1 if v is None or v not in texts else texts.index(v) for v in values])
            self._known[name, size] = known
        return known

    def _named(self, name: str, counts: NDArray[np.int64]) -> dict[Any, int]:
        texts = self._stock.texts(name)
        return {texts[code]: count for code, count in enumerate(counts.tolist()) if count}

    def _numbers(
        self, name: str, edges: tuple[Number, ...], clusters: Clusters, matching: Matching
    ) -> Numbers:
        step = self._stock.step(name)
        stored = np.array([step.low(edge) for edge in edges], dtype=np.float64 if step.floating else np.int64)
        buckets = np.zeros(len(edges) + 1, dtype=np.int64)
        count, low, high, total = counting.tell_numbers(
            *(matching.spans, matching.words, clusters.row_at, self._stock.numbers[name], step.null),
            *(stored, buckets),
        )
        if not count:
            return Numbers(0, None, None, None, edges, tuple(buckets.tolist()))
        units = 1 if step.floating else step.units
        mean = total / units / count * step.each
        return Numbers(count, step.load(low), step.load(high), mean, edges, tuple(buckets.tolist()))


def _grades_and_prices(
    clusters: Clusters, matching: Matching, with_grades: bool, edges: tuple[Number, ...] | None
) -> tuple[list[NDArray[np.int64]], Numbers | None]:
    counts = np.zeros(_COMBINATIONS if with_grades else 0, dtype=np.int32)
    whole = _NO_NUMBERS if edges is None else _in_cents(edges)
    buckets = np.zeros(len(whole) + 1, dtype=np.int64)
    low, high, total = counting.count_grades_and_prices(
        *(matching.spans, matching.mask, matching.words, clusters.grades, clusters.price, with_grades),
        *(edges is not None, whole, counts, buckets),
    )
    by_grade: list[NDArray[np.int64]] = []
    if with_grades:
        table = np.zeros((len(_WIDTHS), _MOST_GRADES), dtype=np.int64)
        counting.margins(counts, _WIDTHS, table)
        by_grade = list(table)
    if edges is None:
        return by_grade, None
    count = int(buckets.sum())
    if not count:
        return by_grade, Numbers(0, None, None, None, edges, tuple(buckets.tolist()))
    return by_grade, Numbers(count, low, high, total / count, edges, tuple(buckets.tolist()))


@lru_cache(maxsize=256)
def _in_cents(edges: tuple[Number, ...]) -> NDArray[np.int64]:
    """Edges as the least whole cents that are not below them."""
    return np.array([min(ceil(edge), 2**62) for edge in edges], dtype=np.int64)
