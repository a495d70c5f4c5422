"""What a rule set gives the stones of one feed, remembered by the values that it looks at.

Few different values of few attributes decide a margin, so that a stone whose content is bytes need not become an object
to be priced. Where a rule set looks at anything else (the price, the weight by its range, the stone itself), it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.stone import Content
from streams.pricing.engine import PriceBook
from streams.records import Terms, terms_texts
from streams.transcription.record import Texts
from streams.transcription.transcriber import Transcriber

_REMEMBERED: Final = 100_000


class TermsOf:
    """One rule set, for one feed.

    Args:
        book: the rule set.
        transcriber: what encodes the feed's items; none for a feed whose items are always objects.

    Attributes:
        book: the rule set.
        fields: the learned fields that decide; those that `Contents.entries` must tell apart.
        given: the terms given so far, by their numbers.
    """

    def __init__(self, book: PriceBook, transcriber: Transcriber | None) -> None:
        self.book = book
        learned = transcriber.learned if transcriber is not None else frozenset()
        constant = transcriber.constant if transcriber is not None else frozenset()
        self._remembers = book.reads <= learned | constant
        self.fields = sorted(book.reads & learned) if self._remembers else []
        self._known: dict[Any, int] = {}
        self._numbers: dict[Terms, int] = {}
        self.given: list[Terms] = []
        self._texts: Texts | None = None

    @property
    def texts(self) -> Texts:
        """What the terms given so far say in a record."""
        # Not made where a number is given: one page may bring many.
        if self._texts is None:
            self._texts = terms_texts(self.given)
        return self._texts

    def known(self, entries: Sequence[bytes], ages: Sequence[int | None] | None) -> list[int | None]:
        """The numbers of the terms that hold for stones by their entries, and their ages where the rule set asks.

        Null where they must be looked for.
        """
        keys: Iterable[Any] = entries if ages is None else zip(entries, ages, strict=True)
        return list(map(self._known.get, keys))

    def of(self, content: Content, age: int | None, entries: bytes | None = None) -> int:
        """The number of the terms that hold for a stone; for those of equal entries too, where the rule set looks at nothing else."""
        terms = self.book.margin(content, age), self.book.rating(content, age)
        number = self._numbers.get(terms)
        if number is None:
            number = self._numbers[terms] = len(self._numbers)
            self.given.append(terms)
            self._texts = None
        if self._remembers and entries is not None and len(self._known) < _REMEMBERED:
            self._known[(entries, age) if self.book.asks_age else entries] = number
        return number

    def prices(self, numbers: Iterable[int], costs_cents: Iterable[int]) -> NDArray[np.int64]:
        """Prices by the numbers of terms, in minor units of the sale currency."""
        prices = [margin.price for margin, _ in self.given]
        return np.array(
            [prices[number](cost) for number, cost in zip(numbers, costs_cents, strict=True)], np.int64
        )
