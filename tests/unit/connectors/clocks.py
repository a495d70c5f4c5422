"""Time that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass(order=True)
class FakeTimer:
    at: float
    number: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """`step` runs what is due next; nothing sleeps."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._timers: list[FakeTimer] = []
        self._numbers = count()

    def time(self) -> float:
        return self._now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self._now + delay_s, next(self._numbers), callback)
        heapq.heappush(self._timers, timer)
        return timer

    async def advance(self, seconds: float) -> None:
        """Move on by this much, running every timer at its time, with the loop's tasks in between."""
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0].at <= end:
            timer = heapq.heappop(self._timers)
            self._now = max(self._now, timer.at)
            if not timer.cancelled:
                timer.callback()
            await settle()
        self._now = end
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
