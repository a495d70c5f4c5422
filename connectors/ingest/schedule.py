"""When a feed's runs are due: a full sweep once a day, incremental runs in between. Pure.

A sweep missed while nothing ran is made up once; so is an incremental run, because the next one reads on from the
watermark anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final

from connectors.runs.states import OPEN, State

TRY_AGAIN_AFTER: Final = timedelta(hours=1)
"""A full sweep that failed is asked for again after this."""


@dataclass(frozen=True, slots=True)
class Last:
    """A feed's last run of a kind.

    Attributes:
        changed_at: when it came into its state.
    """

    state: State
    requested_at: datetime
    changed_at: datetime


def sweep_time(setting: str) -> time:
    """The time of day of `02:00`, UTC."""
    hours, minutes = map(int, setting.split(":"))
    return time(hours, minutes, tzinfo=UTC)


def full_is_due(last: Last | None, at: time, now: datetime) -> bool:
    """Whether a full sweep is to be asked for now."""
    if last is None:
        return True
    if last.state in OPEN:
        return False
    if last.state is State.FAILED:
        return now - last.changed_at >= TRY_AGAIN_AFTER
    return last.requested_at < last_time_of(at, now)


def incremental_is_due(last: Last | None, last_full: Last | None, every: timedelta, now: datetime) -> bool:
    """Whether an incremental run is to be asked for now; the feed has a watermark."""
    if last is None:
        return last_full is not None and now - last_full.changed_at >= every
    if last.state in OPEN:
        return False
    since = last.changed_at if last.state is State.FAILED else last.requested_at
    return now - since >= every


def last_time_of(at: time, now: datetime) -> datetime:
    """The last time of day `at` before now."""
    today = datetime.combine(now.date(), at)
    return today if today <= now else today - timedelta(days=1)
