"""Pauses that grow while a vendor keeps turning us away."""

from __future__ import annotations

import time
from collections.abc import Callable


class GrowingPause:
    """Doubles from `first_s` to `longest_s`. Several refusals of requests sent before a pause count as one.

    Args:
        first_s: seconds of the first pause.
        longest_s: seconds that no pause exceeds.
        now: monotonic seconds; injected by tests.
    """

    def __init__(self, first_s: float, longest_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._now = now
        self._refusals = 0
        self._until = float("-inf")

    def next_s(self) -> float:
        """Seconds to pause from now on."""
        now = self._now()
        if now >= self._until:
            self._until = now + min(self._longest_s, self._first_s * 2.0**self._refusals)
            self._refusals = min(self._refusals + 1, 30)
        return self._until - now

    @property
    def left_s(self) -> float:
        """Seconds left of the running pause, 0 when there is none."""
        return max(0.0, self._until - self._now())

    def over(self) -> None:
        """An answer came: the next pause is a short one, unless one is still running."""
        if self._now() >= self._until:
            self._refusals = 0
