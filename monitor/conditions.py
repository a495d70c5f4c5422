"""Conditions on metrics, written once and said twice: in PromQL for Prometheus, and evaluated here on `Samples`.

Not a PromQL of our own: only the five forms that the rules need.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from monitor.samples import Labels, Samples

Where = tuple[tuple[str, str], ...]
"""Label and the regular expression that its whole value must match."""

_AGGREGATES: Final[dict[str, Callable[[list[float]], float]]] = {"max": max, "min": min, "sum": math.fsum}


class Expression(Protocol):
    """Values by what tells their subjects apart."""

    @property
    def by(self) -> tuple[str, ...]:
        """Labels that tell subjects apart."""

    def promql(self) -> str:
        """As Prometheus evaluates it."""

    def values(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """As we do."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The current value, aggregated over all other labels."""

    metric: str
    by: tuple[str, ...] = ()
    where: Where = ()
    aggregate: str = "max"

    def promql(self) -> str:
        """`max by (group) (metric{...})`."""
        return f"{self.aggregate}{_by(self.by)} ({self.metric}{_matchers(self.where)})"

    def values(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """One value a subject."""
        return _grouped(samples.latest(self.metric), self.by, self.where, self.aggregate)


@dataclass(frozen=True, slots=True)
class Age:
    """Seconds since the moment that a metric tells; of several the oldest."""

    metric: str
    by: tuple[str, ...] = ()

    def promql(self) -> str:
        """`time() - min by (feed) (metric)`."""
        return f"time() - min{_by(self.by)} ({self.metric})"

    def values(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """One age a subject."""
        found = _grouped(samples.latest(self.metric), self.by, (), "min")
        return {labels: now_s - moment for labels, moment in found.items()}


@dataclass(frozen=True, slots=True)
class Increase:
    """By how much counters grew over the last seconds."""

    metric: str
    over_s: int
    by: tuple[str, ...] = ()
    where: Where = ()

    def promql(self) -> str:
        """`sum by (feed) (increase(metric{...}[300s]))`."""
        return f"sum{_by(self.by)} (increase({self.metric}{_matchers(self.where)}[{self.over_s}s]))"

    def values(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """One sum a subject."""
        return _grouped(samples.increase(self.metric, self.over_s, now_s), self.by, self.where, "sum")


@dataclass(frozen=True, slots=True)
class Share:
    """One increase as a share of another; no value where the whole is 0."""

    part: Increase
    whole: Increase

    @property
    def by(self) -> tuple[str, ...]:
        """As its whole."""
        return self.whole.by

    def promql(self) -> str:
        """`part / whole`."""
        return f"{self.part.promql()} / {self.whole.promql()}"

    def values(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """One share a subject."""
        parts = self.part.values(samples, now_s)
        wholes = self.whole.values(samples, now_s)
        return {labels: parts.get(labels, 0.0) / whole for labels, whole in wholes.items() if whole > 0}


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression over (`>`), under (`<`) or at (`==`) a threshold."""

    expression: Expression
    compare: str
    threshold: float

    def promql(self) -> str:
        """`expression > threshold`."""
        return f"{self.expression.promql()} {self.compare} {self.threshold:g}"

    def holds(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """The subjects for which it holds, with their values."""
        test = {">": float.__gt__, "<": float.__lt__, "==": float.__eq__}[self.compare]
        found = self.expression.values(samples, now_s)
        return {labels: value for labels, value in found.items() if test(float(value), float(self.threshold))}


@dataclass(frozen=True, slots=True)
class All:
    """Conditions that must hold of one subject together, and such as must not; the first one names the subjects.

    Attributes:
        also: their labels must be among the first one's.
        unless: likewise.
    """

    first: Condition
    also: tuple[Condition, ...] = ()
    unless: tuple[Condition, ...] = ()

    def promql(self) -> str:
        """`first and on (group) ... unless on (group) ...`."""
        parts = [self.first.promql()]
        for word, conditions in (("and", self.also), ("unless", self.unless)):
            parts += [f"{word} on ({', '.join(one.expression.by)}) {one.promql()}" for one in conditions]
        return " ".join(parts)

    def holds(self, samples: Samples, now_s: float) -> dict[Labels, float]:
        """The subjects for which all of it holds, with the first one's values."""
        found = self.first.holds(samples, now_s)
        for wanted, conditions in ((True, self.also), (False, self.unless)):
            for one in conditions:
                others = one.holds(samples, now_s)
                found = {
                    labels: value
                    for labels, value in found.items()
                    if (_only(labels, one.expression.by) in others) is wanted
                }
        return found


def _grouped(
    values: dict[Labels, float], by: tuple[str, ...], where: Where, aggregate: str
) -> dict[Labels, float]:
    groups: dict[Labels, list[float]] = {}
    for labels, value in values.items():
        named = dict(labels)
        if all(re.fullmatch(pattern, named.get(name, "")) for name, pattern in where):
            groups.setdefault(_only(labels, by), []).append(value)
    return {labels: _AGGREGATES[aggregate](found) for labels, found in groups.items()}


def _only(labels: Labels, names: tuple[str, ...]) -> Labels:
    return tuple((name, value) for name, value in labels if name in names)


def _by(names: tuple[str, ...]) -> str:
    return f" by ({', '.join(names)})" if names else ""


def _matchers(where: Where) -> str:
    return "{" + ",".join(f'{name}=~"{pattern}"' for name, pattern in where) + "}" if where else ""
