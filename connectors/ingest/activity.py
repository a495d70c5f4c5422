"""Alive means progress, or waiting for a stated reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from runtime.health import Check

SILENCE_S: Final = 120.0
"""Without progress and without a reason for so long, something hangs."""
BEAT_S: Final = 1.0
LOST_BEAT_S: Final = 30.0


class Activity:
    """What each part of the process did last and what it waits for; written by its event loop, read by the health
    server's thread.
    """

    def __init__(self) -> None:
        self._beat_at = time.monotonic()
        self._progress_at: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._excuse: Callable[[], str | None] = lambda: None

    def beat(self) -> None:
        """The event loop runs."""
        self._beat_at = time.monotonic()

    def progressed(self, who: str) -> None:
        """Something was done: `who` waits for nothing."""
        self._progress_at[who] = time.monotonic()
        self._reasons.pop(who, None)

    def waits(self, who: str, reason: str) -> None:
        """`who` waits for this until it progresses."""
        self._reasons[who] = reason

    def done(self, who: str) -> None:
        """Nothing more is expected of `who`."""
        self._progress_at.pop(who, None)
        self._reasons.pop(who, None)

    def forget(self) -> None:
        """Nothing is expected of anybody any more, and nothing excuses anybody."""
        self._progress_at.clear()
        self._reasons.clear()
        self._excuse = lambda: None

    def excused_by(self, excuse: Callable[[], str | None]) -> None:
        """While `excuse` gives a reason, everybody waits for that."""
        self._excuse = excuse

    def live(self) -> Check:
        """Whether everybody does what they should or says what they wait for."""
        now = time.monotonic()
        if now - self._beat_at > LOST_BEAT_S:
            return Check(False, f"the event loop has stood still for {now - self._beat_at:.0f} s")
        reasons = dict(self._reasons)
        if excuse := self._excuse():
            return Check(True, {**reasons, "budget": excuse})
        silent = {who: now - at for who, at in [*self._progress_at.items()] if who not in reasons}
        hanging = [f"{who} has done nothing for {s:.0f} s" for who, s in silent.items() if s > SILENCE_S]
        return Check(not hanging, "; ".join(hanging) or reasons or "busy")
