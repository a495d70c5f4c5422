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

from api.engine.kernels import texts as text_kernels
from api.values import spans_of
from connectors.records.scan import text_at

CHARACTERS: Final = 12
_ALPHABET: Final = f"{digits}{ascii_uppercase}-/"
_BASE: Final = len(_ALPHABET) + 2
_OTHER: Final = _BASE - 1
_SYMBOLS: Final = np.full(128, _OTHER, dtype=np.uint64)
_SYMBOLS[0] = 0
_SYMBOLS[[ord(character) for character in _ALPHABET]] = np.arange(1, _BASE - 1, dtype=np.uint64)
assert _BASE**CHARACTERS < 2**64

NO_TEXT: Final = 0


def pack(texts: Sequence[str | None]) -> tuple[NDArray[np.uint64], dict[int, str]]:
    """The numbers of texts, `NO_TEXT` for null; and by place the texts that are odd."""
    return pack_spans(*spans_of(texts))


def pack_spans(
    data: NDArray[np.uint8], spans: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], dict[int, str]]:
    """The same of texts as they lie in records."""
    packed, odd = np.empty(len(spans), np.uint64), np.empty(len(spans), np.bool_)
    text_kernels.pack(data, spans, _SYMBOLS, np.uint64(_OTHER), np.uint64(_BASE), CHARACTERS, packed, odd)
    texts = {place: text_at(data, int(spans[place])) or "" for place in np.flatnonzero(odd).tolist()}
    for place, text in texts.items():
        packed[place] = _number_of(text)
    return packed, texts


def _number_of(text: str) -> int:
    """The number of the first characters, each of any alphabet."""
    number = 0
    for place in range(CHARACTERS):
        code = ord(text[place]) if place < len(text) else 0
        number = number * _BASE + (int(_SYMBOLS[code]) if code < 128 else _OTHER)
    return number


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
