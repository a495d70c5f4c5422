"""Attributes as numbers that sort the way people expect: grades in grade order, text by alphabet, unknown last."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.fields import FIELDS
from api.query import SortKey, Value
from schemas.columns import NULL_INT, Codes, Columns

_LAST_INT: Final = np.iinfo(np.int64).max
_LAST_FLOAT: Final = np.inf

Ranks = NDArray[Any]


class TextOrder:
    """The order of a dictionary's texts. Ranks are even, so that a text which no stone has fits between two.

    Args:
        name: the attribute, whose known grades come first in their own order.
        codes: the dictionary as it stands.
    """

    def __init__(self, name: str, codes: Codes) -> None:
        field = FIELDS[name]
        self._grades = field.values if field.graded else ()
        texts = {text for text in codes.texts if text is not None}
        self._others = sorted(texts.difference(self._grades))
        # A feed's name is followed by a colon in its stones' ids, and ids are what ties are broken by.
        if name == "feed":
            self._others.sort(key=lambda text: f"{text}:")
        places = {text: 2 * place for place, text in enumerate((*self._grades, *self._others))}
        self.by_code = np.array(
            [_LAST_INT if text is None else places[text] for text in codes.texts], dtype=np.int64
        )
        self._places = places

    def rank(self, text: str) -> int:
        """The rank of any text."""
        known = self._places.get(text)
        if known is not None:
            return known
        return 2 * (len(self._grades) + bisect_left(self._others, text)) - 1


class Ranker:
    """Ranks of rows and of single values, for the columns of one index."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._orders: dict[str, tuple[int, TextOrder]] = {}

    def of_rows(self, key: SortKey, rows: NDArray[np.intp]) -> Ranks:
        """One number a row; ascending numbers are the key's order."""
        stored = self._columns[key.name][rows]
        if key.name in self._columns.codes:
            ranks = self._order(key.name).by_code[stored]
            unknown = ranks == _LAST_INT
        elif stored.dtype.kind == "f":
            ranks, unknown = stored, np.isnan(stored)
        else:
            ranks, unknown = stored, stored == NULL_INT
        return _directed(ranks, unknown, key.descending)

    def of_value(self, key: SortKey, value: Value) -> int | float:
        """The same number for a value, whether a stone has it or not."""
        if value is None:
            return _LAST_FLOAT if self._columns[key.name].dtype.kind == "f" else _LAST_INT
        rank = self._order(key.name).rank(value) if isinstance(value, str) else value
        return -rank if key.descending else rank

    def _order(self, name: str) -> TextOrder:
        codes = self._columns.codes[name]
        size, order = self._orders.get(name, (0, None))
        if order is None or size != len(codes):
            order = TextOrder(name, codes)
            self._orders[name] = (len(codes), order)
        return order


def _directed(ranks: Ranks, unknown: NDArray[np.bool_], descending: bool) -> Ranks:
    if descending:
        ranks = -ranks
    if unknown.any():
        ranks = np.where(unknown, _LAST_FLOAT if ranks.dtype.kind == "f" else _LAST_INT, ranks)
    return ranks
