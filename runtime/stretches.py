"""What this process wrote itself, so that its own tail need not read it back.

A stretch is a run of offsets without a gap, each reported as delivered by this process: nobody else wrote between
them. A tail that has come to a stretch leaves the partition while the writing goes on, and comes back at its end once
it stops, or at once where a gap says that somebody else has written too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Final, NamedTuple

QUIET_S: Final = 0.25
"""So long after the last report the partition is read again: somebody else may write there and give no sign."""


class Stretch(NamedTuple):
    """Offsets `begin` to `end - 1` of a partition, and when the last of them was reported (monotonic seconds)."""

    begin: int
    end: int
    at_s: float


class Stretches:
    """The latest stretch of each partition. Written by the producer's thread, read by the tail's.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[int, Stretch] = {}
        self._lock = Lock()

    def wrote(self, partition: int, first: int, end: int) -> None:
        """Offsets `first` to `end - 1` were reported as delivered, all of them ours."""
        with self._lock:
            latest = self._latest.get(partition)
            begin = latest.begin if latest is not None and latest.end == first else first
            self._latest[partition] = Stretch(begin, end, self._clock())

    def ends(self) -> dict[int, int]:
        """Behind the last record that this process wrote, by partition."""
        with self._lock:
            return {partition: stretch.end for partition, stretch in self._latest.items()}

    def forget(self) -> None:
        """From now on everything is read, whoever wrote it."""
        with self._lock:
            self._latest.clear()

    def skips(self, positions: Mapping[int, int]) -> dict[int, int]:
        """Partitions that need not be read now, and the offset until which they are known instead."""
        with self._lock:
            now_s = self._clock()
            return {
                partition: max(positions[partition], stretch.end)
                for partition, stretch in self._latest.items()
                if stretch.begin <= positions.get(partition, -1) and now_s - stretch.at_s < QUIET_S
            }
