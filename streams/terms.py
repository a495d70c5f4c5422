"""What a rule set gives the stones of one feed, remembered by the values that it looks at.

Few different values of few attributes decide a margin, so that a stone whose content is bytes need not become an object
to be priced. Where a rule set looks at anything else (the price, the weight by its range, the stone itself), it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
        self._known: dict[bytes, Terms] = {}

    def known(self, entries: Sequence[bytes]) -> list[Terms | None]:
        """What holds for stones by their entries; null where it must be looked for."""
        return list(map(self._known.get, entries))

    def of(self, content: Content, entries: bytes | None = None) -> Terms:
        """What holds for a stone; for those of equal entries too, where the rule set looks at nothing else."""
        terms = self.book.margin(content), self.book.rating(content)
        if self._remembers and entries is not None and len(self._known) < _REMEMBERED:
            self._known[entries] = terms
        return terms
