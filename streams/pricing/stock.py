"""The whole stock as columns, for whoever must look at all of it at once: the attributes that were asked for, no more.

It takes in the canonical topic (`streams.pricing.shelves`) and hands out consistent copies (`streams.pricing.shelf`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from connectors.log.kernels import NULL
from connectors.log.records import Newest, Records, of
from schemas.columns import Columns
from streams.fields import Fields
from streams.pricing.engine import buckets
from streams.pricing.shelf import BUCKET, PRESENT, REPORTED, Shelf

log = structlog.stdlib.get_logger(__name__)

_COLON: Final = ord(":")


class Stock:
    """Columns of stones by id. Without Kafka in it.

    Args:
        attributes: fields of `Stone` to keep, beside what every preview needs.
    """

    def __init__(self, attributes: Collection[str] = ()) -> None:
        self.attributes = frozenset((*attributes, *PRESENT, *REPORTED)) - {"id"}
        self._columns = Columns(sorted(self.attributes), extra=(BUCKET,))
        self._fields = Fields(self._columns)
        self._ids: list[str] = []
        self._lock = Lock()
        self._newest: Newest | None = Newest()

    def __len__(self) -> int:
        return len(self._columns)

    def apply(self, records: Records, reached: Mapping[int, int]) -> None:
        """Take in records of the canonical topic as a `LogTail` brings them; the last one of a stone that can be read wins.

        Args:
            records: each call's older than those of the calls before, until `reached` says something; newer from then on.
            reached: how far the topic was read.
        """
        newest = self._newest or Newest()
        if reached:
            self._newest = None
        places = np.flatnonzero(newest.of(records))
        while len(places):
            places = newest.before(records, self._take(records, places))

    def _take(self, records: Records, places: NDArray[np.intp]) -> list[int]:
        """Take in a record a stone; the places of those that cannot be read."""
        places = places[~records.key_ends_with(_COLON)[places]]
        null = records.values[0, places] == NULL
        gone, places = places[null], places[~null]
        spans, keys = (found.take(places, axis=1) for found in (records.values, records.keys))
        with self._lock:
            columns = self._columns
            read = self._fields.put(records.data, spans, keys)
            columns.arrays[BUCKET][read.rows] = buckets(read.ids)
            self._ids.extend([""] * (columns.used - len(self._ids)))
            for row, stone_id in zip(read.rows.tolist(), read.ids, strict=True):
                self._ids[row] = stone_id
            for place in gone.tolist():
                columns.remove(records.key(place).decode(errors="replace"))
        failed: list[int] = places[[*read.failures]].tolist()
        for place, error in zip(failed, read.failures.values(), strict=True):
            log.warning("stock.record_unreadable", stone=str(records.key(place)), error=str(error))
        return failed

    def shelf(self, attributes: Collection[str] | None = None) -> Shelf:
        """A copy of these columns as they are now; of all without naming any.

        Raises:
            KeyError: an attribute is not kept.
        """
        with self._lock:
            columns = self._columns
            live = np.flatnonzero(columns.live[: columns.used])
            whole = len(live) == columns.used

            def copy(name: str) -> Any:
                return columns[name].copy() if whole else columns[name][live]

            names = self.attributes if attributes is None else attributes
            return Shelf(
                ids=self._ids[: columns.used] if whole else [self._ids[row] for row in live.tolist()],
                arrays={name: copy(name) for name in names},
                texts={name: tuple(columns.codes[name].texts) for name in names if name in columns.codes},
                buckets=copy(BUCKET),
            )


def compile_kernels() -> None:
    """Have compiled what reads a stock: seconds where the user's cache has none of it, in which a reader would not move."""
    Stock().apply(of([(b"", None)]), {})
