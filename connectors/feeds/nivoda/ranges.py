"""Whether a range of whole dollars takes the whole of its last dollar: is a stone of 199.50 a carat in [100, 199]?

Nobody says. Were it not, everything between two neighbouring partitions would be read by neither: thousands of stones at
each cut where prices are crowded. So some stones are looked for in the one dollar they lie in, whatever the counts say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from connectors.feeds.nivoda.session import Reply

Ask = Callable[[str, dict[str, Any]], Awaitable[Reply]]
"""Sends a document with its variables under a grant of its own."""

SAMPLES: Final = 3
# The heaviest first: hardly another one has its weight and its price, so that no page is too short to show it.
_HEAVIEST: Final = """query Sample($query: DiamondQuery!) {
  diamonds_by_query(query: $query, offset: 0, limit: 50, order: {type: size, direction: DESC}) {
    items { price diamond { id certificate { carats } } } } }"""


class _Certificate(msgspec.Struct):
    carats: float | None = None


class _Diamond(msgspec.Struct):
    id: str | None = None
    certificate: _Certificate | None = None


class _Item(msgspec.Struct):
    price: int | None = None
    diamond: _Diamond | None = None

    @property
    def place(self) -> tuple[str, int, float] | None:
        """Id, whole dollars a carat and carats; none of a stone at a whole dollar, which says nothing."""
        diamond = self.diamond
        carats = diamond.certificate.carats if diamond and diamond.certificate else None
        if not (diamond and diamond.id and carats and self.price):
            return None
        hundredths = round(100 * carats)
        return None if self.price % hundredths == 0 else (diamond.id, self.price // hundredths, carats)


class _List(msgspec.Struct):
    items: list[_Item | None] | None = None


class _Sample(msgspec.Struct):
    diamonds_by_query: _List | None = None


async def take_whole_dollars(ask: Ask, base: dict[str, Any]) -> bool:
    """Whether stones are found in the range that is their own dollar; false where that cannot be told.

    Args:
        ask: sends, to a vendor that counts in dollars.
        base: the filter of the feed.

    Raises:
        Retriable: no answer.
    """
    places = [item.place for item in await _listed(ask, base) if item is not None]
    for stone, dollars, carats in [place for place in places if place is not None][:SAMPLES]:
        own = {"from": dollars, "to": dollars}
        query = base | {"dollar_per_carat": own, "sizes": [{"from": carats, "to": carats}]}
        found = await _listed(ask, query)
        if any(item is not None and item.diamond and item.diamond.id == stone for item in found):
            return True
    return False


async def _listed(ask: Ask, query: dict[str, Any]) -> list[_Item | None]:
    reply = await ask(_HEAVIEST, {"query": query})
    listed = msgspec.json.decode(reply.data, type=_Sample).diamonds_by_query
    return (listed and listed.items) or []
