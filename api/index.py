"""What the service asks of a search index, whichever engine stands behind it. No Kafka, no HTTP.

One thread owns an index: it applies batches and searches, one after the other. Only `prepare` may run in another
thread (one at a time), so that reading and encoding a batch costs the owner nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from api.fragments import NOTHING, Fragments, Framed, Spans
from api.query import After, Number, Query
from api.values import NO_STONES, Data, Values

_REMOVED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Priced:
    """New versions of stones that are held, whose contents are what is held.

    Attributes:
        rows: of the stones in `Index.fragments`.
        stones: what a search looks at of them, as far as it is no content (`api.values.PRICED`).
        records: the canonical record of each, in the same order.
    """

    rows: NDArray[np.int64]
    stones: Values
    records: Framed

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, begin: int, end: int) -> Priced:
        """Some of them."""
        cut = slice(begin, end)
        return Priced(self.rows[cut], self.stones.part(cut), self.records.part(begin, end))


@dataclass(slots=True)
class Batch:
    """Changes to apply; each stone occurs at most once.

    Attributes:
        stones: new or changed stones, as what a search looks at of them.
        records: the canonical record of each, in the same order.
        removed: ids of stones that are gone.
        positions: feed to the time (epoch ms, vendor's clock) until which its changes are in.
        priced: stones of which only the price is new; they are as `Index.find` and `fragments` say, of which nothing was
            changed since they were asked.
    """

    stones: Values
    records: Framed
    removed: list[str]
    positions: dict[str, int]
    priced: Priced | None = None


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is told of a numeric attribute over some stones. Stones that lack it do not count.

    Attributes:
        count: stones that have it.
        low: least value, None without stones.
        high: greatest value.
        mean: mean value.
        edges: where the histogram's buckets begin; the first bucket holds what is below the first edge.
        buckets: stones in each bucket, one more than edges.
    """

    count: int
    low: Number | None
    high: Number | None
    mean: float | None
    edges: tuple[Number, ...]
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """The answer to `Facets`.

    Attributes:
        counts: attribute to value (None: unknown) to the number of stones; values without stones are left out.
        numbers: attribute to what is told of it.
    """

    counts: Mapping[str, Mapping[str | bool | None, int]] = field(default_factory=dict)
    numbers: Mapping[str, Numbers] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """An answer.

    Attributes:
        rows: where the page's stones are in `Index.fragments`, in order, until the next batch is applied.
        total: how many stones match, exactly, whatever the page.
        last: where the next page begins; None when this is the last one.
        counted: the facets, if they were asked for.
    """

    rows: Sequence[int]
    total: int
    last: After | None
    counted: Counted | None = None


class Index(Protocol):
    """A search index over canonical stones."""

    def __len__(self) -> int:
        """Stones held, available or not."""

    def prepare(self, batch: Batch, at_once: int) -> list[Callable[[], None]]:
        """Encode a batch, in any thread (one at a time); call the results in the owner's thread, in order.

        Each takes over one of its `parts`.
        """

    def apply(self, batch: Batch) -> None:
        """Take over a batch: `prepare` and call the result. The next search sees all of it."""

    def settle(self) -> None:
        """Arrange what was loaded for the searches to come; may take a second. Once, before the first search."""

    def search(self, query: Query) -> Page:
        """One page, the exact total, and facets."""

    def row(self, stone_id: str) -> int | None:
        """Where a stone is in `fragments`, or None if there is none."""

    def find(self, data: Data, ids: Spans) -> NDArray[np.int64]:
        """Where stones are in `fragments`, -1 for those that are not held; in the thread that prepares.

        Args:
            data: where the ids lie.
            ids: shape (2, ids): where each begins and ends.
        """

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


def parts(batch: Batch, at_once: int) -> list[Batch]:
    """A batch cut up, at most so many stones each."""
    cut = []
    for begin in range(0, len(batch.stones), at_once):
        end = min(begin + at_once, len(batch.stones))
        cut.append(Batch(batch.stones.part(slice(begin, end)), batch.records.part(begin, end), [], {}))
    for begin in range(0, len(batch.priced or ()), at_once):
        assert batch.priced is not None
        priced = batch.priced.part(begin, min(begin + at_once, len(batch.priced)))
        cut.append(Batch(NO_STONES, NOTHING, [], {}, priced))
    cut += [
        Batch(NO_STONES, NOTHING, batch.removed[begin : begin + _REMOVED_AT_ONCE], {})
        for begin in range(0, len(batch.removed), _REMOVED_AT_ONCE)
    ]
    if batch.positions:
        # Positions last: they promise that everything before them is in.
        cut.append(Batch(NO_STONES, NOTHING, [], batch.positions))
    return cut


def as_of(positions: Mapping[str, int], feeds: Sequence[str]) -> int | None:
    """The age of the data: over the feeds the oldest position (epoch ms), None while one is missing."""
    known = [positions[feed] for feed in feeds if feed in positions]
    return min(known) if known and len(known) == len(feeds) else None
