"""What nearly every query looks at, by position: stones lie by lab-grown, shape and weight, so that a filter on these is
a few spans, and most of the rest is one test of the signature.

New stones, and those that change cluster, stand behind the clusters (the tail) until the clusters are made anew. Prices
change in place. Clusters are made by a job on copies (`Clustering`) that another thread may run; the owner takes the
result over. Nothing but the owner's thread ever touches the live arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from api.engine.encoding import CARAT_UNITS, Encoded
from api.engine.kernels import places
from api.engine.limits import GREATEST
from api.engine.signature import CLUSTER, CLUSTERS, GONE, clusters_of

Array = NDArray[Any]

_ROOM: Final = 1024
_FIELDS: Final = (
    ("front", np.uint32),
    ("rear", np.uint32),
    ("price", np.int32),
    ("carat", np.int32),
    ("grades", np.uint16),
    ("row_at", np.int32),
)
_TOLD: Final = ("front", "rear", "price_cents", "carat", "grades")
_NOWHERE: Final = -1

HELD: Final = tuple(name for name, _ in _FIELDS)
"""The arrays of which clusters are made."""


class Clusters:
    """The arrays by position.

    Attributes:
        front, rear: halves of the signature.
        price: integer cents, at most 2**31 - 1.
        carat: ten-thousandths of a carat.
        grades: see `Encoded.grades`.
        row_at: row by position; position_of: the other way round.
        end: positions in use.
        ordered_end: those in clusters; the tail is behind.
        starts: where each cluster begins, and the end of the last.
    """

    front: NDArray[np.uint32]
    rear: NDArray[np.uint32]
    price: NDArray[np.int32]
    carat: NDArray[np.int32]
    grades: NDArray[np.uint16]
    row_at: NDArray[np.int32]

    def __init__(self) -> None:
        for name, dtype in _FIELDS:
            setattr(self, name, np.zeros(_ROOM, dtype=dtype))
        self.position_of: NDArray[np.int32] = np.full(_ROOM, _NOWHERE, dtype=np.int32)
        self.end = 0
        self.ordered_end = 0
        self.starts: NDArray[np.int64] = np.zeros(CLUSTERS + 1, dtype=np.int64)
        self._touched: list[NDArray[np.int32]] | None = None

    @classmethod
    def restored(
        cls, held: dict[str, Array], starts: NDArray[np.int64], ordered_end: int, rows: int
    ) -> Clusters:
        """Clusters made of what `held` told of others, with their `starts` and `ordered_end`; rows there are."""
        made = cls()
        made.end, made.ordered_end, made.starts = len(held["front"]), ordered_end, starts
        for name, _ in _FIELDS:
            setattr(made, name, _grown(held[name], _with_room(made.end), 0))
        there = np.flatnonzero((held["front"] & np.uint32(GONE)) == 0)
        made.position_of = np.full(rows, _NOWHERE, dtype=np.int32)
        made.position_of[held["row_at"][there]] = there
        return made

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        own = sum(getattr(self, name).nbytes for name, _ in _FIELDS)
        return int(own + self.position_of.nbytes)

    @property
    def tail(self) -> int:
        """Positions behind the clusters."""
        return self.end - self.ordered_end

    def settle(self, rows: NDArray[np.int32], encoded: Encoded) -> None:
        """Put stones into their places, or what has changed into the places they have."""
        self._settle(rows, [encoded.standing[name] for name in _TOLD])

    def reprice(self, rows: NDArray[np.int32], prices: NDArray[np.int32]) -> None:
        """Let stones that have their places have other prices."""
        places.reprice(rows, prices, self.position_of, self.price)
        if self._touched is not None:
            self._touched.append(rows)

    def leave(self, rows: NDArray[np.int32]) -> None:
        """Take stones from their places."""
        places.leave(rows, self.position_of, self.front, np.uint32(GONE))
        if self._touched is not None:
            self._touched.append(rows)

    def order_of_rows(self) -> float:
        """The share of positions whose row follows the row of the position before."""
        rows = self.row_at[: self.end]
        return float(np.mean(np.diff(rows) == 1)) if len(rows) > 1 else 1.0

    def renumber(self) -> None:
        """Rows have got the numbers of positions."""
        self.row_at[: self.end] = np.arange(self.end, dtype=np.int32)
        self.position_of = np.arange(self.end, dtype=np.int32)

    def held(self) -> dict[str, Array]:
        """The arrays of which clusters are made, as far as they are used."""
        return {name: getattr(self, name)[: self.end] for name in HELD}

    def _settle(self, rows: NDArray[np.int32], fields: Sequence[Array]) -> None:
        self._reserve(len(rows), int(rows.max()) + 1 if len(rows) else 0)
        self.end = places.settle(
            *(rows, *fields, self.position_of, self.front, self.rear, self.price, self.carat, self.grades),
            *(self.row_at, self.ordered_end, self.end, np.uint32(CLUSTER), np.uint32(GONE)),
        )
        if self._touched is not None:
            self._touched.append(rows)

    def _reserve(self, more: int, rows: int) -> None:
        capacity = len(self.front)
        if self.end + more > capacity:
            wanted = max(self.end + more, capacity + capacity // 8)
            for name, _ in _FIELDS:
                setattr(self, name, _grown(getattr(self, name), wanted, 0))
        if rows > len(self.position_of):
            wanted = max(rows, len(self.position_of) * 9 // 8)
            self.position_of = _grown(self.position_of, wanted, _NOWHERE)

    def begin_clustering(self) -> Clustering:
        """A job on copies; its result goes to `end_clustering`."""
        self._touched = []
        held = {name: array.copy() for name, array in self.held().items()}
        return Clustering(held, len(self.position_of))

    def end_clustering(self, made: Clusters) -> Clusters:
        """The new clusters with what has changed since; they take the place of these."""
        touched, self._touched = self._touched or [], None
        if touched:
            rows = np.unique(np.concatenate(touched))
            position = self.position_of[rows]
            there = rows[position >= 0]
            known = rows[rows < len(made.position_of)]
            made.leave(known[self.position_of[known] < 0])
            at = self.position_of[there]
            fields = (self.front, self.rear, self.price, self.carat, self.grades)
            made._settle(there, [field[at] for field in fields])
        return made


class Clustering:
    """Makes clusters of copies, in any thread."""

    def __init__(self, held: dict[str, Array], rows: int) -> None:
        self._held = held
        self._rows = rows

    def run(self) -> Clusters:
        """New clusters of all stones that are not gone."""
        held = self._held
        there = np.flatnonzero((held["front"] & np.uint32(GONE)) == 0)
        clusters = clusters_of(held["rear"][there])
        by_key = np.argsort(clusters << 32 | held["carat"][there], kind="stable")
        taken = there[by_key]
        made = Clusters()
        made.end = made.ordered_end = len(taken)
        for name, dtype in _FIELDS:
            array = np.zeros(_with_room(made.end), dtype=dtype)
            array[: len(taken)] = held[name][taken]
            setattr(made, name, array)
        made.position_of = np.full(self._rows, _NOWHERE, dtype=np.int32)
        made.position_of[made.row_at[: len(taken)]] = np.arange(len(taken), dtype=np.int32)
        made.starts = np.searchsorted(clusters[by_key], np.arange(CLUSTERS + 1))
        return made


def carat_units(bound: float, *, up: bool) -> int:
    """A weight's place in the clusters: never past it."""
    units = int(np.floor(bound * CARAT_UNITS + 1e-6))
    return min(units + 1 if up else units, GREATEST)


def _with_room(positions: int) -> int:
    return positions + max(_ROOM, positions // 50)


def _grown(array: Array, size: int, fill: int) -> Array:
    larger = np.full(size, fill, dtype=array.dtype)
    larger[: len(array)] = array
    return larger
