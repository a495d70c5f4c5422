"""What the service asks of a search index, whichever engine stands behind it. No Kafka, no HTTP.

One thread owns an index: it applies batches and searches, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from api.fragments import Fragments
from api.query import After, Query


class Searchable(msgspec.Struct, frozen=True, gc=False):
    """What a search looks at; a subset of `schemas.stone.Stone`, read from its bytes."""

    id: str
    feed: str
    shape: str
    carat: float
    lab_grown: bool
    availability: str
    price_cents: int
    updated_at: datetime
    color: str | None = None
    clarity: str | None = None
    cut: str | None = None
    polish: str | None = None
    symmetry: str | None = None
    fluorescence: str | None = None
    lab: str | None = None
    certificate_number: str | None = None
    lab_grown_type: str | None = None
    fancy_color: str | None = None
    fancy_intensity: str | None = None


decode_searchable = msgspec.json.Decoder(Searchable).decode


@dataclass(slots=True)
class Batch:
    """Changes to apply; each stone occurs at most once.

    Attributes:
        stones: new or changed stones.
        records: the canonical record of each, framed by `api.fragments.frame`, in the same order.
        removed: ids of stones that are gone.
        positions: feed to the time (epoch ms, vendor's clock) until which its changes are in.
    """

    stones: list[Searchable]
    records: list[bytes]
    removed: list[str]
    positions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        rows: where the page's stones are in `Index.fragments`, in order, until the next batch is applied.
        total: how many stones match, exactly, whatever the page.
        last: where the next page begins; None when this is the last one.
    """

    rows: Sequence[int]
    total: int
    last: After | None


class Index(Protocol):
    """A search index over canonical stones."""

    def __len__(self) -> int:
        """Stones held, available or not."""

    def apply(self, batch: Batch) -> None:
        """Take over a batch; the next search sees all of it."""

    def search(self, query: Query) -> Page:
        """One page, and the exact total."""

    def row(self, stone_id: str) -> int | None:
        """Where a stone is in `fragments`, or None if there is none."""

    @property
    def fragments(self) -> Fragments:
        """The canonical record and the item of each row."""

    def save(self, folder: Path) -> None:
        """Write everything but the records into files in an empty folder, for `load`. Raises `OSError`."""

    def load(self, folder: Path, records: Mapping[str, int]) -> None:
        """Take over what was saved, in place of what is held.

        Args:
            folder: where it was saved.
            records: the manifest of `fragments` at that time.

        Raises:
            Invalid: it was saved by another version.
            OSError: a file is missing.
            ValueError: a file is damaged.
        """

    def values(self, name: str) -> Sequence[str]:
        """The values that stones ever had of a listed attribute."""

    @property
    def positions(self) -> Mapping[str, int]:
        """Per feed the last position, epoch ms by the vendor's clock."""


def as_of(positions: Mapping[str, int], feeds: Sequence[str]) -> int | None:
    """The age of the data: over the feeds the oldest position (epoch ms), None while one is missing."""
    known = [positions[feed] for feed in feeds if feed in positions]
    return min(known) if known and len(known) == len(feeds) else None
