"""The feed registry: which feeds exist and which Kafka partition (slot) each one owns.

A partition is a feed: every fact about a stone passes through one process in one order. The slot is therefore
part of the data on disk and never changes once a feed has written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SLOTS: Final = 8
"""Partitions of `diamonds.raw` and `diamonds.canonical`; the greatest number of feeds."""


@dataclass(frozen=True, slots=True)
class FeedInfo:
    """A feed as the registry knows it.

    Attributes:
        name: the feed's name, first part of every stone's id.
        slot: its Kafka partition, 0 to 7.
        lab_grown: what the feed was asked for; trusted over the item's own claim. None where a feed brings both.
    """

    name: str
    slot: int
    lab_grown: bool | None


NIVODA_NATURAL: Final = "nivoda-natural"
NIVODA_LABGROWN: Final = "nivoda-labgrown"
DEMO: Final = "demo"

# Far apart: when a worker joins, Faust takes the lowest partitions from another, so neighbours would move together.
FEEDS: Final[dict[str, FeedInfo]] = {
    feed.name: feed
    for feed in (
        FeedInfo(NIVODA_NATURAL, slot=0, lab_grown=False),
        FeedInfo(NIVODA_LABGROWN, slot=4, lab_grown=True),
        FeedInfo(DEMO, slot=2, lab_grown=None),
    )
}

STANDARD: Final = (NIVODA_NATURAL, NIVODA_LABGROWN)
"""The feeds that an installation reads unless it names others."""


def stone_id(feed: str, vendor_id: str) -> str:
    """Our id of a stone: `feed:vendor's stone id`."""
    return f"{feed}:{vendor_id}"


def slot_of(stone: str) -> int:
    """The partition of a stone's facts.

    Raises:
        KeyError: no such feed.
    """
    return FEEDS[stone.partition(":")[0]].slot


def feeds_of(slot: int) -> list[str]:
    """The feeds that own a partition; none for a slot nobody has."""
    return [feed.name for feed in FEEDS.values() if feed.slot == slot]
