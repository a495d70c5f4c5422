"""What a page says: its items normalised and priced, those that fail refused. Pure.

Contents and terms whose values were met before are told from an item's bytes; the others pass two timed stages,
normalise and price. An item that fails a stage, or takes it over a second of processor time (not of the clock: a
process that was paused is not a slow stone), is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from schemas.errors import Invalid
from schemas.feeds import stone_id
from schemas.stone import Content, encode
from streams.dead_letters import Refusal
from streams.lots import Items
from streams.normalise import Normaliser, is_plain
from streams.pricing.engine import PriceBook
from streams.records import content_of
from streams.stages import Stages
from streams.terms import TermsOf
from streams.transcription.transcriber import Contents, nothing_of

Part = Callable[[int], bytes | msgspec.Raw]
"""The bytes of a page's item, by its place."""

Ages = Callable[[Sequence[str]], list[int | None] | None]
"""Ages of stones as the rule set counts them; null where it does not ask."""


class Read(NamedTuple):
    """What a page says.

    Attributes:
        stones: an id for each item, null where not even that can be told.
        items: what each says, without meaning where it was refused.
        refused: why, by place.
        part: the bytes of each, while the page is held.
    """

    stones: list[str | None]
    items: Items
    refused: dict[int, Refusal]
    part: Part


class Reading:
    """Reads the pages of one feed.

    Args:
        feed: its name.
        normaliser: its compiled mapping.
        stages: times what an item passes.

    Attributes:
        mapper: the number of the mapping.
    """

    def __init__(self, feed: str, normaliser: Normaliser, stages: Stages) -> None:
        self.mapper = normaliser.version
        self._feed = feed
        self._normaliser = normaliser
        self._stages = stages
        self._terms: TermsOf | None = None

    def terms(self, book: PriceBook) -> TermsOf:
        """What a rule set gives the stones of this feed; remembered until another one is asked for."""
        if self._terms is None or self._terms.book is not book:
            self._terms = TermsOf(book, self._normaliser.transcriber)
        return self._terms

    def read(self, page: bytes, terms: TermsOf, ages: Ages) -> Read:
        """What the items of a page say.

        Raises:
            Invalid: the page as a whole cannot be read.
        """
        plain, made, part = self._told(page, terms)
        if made is not None:
            numbers = terms.known(made.entries, ages(made.ids))
            left = [place for place, stone in enumerate(made.ids) if not stone]
            items = _refused(self._normaliser.pages.item(part(place)) for place in left)
        else:
            items = _refused(self._normaliser.pages.decode(page))
            made, numbers, left = nothing_of(len(items)), [None] * len(items), [*range(len(items))]
        ids, costs, jsons, entries = made
        contents: dict[int, Content] = {}
        refused: dict[int, Refusal] = {}
        normalise = self._normaliser.content_of_plain if plain else self._normaliser.content
        for place, content in zip(left, self._stages.run("normalise", normalise, items), strict=True):
            numbers[place] = None
            if type(content) is Refusal:
                refused[place] = content
            else:
                contents[place], jsons[place] = content, encode(content)
                ids[place], costs[place] = content.id, content.cost_cents

        def price(place: int) -> int:
            content = contents.get(place) or content_of(jsons[place])
            (age,) = ages([content.id]) or (None,)
            return terms.of(content, age, None if place in contents else entries[place])

        if None in numbers:
            new = [place for place, number in enumerate(numbers) if number is None and place not in refused]
            for place, number in zip(new, self._stages.run("price", price, new), strict=True):
                if type(number) is Refusal:
                    refused[place] = number
                else:
                    numbers[place] = number
        said = Items(ids, costs, jsons, numbers)  # type: ignore[arg-type]
        return Read(self._stones(ids, refused, part), said, refused, part)

    def _told(self, page: bytes, terms: TermsOf) -> tuple[bool, Contents | None, Part]:
        """Whether a page is plain, what its items' bytes tell without decoding them, if anything, and where each is."""
        transcriber, pages = self._normaliser.transcriber, self._normaliser.pages
        read = transcriber.transcribe_list(page, terms.fields) if transcriber is not None else None
        if read is not None and pages.holds_nothing(read[1].around):
            return True, read[0], read[1].item
        split = cache(pages.split)

        def part(place: int) -> msgspec.Raw:
            return split(page)[place]

        plain = is_plain(page)
        if plain and transcriber is not None:
            return plain, transcriber.transcribe(split(page), terms.fields), part
        return plain, None, part

    def _stones(self, ids: Sequence[str], refused: Mapping[int, Refusal], part: Part) -> list[str | None]:
        stones: list[str | None] = [*ids]
        for place in refused:
            named = self._normaliser.pages.stone(part(place))
            stones[place] = stone_id(self._feed, named) if named and named.strip() else None
        return stones


def _refused(items: Iterable[Any]) -> list[Any]:
    return [Refusal("decode", item) if isinstance(item, Invalid) else item for item in items]
