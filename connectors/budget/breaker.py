"""The circuit breaker: after a run of failures, or a ban, nothing is sent for a while, then one request tries.

Pure but for its clock. Closed: everybody may send. Open: nobody, until a time. Half-open: one request, the probe; its
answer closes the breaker, its failure opens it for longer. Only the probe decides: what was under way when the breaker
opened says nothing about now.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from connectors.budget.pauses import GrowingPause

FAILURES: Final = 10
"""So many in a row, over all classes, open it: by chance they never come, in an outage within half a second."""
_OPEN_S: Final = (1.0, 30.0)
_BAN_S: Final = (5.0, 300.0)


class BreakerState(StrEnum):
    """Whether requests may be sent."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """One vendor account's.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._failure_pause = GrowingPause(*_OPEN_S, now)
        self._ban_pause = GrowingPause(*_BAN_S, now)
        self._failures = 0
        self._open_until: float | None = None
        self._probe: object | None = None
        self.reason = ""

    @property
    def state(self) -> BreakerState:
        """What holds now."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._now() < self._open_until else BreakerState.HALF_OPEN

    @property
    def ready_at(self) -> float:
        """When the next request may be granted: the past, a time, or never before the probe's end."""
        if self._open_until is None:
            return float("-inf")
        return self._open_until if self._probe is None else float("inf")

    @property
    def left_s(self) -> float:
        """Seconds for which it stays open; 0 when it is not."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self._now())

    def granted(self, request: object) -> None:
        """A request was granted; in a half-open breaker it is the probe."""
        if self._open_until is not None:
            self._probe = request

    def withdrawn(self, request: object) -> None:
        """A granted request was not sent."""
        if self._probe is request:
            self._probe = None

    def succeeded(self, request: object) -> bool:
        """It was answered; returns whether this closed the breaker."""
        if self._open_until is None:
            self._failures = 0
            self._failure_pause.over()
            self._ban_pause.over()
            return False
        if self._probe is not request:
            return False
        self._open_until = self._probe = None
        self._failures = 0
        self._failure_pause.over()
        self._ban_pause.over()
        return True

    def failed(self, request: object, reason: str) -> bool:
        """It was not; returns whether this opened the breaker."""
        if self._open_until is None:
            self._failures += 1
            return self._failures >= FAILURES and self._open(self._failure_pause, reason)
        return self._probe is request and self._open(self._failure_pause, reason)

    def banned(self, request: object, reason: str) -> bool:
        """The firewall turned it away; returns whether this opened the breaker (or opened it for longer)."""
        if self._open_until is not None and self._probe is not request:
            return False
        return self._open(self._ban_pause, reason)

    def _open(self, pause: GrowingPause, reason: str) -> bool:
        self._open_until = self._now() + pause.next_s()
        self._probe = None
        self._failures = 0
        self.reason = reason
        return True
