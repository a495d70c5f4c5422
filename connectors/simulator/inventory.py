"""The vendor's stock: columns by row, rows in the order the vendor got the stones, and a log of which rows changed.

The same seed and number of stones give the same inventory, byte for byte, after any restart. What happened to it since
(sales, price moves, new stones, holds) lives in memory only and is lost with the process.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from . import vocabulary as words
from .columns import Columns
from .density import NATURAL_SHARE
from .generate import generate
from .hashing import Identifiers

Rows = NDArray[np.int64]

STONES_PER_HUGE_COMMENT: Final = 20_000
_SPARE_ROWS: Final = 4_096
_NEW_STONES_AT_ONCE: Final = 512
_UNSOLD_STATES: Final = words.codes(
    words.AVAILABILITIES,
    ("HOLD", "MEMO", "CONSIGNMENT", "SOLD", "NOT_AVAILABLE", "ON_HOLD", "ON_MEMO", "SOLD_OUT"),
)


class Inventory:
    """All stones of both Nivoda feeds, by row.

    Args:
        stones: over both feeds, about a third natural.
        seed: the same seed gives the same stones.
        bad_share: share of stones planted so broken that nobody can understand them.
        huge_comments: whether one stone in 20 000 carries 2 MB of comment.
        unavailable_share: share of stones that start held, on memo or sold.
    """

    def __init__(
        self,
        stones: int,
        seed: int,
        bad_share: float = 0.003,
        huge_comments: bool = True,
        unavailable_share: float = 0.0,
    ) -> None:
        self.seed = seed
        self.rows = stones
        self.ids = Identifiers(seed)
        self.price_log: list[int] = []
        """Rows whose price was set since the start, new rows among them, in order."""
        self.change_log: list[int] = []
        """Rows changed in any way since the start, in order; its length is the inventory's version."""
        self._rng = np.random.default_rng([seed, stones])
        self._identities = stones
        self._columns = self._stocked(stones)
        self._plant(bad_share, huge_comments)
        self._withdraw(unavailable_share)
        self._unborn: dict[bool, tuple[Columns, int]] = {}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A column, up to the last row; a view, so writes go through."""
        return self._columns[name][: self.rows]

    @property
    def version(self) -> int:
        """Grows with every change."""
        return len(self.change_log)

    def feed_sizes(self) -> dict[str, int]:
        """Stones in the index of each feed, sold ones too."""
        labgrown = int(np.count_nonzero(self["lab"]))
        return {words.NATURAL_FEED: self.rows - labgrown, words.LABGROWN_FEED: labgrown}

    def row_of(self, identifier: str) -> int | None:
        """The row of a bare uuid or of an offer id (`DIAMOND/<uuid>`)."""
        return self.ids.row_of(identifier.removeprefix("DIAMOND/"), self.rows)

    def set_price(self, row: int, price_cents: int, now_ms: int) -> None:
        """Change a price."""
        self._columns["price_cents"][row] = price_cents
        self.price_log.append(row)
        self.touch(row, now_ms)

    def set_availability(self, row: int, availability: int, now_ms: int) -> None:
        """Change an availability."""
        self._columns["availability"][row] = availability
        self.touch(row, now_ms)

    def add_media(self, row: int, bits: int, now_ms: int) -> None:
        """Links that were missing have arrived."""
        self._columns["media"][row] |= bits
        self.touch(row, now_ms)

    def touch(self, row: int, now_ms: int) -> None:
        """Mark a row as updated, for the `updated` filter."""
        self._columns["updated_ms"][row] = now_ms
        self.change_log.append(row)

    def add_stone(self, labgrown: bool, now_ms: int) -> int:
        """List a new stone; returns its row."""
        source, position = self._next_unborn(labgrown)
        if self.rows == len(self._columns["lab"]):
            self._reserve(max(_SPARE_ROWS, self.rows // 8))
        row, self.rows = self.rows, self.rows + 1
        for name, values in source.items():
            self._columns[name][row] = values[position]
        self.price_log.append(row)
        self.touch(row, now_ms)
        return row

    def _stocked(self, stones: int) -> Columns:
        natural = round(stones * NATURAL_SHARE)
        labgrown = np.ones(stones, dtype=np.bool_)
        labgrown[self._rng.permutation(stones)[:natural]] = False
        parts = {False: generate(natural, False, 0, self._rng)}
        parts[True] = generate(stones - natural, True, natural, self._rng)
        columns: Columns = {}
        for name in list(parts[False]):
            column = np.empty(stones, dtype=parts[False][name].dtype)
            column[~labgrown] = parts[False].pop(name)
            column[labgrown] = parts[True].pop(name)
            columns[name] = column
        return columns

    def _plant(self, bad_share: float, huge_comments: bool) -> None:
        """Break some stones. Kinds take turns, so that every kind is there once five stones are bad."""
        order = self._rng.permutation(self.rows)
        bad = order[: round(self.rows * bad_share)]
        kinds = len(words.FAULTS) - 1
        self._columns["fault"][bad] = np.arange(len(bad)) % kinds
        huge = self.rows // STONES_PER_HUGE_COMMENT if huge_comments else 0
        self._columns["fault"][order[len(bad) :][:huge]] = words.FAULTS.index("huge_comment")

    def _withdraw(self, share: float) -> None:
        gone = np.flatnonzero(self._rng.random(self.rows) < share)
        states = self._rng.choice(np.array(_UNSOLD_STATES, dtype=np.uint8), len(gone))
        self._columns["availability"][gone] = states

    def _next_unborn(self, labgrown: bool) -> tuple[Columns, int]:
        source, position = self._unborn.get(labgrown, ({}, _NEW_STONES_AT_ONCE))
        if position == _NEW_STONES_AT_ONCE:
            source = generate(_NEW_STONES_AT_ONCE, labgrown, self._identities, self._rng)
            self._identities += _NEW_STONES_AT_ONCE
            position = 0
        self._unborn[labgrown] = (source, position + 1)
        return source, position

    def _reserve(self, rows: int) -> None:
        for name, column in self._columns.items():
            self._columns[name] = np.concatenate([column, np.zeros(rows, dtype=column.dtype)])
