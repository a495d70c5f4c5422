"""What a batch of facts gave, waiting to be produced, and the overlay by which later facts of the batch are weighed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from runtime.tracing import HEADER
from schemas.headers import Headers
from schemas.receipt import Outcome
from streams.lots import Brought
from streams.terms import TermsOf
from streams.versions import Sheet, Version, sheet_of


class Letter(NamedTuple):
    """A record for any topic but the canonical one."""

    slot: int
    key: bytes
    value: bytes
    headers: Headers | None = None


Tell = Callable[[list[Outcome]], None]


@dataclass(slots=True)
class Outbox:
    """The records of one batch, in the order in which they must reach each partition.

    Attributes:
        stones: versions, in sheets with their slot; a version without a body is a null.
        overlay: the sheet with the last version of each stone in `stones`.
        positions: canonical positions; sent only after everything else was delivered.
        fed: how many of `stones` have been produced already.
        outcomes: by feed and outcome, for the metrics.
        last: the feed of the record that was taken last and which of its items were refused, where it had any; whoever
            wants it clears it.
        lots: what was taken and is not decided on yet, by the terms it is under, with who is told the outcomes.
        waiting: the stones in `lots`, which are all different.
        settler: decides on them.
        traces: the `traceparent` that a stone's record carries on, by stone; only sampled ones.
    """

    stones: list[tuple[int, Sheet]] = field(default_factory=list)
    overlay: dict[str, Sheet] = field(default_factory=dict)
    dead: list[Letter] = field(default_factory=list)
    receipts: list[Letter] = field(default_factory=list)
    positions: list[Letter] = field(default_factory=list)
    fed: int = 0
    outcomes: dict[tuple[str, Outcome], int] = field(default_factory=dict)
    last: tuple[str, list[bool]] | None = None
    lots: dict[TermsOf, list[tuple[Brought, Tell]]] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)
    settler: Callable[[Outbox], None] | None = None
    traces: dict[str, bytes] = field(default_factory=dict)

    def add(self, slot: int, sheet: Sheet) -> None:
        """Write versions of different stones."""
        self.stones.append((slot, sheet))
        self.overlay.update(dict.fromkeys(sheet.ids, sheet))

    def add_one(self, slot: int, version: Version) -> None:
        """Write a version of a stone."""
        self.add(slot, sheet_of([version]))

    def settle(self) -> None:
        """Decide on what waits: only then are `stones`, `receipts` and `outcomes` those of all that was taken."""
        if self.lots and self.settler is not None:
            self.settler(self)

    def held(self, stone: str) -> Version | None:
        """The last version that is waiting here of a stone."""
        sheet = self.overlay.get(stone)
        return None if sheet is None else sheet.version(sheet.ids.index(stone))

    def versions(self) -> Iterator[tuple[int, Version]]:
        """All versions with their slots, whole, in order."""
        return ((slot, version) for slot, sheet in self.stones for version in sheet.versions())

    @property
    def unfed(self) -> int:
        """How many versions have not been produced yet, at most."""
        return len(self.waiting) + sum(len(sheet.ids) for _, sheet in self.stones[self.fed :])

    def carry(self, told: bytes, sheets: int, letters: int) -> None:
        """Let what was added after so many sheets and dead letters carry this `traceparent`."""
        self.traces.update((stone, told) for _, sheet in self.stones[sheets:] for stone in sheet.ids)
        self.dead[letters:] = [
            letter._replace(headers=[*(letter.headers or ()), (HEADER, told)])
            for letter in self.dead[letters:]
        ]

    def let_go(self, delivered: int) -> None:
        """Drop the first sheets: they were delivered, and the memory knows them now."""
        overlay = self.overlay
        for _, sheet in self.stones[:delivered]:
            for stone in sheet.ids:
                if overlay.get(stone) is sheet:
                    del overlay[stone]
        del self.stones[:delivered]
        self.fed -= delivered

    def count(self, feed: str, outcomes: list[Outcome]) -> None:
        """Count the outcomes of a page."""
        for outcome in set(outcomes):
            key = (feed, outcome)
            self.outcomes[key] = self.outcomes.get(key, 0) + outcomes.count(outcome)
