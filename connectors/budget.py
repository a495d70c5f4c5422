"""The one budget: how many requests a vendor sees in any second, whoever asks and whatever for.

Hand-written, because it is the product's first promise: no sliding second ever carries more than the limit, all
classes counted, while as little as possible of it is wasted. Two times are kept apart:

- a *grant* says when a request may be written, and gives it its `seq`, the order of its facts;
- the *window* is measured from when the request was really written. Until that is reported the grant takes a place
  without an end, so a slow connection can never push two requests into one second.

The vendor counts arrivals, which we cannot see. An arrival is later than the write and earlier than the reply, so a
place is free again one second after the reply, or one second plus `MARGIN_S` after the write, whichever is first.
Two requests reach the vendor closer together than they were written only where one way took over `MARGIN_S` longer
for the earlier one and its reply was slower too: that is all a client can promise against a vendor that does not fence.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol, Self

import structlog

from schemas.errors import Retriable
from schemas.seq import Seq, make_seq

log = structlog.stdlib.get_logger(__name__)

WINDOW_S = 1.0
MARGIN_S = 0.015
CLOCK_STEP_S = 0.001
"""What the two sides' clocks may differ by over one second."""
PACE = 0.95
"""Least distance of two grants as a share of the even one: near-even pacing keeps an urgent request's wait to one
step instead of half a window, and the rest lets a late start be caught up."""
MAX_GRANT_AGE_S = 0.5
USE_SPAN_S = 10.0


class Priority(IntEnum):
    """Classes of requests; a lower one goes first, within one the first asked goes first."""

    LIVE = 0
    INCREMENTAL = 1
    FULL = 2


