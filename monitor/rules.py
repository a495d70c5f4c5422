"""The alert rules, once: Prometheus' rule file is generated from them, and `monitor` evaluates them by itself.

A rule says when something is wrong; what it means and what to do stands in `docs/runbooks/<kind>.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from monitor.conditions import Age, All, Condition, Increase, Latest, Share
from schemas.events import KINDS, Kind, Severity
from schemas.targets import TARGETS

SINK_GROUP: Final = "adamas-sink"
_5XX: Final = (("status", "5.."),)
_REQUESTS: Final = "adamas_http_requests_total"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        kind: of the event that is recorded.
        when: the condition; its labels name the subject.
        for_s: how long it must hold.
        text: what is told; `{value}` is the first condition's value.
        name: tells rules of one kind apart; the kind's own where there is only one.
        recorded: true: whoever finds out records the event itself, and only Prometheus needs the rule.
    """

    kind: Kind
    when: Condition | All
    for_s: int
    text: str
    name: str = ""
    recorded: bool = False

    @property
    def severity(self) -> Severity:
        """Its kind's."""
        return KINDS[self.kind].severity

    @property
    def by(self) -> tuple[str, ...]:
        """Labels whose values are the subject."""
        first = self.when.first if isinstance(self.when, All) else self.when
        return first.expression.by


def _events(kind: Kind) -> Rule:
    """For kinds that are recorded by whoever finds out: the monitor counts the open ones."""
    condition = Condition(
        Latest("adamas_monitor_open_events", where=(("kind", kind.value),), aggregate="sum"), ">", 0
    )
    return Rule(kind, condition, 0, KINDS[kind].meaning, recorded=True)


def _happened(kind: Kind) -> Rule:
    """For kinds that are recorded and do not last: the monitor counts the recent ones."""
    condition = Condition(Latest("adamas_monitor_recent_events", where=(("kind", kind.value),)), ">", 0)
    return Rule(kind, condition, 0, KINDS[kind].meaning, recorded=True)


def _burn(name: str, factor: float, long_s: int, short_s: int) -> Rule:
    """The error budget of 30 days is used up `factor` times too fast, over a long window and still over a short one."""

    def over(seconds: int) -> Condition:
        share = Share(Increase(_REQUESTS, seconds, where=_5XX), Increase(_REQUESTS, seconds))
        return Condition(share, ">", round(factor * TARGETS.error_budget, 6))

    text = f"{{value:.2%}} of the API's answers of the last {long_s // 60} min were errors of ours"
    return Rule(Kind.SLO_BURN, All(over(long_s), also=(over(short_s),)), 0, text, name=name)


_GROUP: Final = ("group",)
_PARTITION: Final = ("group", "partition", "topic")
_EMPTY: Final = Condition(Latest("adamas_monitor_group_members", _GROUP), "==", 0)
_STALLED: Final = Condition(Latest("adamas_monitor_group_status", _GROUP), "==", 2)

RULES: Final = (
    Rule(
        Kind.GROUP_STALLED,
        All(_STALLED, unless=(_EMPTY,)),
        0,
        f"has records to read and has not moved for {TARGETS.still_stalled_s:g} s",
    ),
    Rule(
        Kind.LAG_WITHOUT_READER,
        All(Condition(Latest("kafka_consumergroup_group_sum_lag", _GROUP), ">", 0), also=(_EMPTY,)),
        int(TARGETS.empty_s),
        "{value:.0f} records wait, and the group has no member",
    ),
    Rule(
        Kind.PARTITION_STUCK,
        All(
            Condition(Latest("adamas_monitor_still_seconds", _PARTITION), ">", TARGETS.still_stalled_s),
            unless=(_STALLED, _EMPTY),
        ),
        10,
        "has not moved for {value:.0f} s while the group's other partitions do",
    ),
    Rule(
        Kind.GROUP_BEHIND,
        All(
            Condition(Latest("kafka_consumergroup_group_max_lag_seconds", _GROUP), ">", TARGETS.lag_s),
            unless=(_STALLED, _EMPTY),
        ),
        180,
        f"is {{value:.0f}} s behind, over its target of {TARGETS.lag_s:g} s",
    ),
    Rule(
        Kind.SINK_NEAR_COMPACTION,
        Condition(
            Latest("kafka_consumergroup_group_max_lag_seconds", _GROUP, (("group", SINK_GROUP),)),
            ">",
            TARGETS.sink_lag_limit_s,
        ),
        0,
        "is {value:.0f} s behind; records are compacted away an hour after they were written",
    ),
    Rule(
        Kind.WATERMARK_STALE,
        Condition(Age("adamas_api_position_timestamp_seconds", ("feed",)), ">", TARGETS.fresh_s),
        30,
        f"its data is {{value:.0f}} s old, over its target of {TARGETS.fresh_s:g} s",
    ),
    Rule(
        Kind.DEAD_LETTERS,
        Condition(Latest("adamas_monitor_dead_letters", where=(("state", "new"),), aggregate="sum"), ">", 0),
        0,
        "{value:.0f} dead letters that nobody has looked at",
        # Each group is an event of its own, recorded with its first letter.
        recorded=True,
    ),
    Rule(
        Kind.AUTHENTICATION_FAILURES,
        Condition(
            Increase(_REQUESTS, 300, where=(("status", "401|403"),)), ">", 5 * TARGETS.auth_failures_per_min
        ),
        0,
        "{value:.0f} requests without a valid key in 5 min",
    ),
    _burn("SloBurnFast", 14.4, 3600, 300),
    _burn("SloBurnSlow", 6, 21600, 1800),
    Rule(
        Kind.MEMBER_DOWN,
        Condition(Latest("adamas_monitor_member_up", ("process",)), "==", 0),
        int(TARGETS.member_silent_s),
        f"has not answered for {TARGETS.member_silent_s:g} s",
    ),
    Rule(
        Kind.UNDELIVERED_ALERT,
        Condition(Latest("adamas_monitor_undelivered"), ">", 0),
        0,
        "{value:.0f} notifications reached nobody",
    ),
    *(_happened(kind) for kind in (Kind.RUN_PARTIAL, Kind.TRIAL_TAKEN_BACK)),
    *(
        _events(kind)
        for kind in (
            Kind.RUN_FAILED,
            Kind.RUN_UNBALANCED,
            Kind.RUN_STUCK,
            Kind.RETIREMENT_WAITS,
            Kind.STORES_DISAGREE,
            Kind.SCHEMA_DRIFT,
            Kind.FEED_STOPPED,
            Kind.VENDOR_STOPPED,
            Kind.VENDOR_DOWN,
            Kind.VENDOR_REFUSES_LOGIN,
        )
    ),
)
"""Every rule. Kinds that only happen, RunCompleted and Test, have none."""
