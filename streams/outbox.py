"""What a batch of facts gave, waiting to be produced, and the overlay by which later facts of the batch are weighed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from runtime.tracing import HEADER
from schemas.headers import Headers
from schemas.receipt import Outcome
from streams.memory import Version


class Letter(NamedTuple):
    """A record for any topic but the canonical one."""

    slot: int
    key: bytes
    value: bytes
    headers: Headers | None = None


@dataclass(slots=True)
class Outbox:
    """The records of one batch, in the order in which they must reach each partition.

    Attributes:
        stones: versions with their slot; a version without a body is a null.
        overlay: the last version of each stone in `stones`.
        positions: canonical positions; sent only after everything else was delivered.
        fed: how many of `stones` have been produced already.
        outcomes: by feed and outcome, for the metrics.
        last: feed and outcomes of the record that was taken last, where it had items; whoever wants it clears it.
        traces: the `traceparent` that a stone's record carries on, by stone; only sampled ones.
    """

    stones: list[tuple[int, Version]] = field(default_factory=list)
    overlay: dict[str, Version] = field(default_factory=dict)
    dead: list[Letter] = field(default_factory=list)
    receipts: list[Letter] = field(default_factory=list)
    positions: list[Letter] = field(default_factory=list)
    fed: int = 0
    outcomes: dict[tuple[str, Outcome], int] = field(default_factory=dict)
    last: tuple[str, list[Outcome]] | None = None
    traces: dict[str, bytes] = field(default_factory=dict)

    def add(self, slot: int, version: Version) -> None:
        """Write a version of a stone."""
        self.stones.append((slot, version))
        self.overlay[version.id] = version

    def carry(self, told: bytes, stones: int, letters: int) -> None:
        """Let what was added after so many stones and dead letters carry this `traceparent`."""
        self.traces.update((version.id, told) for _, version in self.stones[stones:])
        self.dead[letters:] = [
            letter._replace(headers=[*(letter.headers or ()), (HEADER, told)])
            for letter in self.dead[letters:]
        ]

    def let_go(self, delivered: int) -> None:
        """Drop the first stones: they were delivered, and the memory knows them now."""
        for _, version in self.stones[:delivered]:
            if self.overlay.get(version.id) is version:
                del self.overlay[version.id]
        del self.stones[:delivered]
        self.fed -= delivered

    def count(self, feed: str, outcomes: list[Outcome]) -> None:
        """Count the outcomes of a page."""
        self.last = (feed, outcomes)
        for outcome in set(outcomes):
            key = (feed, outcome)
            self.outcomes[key] = self.outcomes.get(key, 0) + outcomes.count(outcome)
