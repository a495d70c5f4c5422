"""What is measured of a budget: waits and use of each class, over the recent past."""

from __future__ import annotations

from collections import deque
from typing import Final

from connectors.budget.grant import Priority

USE_SPAN_S: Final = 10.0
WAITS_SPAN_S: Final = 300.0
_MOST_WAITS: Final = 20_000


class Figures:
    """Waits of the last 5 min, use of the last 10 s."""

    def __init__(self) -> None:
        self._waits: dict[Priority, deque[tuple[float, float]]] = {
            priority: deque(maxlen=_MOST_WAITS) for priority in Priority
        }
        self._written: dict[Priority, deque[float]] = {priority: deque() for priority in Priority}

    def wrote(self, priority: Priority, asked_at: float, now: float) -> None:
        """A request went out that had been asked for at `asked_at`."""
        self._waits[priority].append((now, now - asked_at))
        written = self._written[priority]
        written.append(now)
        while written[0] < now - USE_SPAN_S:
            written.popleft()

    def requests(self, priority: Priority, now: float) -> int:
        """Requests written in the last 10 s."""
        # Asked from another thread than writes: nothing is changed here.
        return sum(1 for at in [*self._written[priority]] if at > now - USE_SPAN_S)

    def wait_s(self, priority: Priority, quantile: float, now: float) -> float:
        """A quantile of the waits of the last 5 min, seconds; 0 when there was none."""
        waits = sorted(wait_s for at, wait_s in [*self._waits[priority]] if at > now - WAITS_SPAN_S)
        return waits[min(len(waits) - 1, int(quantile * len(waits)))] if waits else 0.0
