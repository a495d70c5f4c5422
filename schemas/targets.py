"""What we aim at, once: boards draw these lines, rules alert on them, benches and drills compare with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.topics import CANONICAL


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets; each field's unit stands in its name.

    Attributes:
        lag_s: age of the oldest record a reader has not read.
        still_warn_s: a reader with records to read that has not moved for so long is looked at.
        still_stalled_s: and after so long it has stalled.
        empty_s: so long records may wait in a group without a member.
        fresh_s: age of a feed's data at the API.
        sink_compaction_reserve_s: how near to the compaction lag the sink's lag may come.
        dead_letters_s: within this a dead letter is told of.
        member_silent_s: a process that has not answered for so long is down.
        api_availability: share of API requests that must not fail through our fault.
        api_p99_ms: answer time of searches.
        auth_failures_per_min: refused keys that nobody need look at.
        budget_used: share of the vendor's budget that a full sweep must use.
    """

    lag_s: float = 30.0
    still_warn_s: float = 15.0
    still_stalled_s: float = 40.0
    empty_s: float = 30.0
    fresh_s: float = 900.0
    sink_compaction_reserve_s: float = 1200.0
    dead_letters_s: float = 60.0
    member_silent_s: float = 90.0
    api_availability: float = 0.9995
    api_p99_ms: float = 20.0
    auth_failures_per_min: float = 30.0
    budget_used: float = 0.95

    @property
    def error_budget(self) -> float:
        """Share of API requests that may fail."""
        return 1 - self.api_availability

    @property
    def sink_lag_limit_s(self) -> float:
        """The sink's lag at which versions may soon be compacted away unread."""
        return int(CANONICAL.config["min.compaction.lag.ms"]) / 1000 - self.sink_compaction_reserve_s


TARGETS: Final = Targets()
