"""Time as the budget sees it: injected, so that tests move it by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """Monotonic seconds, and calls at a later time."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay_s` seconds; may be early by a little."""


class LoopClock:
    """The running event loop's timers, read on the system's monotonic clock (a loop may cache its own)."""

    def time(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back in the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)


async def sleep_until(clock: Clock, at: float) -> None:
    """Return at a time, never before it."""
    while (left_s := at - clock.time()) > 0:
        due = asyncio.Event()
        timer = clock.call_later(left_s, due.set)
        try:
            await due.wait()
        finally:
            timer.cancel()
