"""Alive means progress, or waiting for a stated reason."""

from __future__ import annotations

import time
from typing import Final

from runtime.health import Check

SILENCE_S: Final = 120.0
"""Without progress and without a reason for so long, something hangs."""
BEAT_S: Final = 1.0
LOST_BEAT_S: Final = 30.0


class Activity:
    """What the process did last and what it waits for; written by its event loop, read by the health server."""

    def __init__(self) -> None:
        self._progress_at = self._beat_at = time.monotonic()
        self._reasons: dict[str, str] = {}

    def beat(self) -> None:
        """The event loop runs."""
        self._beat_at = time.monotonic()

    def progressed(self, who: str) -> None:
        """Something was done: `who` waits for nothing."""
        self._progress_at = time.monotonic()
        self._reasons.pop(who, None)

    def waits(self, who: str, reason: str) -> None:
        """`who` waits for this until it progresses."""
        self._reasons[who] = reason

    def live(self) -> Check:
        """Whether the process does what it should or says what it waits for."""
        now = time.monotonic()
        if now - self._beat_at > LOST_BEAT_S:
            return Check(False, f"the event loop has stood still for {now - self._beat_at:.0f} s")
        silent_s = now - self._progress_at
        if silent_s > SILENCE_S and not self._reasons:
            return Check(False, f"nothing done for {silent_s:.0f} s, and nothing waited for")
        return Check(True, dict(self._reasons) or f"last progress {silent_s:.0f} s ago")
