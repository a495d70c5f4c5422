"""The one list of Kafka topics. Creation, drift check, manifests and docs all read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.feeds import SLOTS

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * _MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
_MIB: Final = 1024 * 1024

MAX_RECORD_BYTES: Final = 8 * _MIB
"""Largest record of the raw and dead-letter topics; a page holds 50 items of 2 to 4 kB, a comment may be huge."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it must exist.

    Attributes:
        name: its name.
        key: what its key is, in words.
        record: what one record is, in words.
        partitions: their number; never changed once created.
        config: topic settings as Kafka spells them, all values strings.
    """

    name: str
    key: str
    record: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def compacted(self) -> bool:
        """Whether the last record of a key is kept for ever."""
        return self.config.get("cleanup.policy") == "compact"


RAW: Final = Topic(
    name="diamonds.raw",
    key="feed/run/partition",
    record="a fact as received (lease, plan, split, page, empty, complete, retire, item, withdraw); its identity and seq in headers",
    partitions=SLOTS,
    config={
        "cleanup.policy": "delete",
        "retention.ms": str(14 * _DAY_MS),
        "segment.bytes": str(128 * _MIB),
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
    },
)

CANONICAL: Final = Topic(
    name="diamonds.canonical",
    key="feed:stone, or feed: for the feed's position",
    record="the priced stone with its seq, rule number, previous price and cause; null with a seq header = retired",
    partitions=SLOTS,
    config={
        "cleanup.policy": "compact",
        "segment.bytes": str(64 * _MIB),
        "segment.ms": str(10 * _MINUTE_MS),
        "min.cleanable.dirty.ratio": "0.2",
        # The sink and the owner's repair need every version, not just the last: nothing is compacted within an hour.
        "min.compaction.lag.ms": str(_HOUR_MS),
        # A null must outlive everything that could bring its stone back (raw keeps 14 days, dead letters 30).
        "delete.retention.ms": str(35 * _DAY_MS),
    },
)

DEAD: Final = Topic(
    name="diamonds.dead",
    key="feed:stone, or the source record's key where no stone could be told",
    record="the original bytes of what was refused; its place, stage and cause in headers",
    partitions=SLOTS,
    config={
        "cleanup.policy": "delete",
        "retention.ms": str(30 * _DAY_MS),
        "max.message.bytes": str(MAX_RECORD_BYTES),
    },
)

RECEIPTS: Final = Topic(
    name="diamonds.receipts",
    key="feed/run/partition/page/epoch",
    record="the outcome of each item of a page; the first one counts, replays are tagged",
    partitions=SLOTS,
    config={"cleanup.policy": "delete", "retention.ms": str(7 * _DAY_MS)},
)

RULESETS: Final = Topic(
    name="pricing.rulesets",
    key="rule-set number",
    record="a whole published rule set; the highest number is the head",
    partitions=1,
    config={"cleanup.policy": "compact", "max.message.bytes": str(MAX_RECORD_BYTES)},
)

RATES: Final = Topic(
    name="pricing.rates",
    key="currency",
    record="an exchange rate with its id and time",
    partitions=1,
    config={"cleanup.policy": "compact"},
)

PROCESS_GROUP: Final = "adamas-process"
"""The consumer group that owns the feeds: it reads `diamonds.raw`."""

SINK_GROUP: Final = "adamas-sink"
"""The consumer group that reads `diamonds.canonical` into Postgres."""

TOPICS: Final = (RAW, CANONICAL, DEAD, RECEIPTS, RULESETS, RATES)


def mark_group(group: str = PROCESS_GROUP) -> str:
    """A group that is no reader, and so never late: its one commit says which canonical topic a group has written to."""
    return f"{group}-canonical"
