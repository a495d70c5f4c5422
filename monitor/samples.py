"""What the processes' `/metrics` said lately, asked as Prometheus would be: the latest values, and increases."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from schemas.metrics import METRICS

Labels = tuple[tuple[str, str], ...]
"""A series' labels, sorted by name; `member` tells whose it is."""

KEEP_S: Final = 120.0
STEP_S: Final = 1.0
LONG_STEP_S: Final = 30.0
_SUFFIXES: Final = ("_bucket", "_count", "_sum")


@dataclass(slots=True)
class _Series:
    latest: float
    points: deque[tuple[float, float]] = field(default_factory=deque)


class Samples:
    """The samples of all processes.

    Args:
        long: how long a metric's history is kept, in seconds, where that is longer than two minutes.
    """

    def __init__(self, long: Mapping[str, float] | None = None) -> None:
        self._long = dict(long or {})
        self._series: dict[str, dict[Labels, _Series]] = {}

    def take(self, at_s: float, member: str, text: str) -> None:
        """Take in what a process answered; what it does not tell any more is forgotten, as Prometheus would."""
        told: dict[str, set[Labels]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name
                if name not in METRICS and not (name.endswith(_SUFFIXES) and _base(name) in METRICS):
                    continue
                labels = (*sorted(sample.labels.items()), ("member", member))
                self._add(at_s, name, labels, sample.value)
                told.setdefault(name, set()).add(labels)
        self._forget(member, told)

    def lost(self, member: str) -> None:
        """A process did not answer: its values are not current any more; its counters' history stays."""
        self._forget(member, {}, keep_history=True)

    def latest(self, name: str) -> dict[Labels, float]:
        """The current value of each series."""
        return {
            labels: series.latest
            for labels, series in self._series.get(name, {}).items()
            if series.latest == series.latest
        }

    def increase(self, name: str, over_s: float, now_s: float) -> dict[Labels, float]:
        """By how much each counter grew over the last seconds; a restart of its process counts from 0."""
        return {
            labels: _increase(series.points, now_s - over_s)
            for labels, series in self._series.get(name, {}).items()
        }

    def rate(self, name: str, over_s: float, now_s: float) -> float | None:
        """Growth a second, summed over all series; none when there is none of that name."""
        series = self._series.get(name, {}).values()
        rates = [
            _increase(one.points, now_s - over_s) / max(1.0, min(over_s, now_s - one.points[0][0]))
            for one in series
            if one.points
        ]
        return sum(rates) if rates else None

    def _add(self, at_s: float, name: str, labels: Labels, value: float) -> None:
        of_name = self._series.setdefault(name, {})
        series = of_name.get(labels)
        if series is None:
            series = of_name[labels] = _Series(value)
        series.latest = value
        keep_s = self._long.get(name, KEEP_S)
        # The long ones are looked at by the minute; each keeps a point a step, and always the newest.
        step_s = LONG_STEP_S if keep_s > 10 * KEEP_S else STEP_S
        points = series.points
        if len(points) >= 2 and points[-1][0] - points[-2][0] < step_s:
            points.pop()
        points.append((at_s, value))
        while len(points) > 2 and points[1][0] <= at_s - keep_s:
            points.popleft()

    def _forget(self, member: str, told: Mapping[str, set[Labels]], *, keep_history: bool = False) -> None:
        for name, of_name in self._series.items():
            gone = [
                labels
                for labels in of_name
                if labels[-1] == ("member", member) and labels not in told.get(name, ())
            ]
            for labels in gone:
                if keep_history:
                    of_name[labels].latest = float("nan")
                else:
                    del of_name[labels]


def _base(name: str) -> str:
    return name.rpartition("_")[0]


def _increase(points: deque[tuple[float, float]], since_s: float) -> float:
    grown, before = 0.0, None
    for at_s, value in points:
        if before is not None and at_s > since_s:
            grown += value - before if value >= before else value
        before = value
    return grown