class StaleGrant(Retriable):
    """The request was about to be written long after its grant: its place was given back, ask again."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """Time as the budget sees it; tests inject one that they move by hand."""

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


class Grant:
    """The right to write one request now. Leave its block to give it back if nothing was written.

    Attributes:
        seq: order of the facts that the request will bring.
    """

    __slots__ = ("_budget", "_sent", "free_at", "granted_at", "seq")

    def __init__(self, budget: Budget, seq: Seq, granted_at: float) -> None:
        self._budget = budget
        self._sent = False
        self.seq = seq
        self.granted_at = granted_at
        self.free_at = float("inf")

    def writing(self) -> None:
        """The request's first byte is about to be written: from here on it counts.

        Raises:
            StaleGrant: the grant is older than `MAX_GRANT_AGE_S`; nothing may be written under it.
        """
        if self._budget.now() - self.granted_at > MAX_GRANT_AGE_S:
            raise StaleGrant("granted too long ago to be written now")
        self._sent = True

    def written(self) -> None:
        """The request's last byte was handed to the socket."""
        self._sent = True
        self._budget.occupy(self, self._budget.now() + WINDOW_S + MARGIN_S)

    def answered(self) -> None:
        """The reply has begun: the request has arrived before now."""
        self._sent = True
        self._budget.occupy(self, self._budget.now() + WINDOW_S + CLOCK_STEP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more will be reported; an unsent grant's place is free at once."""
        if not self._sent:
            self._budget.release(self)
        elif self.free_at == float("inf"):
            self.written()


Waiter = asyncio.Future[Grant]


class Budget:
    """Grants requests in the order of class and arrival, so that no sliding second carries more than the limit.

    Args:
        epoch: lease epoch of this process, first part of every `seq`.
        requests_per_second: the limit in any sliding second.
        clock: injected for tests.
    """

    def __init__(self, epoch: int, requests_per_second: int = 25, clock: Clock | None = None) -> None:
        self.epoch = epoch
        self._limit = requests_per_second
        self._clock = clock or LoopClock()
        self._counter = 0
        self._places: list[Grant] = []
        self._waiting: dict[Priority, deque[Waiter]] = {priority: deque() for priority in Priority}
        self._paused_until: dict[Priority, float] = dict.fromkeys(Priority, float("-inf"))
        self._pause_reason = ""
        self._next_at = float("-inf")
        self._timer: Timer | None = None
        self._used: deque[float] = deque()

    @property
    def last_seq(self) -> Seq:
        """The latest grant's seq; counter 0 before the first one."""
        return make_seq(self.epoch, self._counter)

    @property
    def use(self) -> float:
        """Share of the budget used in the last 10 s, 0 to 1."""
        self._forget_use(self.now())
        return len(self._used) / (USE_SPAN_S * self._limit)

    @property
    def waiting(self) -> int:
        """Requests that wait for a grant."""
        return sum(len(queue) for queue in self._waiting.values())

    def now(self) -> float:
        """The budget's clock, monotonic seconds."""
        return self._clock.time()

    def paused(self) -> tuple[float, str] | None:
        """Seconds left of the longest pause and its reason, or none."""
        left_s = max(self._paused_until.values()) - self.now()
        return (left_s, self._pause_reason) if left_s > 0 else None

    async def grant(self, priority: Priority) -> Grant:
        """Wait for the right to write one request."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(waiter)
        self._dispatch()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._withdraw(waiter, priority)
            raise

    def pause(self, after_s: float, reason: str, priority: Priority | None = None) -> None:
        """Grant nothing to a class (none given: to any) for `after_s` seconds; the longest pause counts."""
        until = self.now() + after_s
        for paused in Priority if priority is None else (priority,):
            self._paused_until[paused] = max(self._paused_until[paused], until)
        self._pause_reason = reason
        log.warning("budget.paused", after_s=after_s, reason=reason, only=priority and priority.name.lower())
        self._dispatch()

    def occupy(self, grant: Grant, free_at: float) -> None:
        """A grant's place is free at this time, or at the earlier one already known."""
        if grant.free_at == float("inf"):
            self._used.append(self.now())
        grant.free_at = min(grant.free_at, free_at)
        self._dispatch()

    def release(self, grant: Grant) -> None:
        """A grant's place is free: nothing was written under it."""
        if grant in self._places:
            self._places.remove(grant)
            self._dispatch()

    def _withdraw(self, waiter: Waiter, priority: Priority) -> None:
        if waiter.done() and not waiter.cancelled():
            waiter.result().close()
        elif waiter in self._waiting[priority]:
            self._waiting[priority].remove(waiter)

    def _dispatch(self) -> None:
        """Grant what may be granted now; set the timer for the next one."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while (wait_s := self._wait_s()) is not None:
            if wait_s > 0:
                if wait_s < float("inf"):
                    self._timer = self._clock.call_later(wait_s, self._dispatch)
                return
            self._grant_next()

    def _wait_s(self) -> float | None:
        """Seconds until somebody may be granted; none when nobody waits, endless when a report is needed first."""
        classes = [self._paused_until[priority] for priority in Priority if self._waits(priority)]
        if not classes:
            return None
        now = self.now()
        self._places = [grant for grant in self._places if grant.free_at > now]
        full = len(self._places) >= self._limit
        room_at = min(grant.free_at for grant in self._places) if full else now
        return max(min(classes), self._next_at, room_at) - now

    def _waits(self, priority: Priority) -> bool:
        queue = self._waiting[priority]
        while queue and queue[0].done():
            queue.popleft()
        return bool(queue)

    def _grant_next(self) -> None:
        now = self.now()
        ready = next(p for p in Priority if self._waits(p) and self._paused_until[p] <= now)
        self._counter += 1
        grant = Grant(self, make_seq(self.epoch, self._counter), now)
        self._places.append(grant)
        self._next_at = now + PACE * WINDOW_S / self._limit
        self._waiting[ready].popleft().set_result(grant)

    def _forget_use(self, now: float) -> None:
        while self._used and self._used[0] < now - USE_SPAN_S:
            self._used.popleft()
