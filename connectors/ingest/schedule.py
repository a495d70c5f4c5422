"""When a feed's next full sweep is due."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final

FULL_SWEEP_AT: Final = time(2, 0, tzinfo=UTC)
"""Every day at this time; a sweep missed while nothing ran is made up once, at the next start."""


def next_full_sweep(last_began_ms: int) -> datetime:
    """The first sweep time after the last sweep began (milliseconds since 1970)."""
    last = datetime.fromtimestamp(last_began_ms / 1000, UTC)
    due = datetime.combine(last.date(), FULL_SWEEP_AT)
    return due if due > last else due + timedelta(days=1)
