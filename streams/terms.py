"""What a rule set gives the stones of one feed, remembered by the values that it looks at.

Few different values of few attributes decide a margin, so that a stone whose content is bytes need not become an object
to be priced. Where a rule set looks at anything else (the price, the weight by its range, the stone itself), it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemas.stone import Content
from streams.pricing import Margin, PriceBook
from streams.transcription.transcriber import Transcriber

_REMEMBERED: Final = 100_000

Terms = tuple[Margin, int | None]
"""Margin and rating."""


class TermsOf:
    """One rule set, for one feed.

    Args:
        book: the rule set.
        transcriber: what encodes the feed's items; none for a feed whose items are always objects.

    Attributes:
        book: the rule set.
        fields: the learned fields that decide; those that `Contents.entries` must tell apart.
    """

    def __init__(self, book: PriceBook, transcriber: Transcriber | None) -> None:
        self.book = book
        learned = transcriber.learned if transcriber is not None else frozenset()
        constant = transcriber.constant if transcriber is not None else frozenset()
        self._remembers = book.reads <= learned | constant
        self.fields = sorted(book.reads & learned) if self._remembers else []
        self._known: dict[Any, Terms] = {}

    def known(self, entries: Sequence[bytes], ages: Sequence[int | None] | None) -> list[Terms | None]:
        """What holds for stones by their entries, and their ages where the rule set asks; null where it must be looked for."""
        keys: Iterable[Any] = entries if ages is None else zip(entries, ages, strict=True)
        return list(map(self._known.get, keys))

    def of(self, content: Content, age: int | None, entries: bytes | None = None) -> Terms:
        """What holds for a stone; for those of equal entries too, where the rule set looks at nothing else."""
        terms = self.book.margin(content, age), self.book.rating(content, age)
        if self._remembers and entries is not None and len(self._known) < _REMEMBERED:
            self._known[(entries, age) if self.book.asks_age else entries] = terms
        return terms
