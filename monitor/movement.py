"""What the looks of the last minutes say of each group: does it move, does it fall behind, when will it be there. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from monitor.lag import Group, Look, Place
from schemas.targets import TARGETS, Targets

WINDOW_S: Final = 300.0
PACE_S: Final = 20.0
"""Rates and forecast are over the last so many seconds: short enough to follow a change of pace, long enough to even out
commits that come in steps."""
HALF_LIFE_S: Final = 3.0
"""A reader that was woken is slow at first; after so long a point counts half."""
FEWEST: Final = 3
"""Points below which there is no pace yet."""


class Status(StrEnum):
    """How a reader does."""

    OK = "OK"
    WARN = "WARN"
    STALLED = "STALLED"
    GONE = "GONE"
    """A reader without members whose process is not there any more."""


class Standing(NamedTuple):
    """A group's place at one moment, over all its partitions."""

    at_s: float
    lag: int
    committed: int
    end: int


@dataclass(frozen=True, slots=True)
class Movement:
    """What is told of a group.

    Attributes:
        still_s: seconds since the committed offset moved, by partition with records waiting.
        read_per_s: records the group reads.
        written_per_s: records that are written for it.
        catches_up_s: seconds until its lag is 0 at this pace; 0 without lag, none while it does not come nearer.
        reason: why it is not OK, in words.
    """

    status: Status
    still_s: dict[Place, float]
    read_per_s: float
    written_per_s: float
    catches_up_s: float | None
    reason: str


class Movements:
    """Remembers looks and tells what they mean.

    Args:
        targets: what is late, and what has stalled.
    """

    def __init__(self, targets: Targets = TARGETS) -> None:
        self._targets = targets
        self._moved_at: dict[tuple[str, Place], tuple[int | None, float]] = {}
        self._members: dict[str, int] = {}
        self._history: dict[str, deque[Standing]] = {}

    def see(self, look: Look) -> dict[str, Movement]:
        """Take in a look, newer than all before; what is now told of each of its groups."""
        now_s = look.at_ms / 1000
        for name in set(self._history) - set(look.groups):
            del self._history[name]
        self._moved_at = {key: at for key, at in self._moved_at.items() if key[0] in look.groups}
        return {name: self._judge(group, now_s) for name, group in look.groups.items()}

    def history(self, group: str) -> Sequence[Standing]:
        """The group's places within the window, oldest first."""
        return tuple(self._history.get(group, ()))

    def _judge(self, group: Group, now_s: float) -> Movement:
        still = self._still(group, now_s)
        history = self._remember(group, now_s)
        pace = _pace(history)
        lag_s = group.max_lag_s(int(now_s * 1000))
        status, reason = self._status(group, now_s, still, lag_s, _slope(pace))
        return Movement(
            status,
            still,
            max(0.0, _rate(pace, "committed")),
            max(0.0, _rate(pace, "end")),
            _catches_up_s(group.sum_lag, pace),
            reason,
        )

    def _still(self, group: Group, now_s: float) -> dict[Place, float]:
        # Nobody could have moved it before somebody came.
        joined = group.members > 0 and self._members.get(group.name) == 0
        self._members[group.name] = group.members
        still = {}
        for place, part in group.partitions.items():
            key = (group.name, place)
            committed, since = self._moved_at.get(key, (None, now_s))
            if joined or part.unread == 0 or key not in self._moved_at or committed != part.committed:
                since = now_s
            self._moved_at[key] = (part.committed, since)
            if part.unread:
                still[place] = now_s - since
        return still

    def _remember(self, group: Group, now_s: float) -> Sequence[Standing]:
        history = self._history.setdefault(group.name, deque())
        parts = group.partitions.values()
        history.append(
            Standing(
                now_s,
                group.sum_lag,
                sum(part.committed or 0 for part in parts),
                sum(part.end for part in parts),
            )
        )
        while history[0].at_s < now_s - WINDOW_S:
            history.popleft()
        return history

    def _status(
        self, group: Group, now_s: float, still: dict[Place, float], lag_s: float | None, slope: float
    ) -> tuple[Status, str]:
        if group.gone(int(now_s * 1000)):
            return Status.GONE, "its process does not tell its place any more"
        place, longest = max(still.items(), key=lambda item: item[1], default=(None, 0.0))
        if place is not None and longest >= self._targets.still_warn_s:
            words = f"{place.topic}/{place.partition} has not moved for {longest:.0f} s and records wait"
            # While others move it is that partition's trouble, not the reader's.
            stalled = min(still.values()) >= self._targets.still_stalled_s
            return (Status.STALLED if stalled else Status.WARN), words
        if lag_s is not None and lag_s > self._targets.lag_s and slope >= 0:
            return Status.WARN, f"{lag_s:.0f} s behind, and it does not come nearer"
        return Status.OK, ""


def _pace(history: Sequence[Standing]) -> list[Standing]:
    """The last seconds, but nothing from before the group last began to move: a stop says nothing of its pace."""
    recent = [standing for standing in history if standing.at_s >= history[-1].at_s - PACE_S]
    for index in range(len(recent) - 1, 0, -1):
        if recent[index].committed == recent[index - 1].committed and _moves_after(recent, index):
            return recent[index:]
    return recent


def _moves_after(recent: Sequence[Standing], index: int) -> bool:
    """Whether what stood still here for two looks or more moves from here on."""
    stood = index >= 2 and recent[index - 2].committed == recent[index].committed
    return stood and recent[-1].committed > recent[index].committed


def _rate(pace: Sequence[Standing], field: str) -> float:
    if len(pace) < 2 or pace[-1].at_s <= pace[0].at_s:
        return 0.0
    return float((getattr(pace[-1], field) - getattr(pace[0], field)) / (pace[-1].at_s - pace[0].at_s))


def _slope(pace: Sequence[Standing]) -> float:
    """Records a second by which the lag grows: the least-squares line through the points, recent ones weighing more."""
    if len(pace) < FEWEST:
        return 0.0
    weighed = [(0.5 ** ((pace[-1].at_s - p.at_s) / HALF_LIFE_S), p.at_s, p.lag) for p in pace]
    whole = sum(weight for weight, _, _ in weighed)
    mean_t = sum(weight * at_s for weight, at_s, _ in weighed) / whole
    mean_lag = sum(weight * lag for weight, _, lag in weighed) / whole
    spread = sum(weight * (at_s - mean_t) ** 2 for weight, at_s, _ in weighed)
    return (
        sum(weight * (at_s - mean_t) * (lag - mean_lag) for weight, at_s, lag in weighed) / spread
        if spread
        else 0.0
    )


def _catches_up_s(lag: int, pace: Sequence[Standing]) -> float | None:
    if lag == 0:
        return 0.0
    slope = _slope(pace)
    return lag / -slope if slope < 0 else None
