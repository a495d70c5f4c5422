"""Events: what somebody should know of, as kept in Postgres, shown on the board and sent to people.

One closed list. A kind has the same name here, in the Prometheus rules, in the notifications and as the file of its
page in `docs/runbooks/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How soon somebody should look."""

    INFO = "info"
    """To be read some day."""
    WARNING = "warning"
    """Within the working day."""
    CRITICAL = "critical"
    """Now."""


class Kind(StrEnum):
    """What may happen."""

    RUN_COMPLETED = "RunCompleted"
    RUN_PARTIAL = "RunPartial"
    RUN_FAILED = "RunFailed"
    RUN_UNBALANCED = "RunUnbalanced"
    RUN_STUCK = "RunStuck"
    RETIREMENT_WAITS = "RetirementWaits"
    STORES_DISAGREE = "StoresDisagree"
    WATERMARK_STALE = "WatermarkStale"
    DEAD_LETTERS = "DeadLetters"
    FEED_STOPPED = "FeedStopped"
    VENDOR_STOPPED = "VendorStopped"
    VENDOR_DOWN = "VendorDown"
    SCHEMA_DRIFT = "SchemaDrift"
    VENDOR_REFUSES_LOGIN = "VendorRefusesLogin"
    AUTHENTICATION_FAILURES = "AuthenticationFailures"
    PARTITION_STUCK = "PartitionStuck"
    GROUP_BEHIND = "GroupBehind"
    GROUP_STALLED = "GroupStalled"
    LAG_WITHOUT_READER = "LagWithoutReader"
    SINK_NEAR_COMPACTION = "SinkNearCompaction"
    SLO_BURN = "SloBurn"
    MEMBER_DOWN = "MemberDown"
    UNDELIVERED_ALERT = "UndeliveredAlert"
    TRIAL_TAKEN_BACK = "TrialTakenBack"
    TEST = "Test"


@dataclass(frozen=True, slots=True)
class KindInfo:
    """A kind as the list knows it.

    Attributes:
        severity: of its events, unless whoever records one says otherwise.
        lasting: true: it is open until resolved, and there is one open event a subject; false: it happened, and that is all.
        meaning: what has happened, in a sentence; `subject` says to what.
    """

    severity: Severity
    lasting: bool
    meaning: str


_INFO, _WARNING, _CRITICAL = Severity

KINDS: Final[dict[Kind, KindInfo]] = {
    Kind.RUN_COMPLETED: KindInfo(
        _INFO, False, "A run has read everything it planned, and its ledger balances."
    ),
    Kind.RUN_PARTIAL: KindInfo(
        _WARNING, False, "A run has ended without all it planned: some pages named errors beside their items."
    ),
    Kind.RUN_FAILED: KindInfo(_CRITICAL, True, "A run could not go on."),
    Kind.RUN_UNBALANCED: KindInfo(
        _CRITICAL, True, "A run's items do not add up: some have no outcome, or more than one."
    ),
    Kind.RUN_STUCK: KindInfo(
        _WARNING, True, "A run is due or under way, and nothing of it comes into the log."
    ),
    Kind.RETIREMENT_WAITS: KindInfo(
        _WARNING, True, "A sweep would retire so much that somebody has to look: adamas runs approve."
    ),
    Kind.STORES_DISAGREE: KindInfo(
        _CRITICAL, True, "Postgres, the canonical topic and the API do not hold the same stones."
    ),
    Kind.WATERMARK_STALE: KindInfo(_CRITICAL, True, "A feed's stock is older than its target allows."),
    Kind.DEAD_LETTERS: KindInfo(_WARNING, True, "Items could not be used and wait in the dead letters."),
    Kind.FEED_STOPPED: KindInfo(
        _CRITICAL, True, "Too many of a feed's items were refused: its processing has stopped."
    ),
    Kind.VENDOR_STOPPED: KindInfo(
        _CRITICAL, True, "The vendor refuses our requests (403): nothing is sent any more."
    ),
    Kind.VENDOR_DOWN: KindInfo(
        _CRITICAL, True, "The vendor answers nothing that can be used: one request at a time tries again."
    ),
    Kind.SCHEMA_DRIFT: KindInfo(
        _WARNING, True, "The vendor's replies lack fields that we rely on, or carry other types in them."
    ),
    Kind.VENDOR_REFUSES_LOGIN: KindInfo(_CRITICAL, True, "The vendor refuses our login."),
    Kind.AUTHENTICATION_FAILURES: KindInfo(
        _WARNING, True, "Many requests to the API come without a valid key."
    ),
    Kind.PARTITION_STUCK: KindInfo(
        _CRITICAL, True, "A partition's position has not moved while records wait in it."
    ),
    Kind.GROUP_BEHIND: KindInfo(_WARNING, True, "A reader's lag is over its target and grows."),
    Kind.GROUP_STALLED: KindInfo(_CRITICAL, True, "A reader has records to read and does not move."),
    Kind.LAG_WITHOUT_READER: KindInfo(
        _CRITICAL, True, "Records wait, and the group that reads them has no member."
    ),
    Kind.SINK_NEAR_COMPACTION: KindInfo(
        _CRITICAL, True, "The sink's lag comes near the compaction lag: price changes may be missed."
    ),
    Kind.SLO_BURN: KindInfo(_CRITICAL, True, "The API uses up its error budget too fast."),
    Kind.MEMBER_DOWN: KindInfo(_CRITICAL, True, "A process does not answer."),
    Kind.UNDELIVERED_ALERT: KindInfo(_CRITICAL, True, "A notification reached nobody, over no channel."),
    Kind.TRIAL_TAKEN_BACK: KindInfo(
        _WARNING,
        False,
        "A gradual publish broke a limit and was taken back: all stones have the former rules again.",
    ),
    Kind.TEST: KindInfo(_INFO, False, "Somebody tries whether notifications arrive."),
}
