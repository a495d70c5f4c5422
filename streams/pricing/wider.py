"""Which earlier rows of a table may contain a row: looked up in columns, for all of them at once. Pure.

A condition becomes integers in which narrower is one comparison: a range a rank for each of its ends, texts and booleans
bits of a word. Texts that are many share bits, so that a row found here need not contain the other; none is missed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.conditions import Condition, Range

_INFINITY: Final = float("inf")
_BITS: Final = 62
"""Of a word, for texts: one more tells that nothing is asked, and the sign is left alone."""


class Wider:
    """The rows of a table in order, each as its alternatives: conditions that must all hold, without groups."""

    def __init__(self, rows: Sequence[Sequence[Mapping[str, Condition]]]) -> None:
        flat = [one for alternatives in rows for one in alternatives]
        sizes = [len(alternatives) for alternatives in rows]
        self._begins = [0, *np.cumsum(sizes, dtype=np.int64).tolist()]
        self._row_of = np.repeat(np.arange(len(rows)), sizes)
        self._ranks: list[NDArray[np.int64]] = []
        self._words: list[NDArray[np.int64]] = []
        for name in dict.fromkeys(name for one in flat for name in one):
            asked = [one.get(name) for one in flat]
            ranges = [one if isinstance(one, Range) else None for one in asked]
            if any(ranges):
                self._ranks.append(_ranked([None if one is None else _bottom(one) for one in ranges]))
                self._ranks.append(_ranked([None if one is None else _narrowed_top(one) for one in ranges]))
            if any(one is not None and not isinstance(one, Range) for one in asked):
                self._words.append(_bits(None if isinstance(one, Range) else one for one in asked))

    def before(self, row: int) -> list[int]:
        """The earlier rows that may contain a row, in order: those with an alternative wider than its first one."""
        one = self._begins[row]
        if one == self._begins[row + 1]:
            return []
        among = np.arange(one)
        for ranks in self._ranks:
            among = among[ranks[among] <= ranks[one]]
        for words in self._words:
            among = among[words[one] & ~words[among] == 0]
        found: list[int] = np.unique(self._row_of[among]).tolist()
        return found


def top(span: Range) -> tuple[float, bool]:
    """The upper end of a range, and whether it is outside."""
    if span.below is not None:
        return span.below, True
    return (_INFINITY, False) if span.max is None else (span.max, False)


def _bottom(span: Range) -> float:
    return -_INFINITY if span.min is None else span.min


def _narrowed_top(span: Range) -> tuple[float, bool]:
    """Greater for what ends earlier, and of two that end at one place for the one whose end is outside."""
    end, outside = top(span)
    return -end, outside


def _ranked(values: Sequence[Any]) -> NDArray[np.int64]:
    """The place of each value in their order; 0 for null: to ask nothing is wider than any range."""
    ranks = {value: rank for rank, value in enumerate(sorted({one for one in values if one is not None}), 1)}
    return np.array([0 if one is None else ranks[one] for one in values], dtype=np.int64)


def _bits(conditions: Iterable[tuple[str, ...] | bool | None]) -> NDArray[np.int64]:
    """A bit for each text; every bit, and the first only there, where nothing is asked."""
    places: dict[Hashable, int] = {}
    words = []
    for condition in conditions:
        if condition is None:
            words.append(-1)
            continue
        word = 0
        for text in condition if isinstance(condition, tuple) else (condition,):
            word |= 1 << (1 + places.setdefault(text, len(places)) % _BITS)
        words.append(word)
    return np.array(words, dtype=np.int64)
