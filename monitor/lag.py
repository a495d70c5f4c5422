"""Lag, in records and seconds: what is told of a group at one moment. Pure; `monitor.positions` asks Kafka.

Records: end offset minus committed offset, as Kafka's own tool counts. Seconds: the age of the oldest record behind
the committed offset, by the record's own timestamp (`METHOD`); 0 without lag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

METHOD: Final = "record-timestamp"
"""How lag in seconds is found."""
REPORTS_EVERY_S: Final = 5.0
"""How often a reader without members commits its place."""
GONE_AFTER_S: Final = 30.0


class Place(NamedTuple):
    """A partition as a group reads it."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition of a group.

    Attributes:
        committed: the next offset the group will read; none when it never committed one.
        begin: the oldest offset Kafka still has.
        end: the offset the next record will get.
        oldest_ms: timestamp of the oldest record not read, epoch milliseconds; none without lag, or while not known.
    """

    committed: int | None
    begin: int
    end: int
    oldest_ms: int | None = None

    @property
    def lag(self) -> int | None:
        """Records behind; none when the group never committed."""
        return None if self.committed is None else max(0, self.end - self.committed)

    @property
    def unread(self) -> int:
        """Records that wait, whether the group ever committed or not."""
        return max(0, self.end - self.begin) if self.committed is None else max(0, self.end - self.committed)

    def lag_s(self, now_ms: int) -> float | None:
        """Seconds behind, never negative; 0 without lag; none when not known or never committed."""
        if self.lag == 0:
            return 0.0
        return (
            None if self.oldest_ms is None or self.lag is None else max(0.0, (now_ms - self.oldest_ms) / 1000)
        )


@dataclass(frozen=True, slots=True)
class Group:
    """A reader.

    Attributes:
        members: how many the group has now.
        reported_ms: when a reader that joins no group last told its place (a replica of the API); none for a real group.
    """

    name: str
    members: int
    partitions: Mapping[Place, PartitionLag]
    reported_ms: int | None = None

    @property
    def sum_lag(self) -> int:
        """Records behind over all partitions."""
        return sum(part.lag or 0 for part in self.partitions.values())

    @property
    def max_lag(self) -> int:
        """The largest lag of a partition."""
        return max((part.lag or 0 for part in self.partitions.values()), default=0)

    def max_lag_s(self, now_ms: int) -> float | None:
        """The largest lag of a partition in seconds; none while none is known."""
        known = [lag_s for part in self.partitions.values() if (lag_s := part.lag_s(now_ms)) is not None]
        return max(known, default=None)

    def gone(self, now_ms: int) -> bool:
        """A reader without members that has stopped telling its place: its process is not there any more."""
        return self.reported_ms is not None and now_ms - self.reported_ms > GONE_AFTER_S * 1000


@dataclass(frozen=True, slots=True)
class Look:
    """Every group at one moment.

    Attributes:
        at_ms: when, epoch milliseconds.
        ends: end offsets of our topics, also of those nobody reads.
    """

    at_ms: int
    groups: Mapping[str, Group] = field(default_factory=dict)
    ends: Mapping[Place, int] = field(default_factory=dict)
