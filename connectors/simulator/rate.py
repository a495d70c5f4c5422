"""Counting what a credential sends: an exact sliding second, and a log of every request over the limit."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 1.0
_KEPT_VIOLATIONS: Final = 10_000
_KEPT_S: Final = 60.0
"""How late an arrival may be reported: renders hold the loop for milliseconds, a stopped machine for longer."""


@dataclass(frozen=True)
class Violation:
    """A request that made some sliding second too full."""

    at_s: float
    credential: str
    in_that_second: int


@dataclass
class RateWitness:
    """The arrivals of each credential. A window is half-open: two requests exactly a second apart do not share one.

    Arrivals may be reported out of order (each carries the time at which it reached the machine).
    """

    limit: int
    requests: int = 0
    violation_count: int = 0
    most_in_a_second: int = 0
    violations: list[Violation] = field(default_factory=list)
    _arrivals: dict[str, list[float]] = field(default_factory=dict)

    def arrived(self, credential: str, at_s: float) -> bool:
        """Count a request; returns whether some second that holds it is now over the limit."""
        arrivals = self._arrivals.setdefault(credential, [])
        insort(arrivals, at_s)
        self.requests += 1
        fullest = _fullest_second(arrivals, at_s)
        self.most_in_a_second = max(self.most_in_a_second, fullest)
        if len(arrivals) > 4096:
            del arrivals[: bisect_left(arrivals, arrivals[-1] - _KEPT_S)]
        if fullest <= self.limit:
            return False
        self.violation_count += 1
        if len(self.violations) < _KEPT_VIOLATIONS:
            self.violations.append(Violation(at_s, credential, fullest))
        return True

    def reset(self) -> None:
        """Forget everything but the last second, which a client may still be filling."""
        for arrivals in self._arrivals.values():
            del arrivals[: bisect_left(arrivals, arrivals[-1] - WINDOW_S) if arrivals else 0]
        self.requests = self.violation_count = self.most_in_a_second = 0
        self.violations.clear()


def _fullest_second(arrivals: list[float], at_s: float) -> int:
    """Most arrivals in any [t, t + 1 s) that holds `at_s`; every such maximum starts at an arrival."""
    first = bisect_left(arrivals, at_s - WINDOW_S)
    fullest = 0
    for start in range(first, len(arrivals)):
        if arrivals[start] > at_s:
            break
        if at_s - arrivals[start] < WINDOW_S:
            fullest = max(fullest, bisect_left(arrivals, arrivals[start] + WINDOW_S) - start)
    return fullest
