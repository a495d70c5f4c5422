"""The vendor's clock. It can be wrong by an offset, run at another rate, or stand still."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Wall time for the vendor's answers, and elapsed time for what happens by itself.

    Args:
        wall_s: epoch seconds of the machine; injected by tests.
    """

    def __init__(self, wall_s: Callable[[], float] = time.time) -> None:
        self._wall_s = wall_s
        self._mark_s = wall_s()
        self._elapsed_at_mark_s = 0.0
        self._started_s = self._mark_s
        self.rate = 1.0
        self.offset_s = 0.0
        self.frozen = False

    def elapsed_s(self) -> float:
        """Seconds lived since the start, at the set rate; an offset does not change it."""
        running = 0.0 if self.frozen else (self._wall_s() - self._mark_s) * self.rate
        return self._elapsed_at_mark_s + max(0.0, running)

    def now_s(self) -> float:
        """Epoch seconds as the vendor sees them."""
        return self._started_s + self.elapsed_s() + self.offset_s

    def now_ms(self) -> int:
        """Epoch milliseconds as the vendor sees them."""
        return int(self.now_s() * 1000)

    def adjust(
        self, offset_s: float | None = None, rate: float | None = None, freeze: bool | None = None
    ) -> None:
        """Change what is given; the rest stays. A new rate counts from now on."""
        self._elapsed_at_mark_s = self.elapsed_s()
        self._mark_s = self._wall_s()
        self.offset_s = self.offset_s if offset_s is None else offset_s
        self.rate = self.rate if rate is None else rate
        self.frozen = self.frozen if freeze is None else freeze
