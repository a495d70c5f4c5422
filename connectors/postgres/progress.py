"""Where the sink stands, shared by its reader, its writer and its health page."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Final

from runtime.health import Check
from runtime.metrics import counter, gauge

STALLED_AFTER_S: Final = 60.0

ROWS: Final = counter("adamas_sink_rows_total")
REFUSED: Final = counter("adamas_sink_refused_total")
LAG: Final = gauge("adamas_sink_lag_records")


@dataclass(slots=True)
class Partition:
    """An assigned partition.

    Attributes:
        goal: its end offset when it was assigned.
        next_offset: the first offset not yet in Postgres.
        settled: whether rows of former topics were retired.
        end: its end offset as last heard.
    """

    goal: int
    next_offset: int
    settled: bool
    end: int

    @property
    def caught_up(self) -> bool:
        """Whether what lay there at assignment is in Postgres."""
        return self.next_offset >= self.goal


@dataclass(slots=True)
class Progress:
    """The assigned partitions and signs of life. Its methods may be called from any thread."""

    _partitions: dict[int, Partition] = field(default_factory=dict)
    _assigned: bool = False
    _waiting: dict[str, str] = field(default_factory=dict)
    _moved_at: float = field(default_factory=monotonic)
    _lock: Lock = field(default_factory=Lock)

    def assign(self, partitions: dict[int, Partition]) -> None:
        """Take over exactly these partitions."""
        with self._lock:
            self._partitions, self._assigned = partitions, True
            self._moved_at = monotonic()

    def written(self, next_offsets: dict[int, int]) -> None:
        """A transaction brought these partitions to these offsets."""
        with self._lock:
            for slot, offset in next_offsets.items():
                if slot in self._partitions:
                    part = self._partitions[slot]
                    part.next_offset = max(part.next_offset, offset)
            self._moved_at = monotonic()

    def heard_end(self, slot: int, end: int) -> None:
        """The partition's end offset is now this."""
        with self._lock:
            if slot in self._partitions:
                self._partitions[slot].end = end

    def unsettled(self) -> dict[int, int]:
        """Partitions that have caught up and may still have rows of former topics, with their next offset."""
        with self._lock:
            return {
                slot: part.next_offset
                for slot, part in self._partitions.items()
                if part.caught_up and not part.settled
            }

    def settled(self, slot: int) -> None:
        """The rows of former topics are retired."""
        with self._lock:
            if slot in self._partitions:
                self._partitions[slot].settled = True

    def waits(self, who: str, reason: str | None) -> None:
        """A part of the sink waits for something outside, or no longer does (None)."""
        with self._lock:
            if reason is None:
                self._waiting.pop(who, None)
            else:
                self._waiting[who] = reason
            self._moved_at = monotonic()

    def idle(self) -> None:
        """There is nothing to write: a sign of life."""
        self._moved_at = monotonic()

    @property
    def lag(self) -> int:
        """Records of the assigned partitions that are not in Postgres."""
        with self._lock:
            return sum(max(0, part.end - part.next_offset) for part in self._partitions.values())

    @property
    def caught_up(self) -> bool:
        """Whether every assigned partition reached the end it had at assignment."""
        with self._lock:
            return self._assigned and all(part.caught_up for part in self._partitions.values())

    def check_startup(self) -> Check:
        """Started once Kafka has given it its partitions (maybe none, beside another sink)."""
        return Check(self._assigned, "partitions assigned" if self._assigned else "waiting for Kafka")

    def check_ready(self) -> Check:
        """Ready once caught up."""
        positions = {slot: part.next_offset for slot, part in self._partitions.items()}
        return Check(self.caught_up, {"lag_records": self.lag, "positions": positions})

    def check_live(self) -> Check:
        """Alive while it moves, idles, or waits for a stated reason."""
        waiting = dict(self._waiting)
        still_s = monotonic() - self._moved_at
        return Check(bool(waiting) or still_s < STALLED_AFTER_S, waiting or f"last sign {still_s:.0f} s ago")
