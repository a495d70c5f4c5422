"""Certificate and stock numbers in eight bytes each: twelve characters of an alphabet of 39.

A beginning is a range of such numbers, and equal texts are equal numbers. A text that is longer or has other
characters is odd: its number is that of what can be told, and the text itself is kept in a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_uppercase, digits
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CHARACTERS: Final = 12
_ALPHABET: Final = f"{digits}{ascii_uppercase}-/"
_BASE: Final = len(_ALPHABET) + 2
_OTHER: Final = _BASE - 1
_SYMBOLS: Final = np.full(128, _OTHER, dtype=np.uint64)
_SYMBOLS[0] = 0
_SYMBOLS[[ord(character) for character in _ALPHABET]] = np.arange(1, _BASE - 1, dtype=np.uint64)
_POWERS: Final = np.array([_BASE**place for place in reversed(range(CHARACTERS))], dtype=np.uint64)
assert _BASE**CHARACTERS < 2**64

NO_TEXT: Final = 0


def pack(texts: Sequence[str | None]) -> tuple[NDArray[np.uint64], dict[int, str]]:
    """The numbers of texts, `NO_TEXT` for null; and by place the texts that are odd."""
    if not texts:
        return np.zeros(0, dtype=np.uint64), {}
    known = [text or "" for text in texts]
    characters = np.array(known, dtype=f"U{CHARACTERS}").view(np.uint32).reshape(-1, CHARACTERS)
    symbols = _SYMBOLS[np.minimum(characters, 127)]
    symbols[characters > 127] = _OTHER
    packed = (symbols * _POWERS).sum(axis=1, dtype=np.uint64)
    suspect = (symbols == _OTHER).any(axis=1)
    lengths = np.fromiter(map(len, known), dtype=np.int64, count=len(known))
    suspect |= (lengths > CHARACTERS) | (lengths != (symbols > 0).sum(axis=1))
    odd = {place: known[place] for place in np.flatnonzero(suspect).tolist()}
    odd |= {place: "" for place, text in enumerate(texts) if text == ""}
    return packed, odd


def span_of(beginning: str) -> tuple[int, int] | None:
    """Least and greatest number of the texts that begin so and are not odd; None if there can be none."""
    if len(beginning) > CHARACTERS or not all(character in _ALPHABET for character in beginning):
        return None
    packed, _ = pack([beginning])
    low = int(packed[0])
    return max(low, 1), low + _BASE ** (CHARACTERS - len(beginning)) - 1


def number_of(text: str) -> int | None:
    """The number of a text that is not odd."""
    packed, odd = pack([text])
    return None if odd else int(packed[0])


class OddTexts:
    """The odd texts of one column, by row."""

    def __init__(self) -> None:
        self.by_row: dict[int, str] = {}

    def put(self, rows: Sequence[int], odd: dict[int, str]) -> None:
        """Take over the texts of rows that were written; `odd` is by place in `rows`."""
        if self.by_row:
            for row in rows:
                self.by_row.pop(row, None)
        for place, text in odd.items():
            self.by_row[rows[place]] = text

    def equal(self, wanted: Iterable[str]) -> list[int]:
        """Rows with one of these texts."""
        texts = frozenset(wanted)
        return [row for row, text in self.by_row.items() if text in texts]

    def beginning(self, beginnings: tuple[str, ...]) -> list[int]:
        """Rows with a text that begins so."""
        return [row for row, text in self.by_row.items() if text.startswith(beginnings)]

    def rows(self) -> NDArray[Any]:
        """The rows that have one."""
        return np.fromiter(self.by_row, dtype=np.int64, count=len(self.by_row))
