"""Who may write a request when, so that no sliding second ever carries more than the limit.

Hand-written, because it is the product's first promise: no sliding second ever carries more than the limit, all
classes counted, while as little as possible of it is wasted. Three times are kept apart:

- a request is *granted* some milliseconds ahead, so that its connection and its bytes are ready in time, and gets
  its `seq`, the order of its facts;
- it is *written* at its own moment, for which it waits right where the bytes go to the socket (`Grant.writing`):
  what a grant's way to the socket costs is therefore never lost;
- its place is *free* again a window after it has arrived at the vendor. Until it is written it takes a place without
  an end, so a slow connection can never push two requests into one second.

The vendor counts arrivals, which we cannot see. An arrival is later than the write and earlier than the reply, so a
place is free again one second after the reply, or one second plus `MARGIN_S` after the write, whichever is first.
Two requests reach the vendor closer together than they were written only where one way took over `MARGIN_S` longer
for the earlier one and its reply was slower too: that is all a client can promise against a vendor that does not fence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from connectors.alerts import Alerts, LoggedAlerts
from connectors.budget.breaker import Breaker
from connectors.budget.clock import Clock, LoopClock, Timer
from connectors.budget.figures import USE_SPAN_S, Figures
from connectors.budget.grant import NEVER, WINDOW_S, Grant, Priority, TooLate
from connectors.budget.pauses import GrowingPause
from schemas.events import Kind
from schemas.seq import Seq, make_seq

log = structlog.stdlib.get_logger(__name__)

LIMIT: Final = 25
PACE: Final = 0.95
"""Least distance of two writes as a share of the even one: near-even pacing keeps an urgent request's wait to one
step instead of half a window, and the rest lets a late start be caught up."""
LEAD_S: Final = 0.015
"""How long before its moment a request is granted: what building it and finding a connection takes on a busy loop."""
_THROTTLE_S: Final = (1.0, 60.0)


@dataclass(slots=True, eq=False)
class _Waiter:
    future: asyncio.Future[Grant]
    priority: Priority
    asked_at: float
    latest: float


class Budget:
    """Grants requests by class, within one in the order of their arrival.

    Args:
        epoch: lease epoch of this process, first part of every `seq`.
        requests_per_second: the limit in any sliding second.
        clock: injected for tests.
        account: whose budget it is; names its alerts.
        lease_holds: whether it is proven that this process may still speak to the vendor; asked at each write.
        alerts: told of bans and of a breaker that opened.
    """

    def __init__(
        self,
        epoch: int,
        requests_per_second: int = LIMIT,
        clock: Clock | None = None,
        *,
        account: str = "vendor",
        lease_holds: Callable[[], bool] = lambda: True,
        alerts: Alerts | None = None,
    ) -> None:
        self.epoch = epoch
        self.account = account
        self.limit = requests_per_second
        self.clock: Clock = clock or LoopClock()
        self.lease_holds = lease_holds
        self.breaker = Breaker(self.now)
        self.figures = Figures()
        self.throttles = dict.fromkeys(Priority, 0)
        self._alerts = alerts or LoggedAlerts()
        self._counter = 0
        self._places: list[Grant] = []
        self._waiting: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}
        self._paused_until = dict.fromkeys(Priority, float("-inf"))
        self._throttle = {priority: GrowingPause(*_THROTTLE_S, self.now) for priority in Priority}
        self._pause_reason = ""
        self._was_answered = False
        self._next_at = float("-inf")
        self._timer: Timer | None = None

    @property
    def last_seq(self) -> Seq:
        """The latest seq given out; counter 0 before the first one."""
        return make_seq(self.epoch, self._counter)

    @property
    def use(self) -> float:
        """Share of the budget used in the last 10 s, 0 to 1."""
        return sum(map(self.use_of, Priority))

    def use_of(self, priority: Priority) -> float:
        """The share that one class used."""
        return self.figures.requests(priority, self.now()) / (USE_SPAN_S * self.limit)

    @property
    def waiting(self) -> int:
        """Requests that wait for a grant."""
        return sum(map(self.depth, Priority))

    def depth(self, priority: Priority) -> int:
        """Requests of a class that wait for a grant."""
        return len(self._waiting[priority])

    def now(self) -> float:
        """The budget's clock, monotonic seconds."""
        return self.clock.time()

    def mark(self) -> Seq:
        """A seq of its own for something that is no reply: later than every grant so far, earlier than the next."""
        self._counter += 1
        return self.last_seq

    def paused(self) -> tuple[float, str] | None:
        """Seconds left of the longest pause and its reason, or none."""
        left_s = max(self._paused_until.values()) - self.now()
        if self.breaker.left_s > max(0.0, left_s):
            return self.breaker.left_s, self.breaker.reason
        return (left_s, self._pause_reason) if left_s > 0 else None

    def holds_back(self) -> str | None:
        """Why whoever waits here must wait, or none: a pause, or the others before them while grants are given out."""
        if pause := self.paused():
            return f"paused for {pause[0]:.0f} s: {pause[1]}"
        if self.waiting and self.now() - self._next_at < WINDOW_S:
            return f"{self.waiting} requests wait for their turn"
        return None

    async def grant(self, priority: Priority, within_s: float | None = None) -> Grant:
        """Wait for the right to write one request.

        Args:
            priority: its class.
            within_s: how long it may wait; for ever when left out.

        Raises:
            TooLate: its turn would come later than that. Said at entry, or the moment a pause makes it so.
        """
        now = self.now()
        waiter = _Waiter(
            asyncio.get_running_loop().create_future(),
            priority,
            now,
            NEVER if within_s is None else now + within_s,
        )
        self._refuse_late(waiter, self._waiting_before(priority))
        if not waiter.future.done():
            self._waiting[priority].append(waiter)
            self._dispatch()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def pause(self, after_s: float, reason: str, priority: Priority) -> None:
        """Grant nothing to a class for `after_s` seconds; the longest pause counts."""
        self._paused_until[priority] = max(self._paused_until[priority], self.now() + after_s)
        self._pause_reason = reason
        log.warning("budget.paused", after_s=after_s, reason=reason, only=priority.label)
        self._reconsider()

    def wrote(self, grant: Grant) -> None:
        """A grant's request goes out now."""
        self.figures.wrote(grant.priority, grant.asked_at, self.now())

    def occupy(self, grant: Grant, free_at: float) -> None:
        """A grant's place is free at this time, or at the earlier one already known."""
        if free_at < grant.free_at:
            grant.free_at = free_at
            self._dispatch()

    def release(self, grant: Grant) -> None:
        """A grant's place is free: nothing was written under it."""
        self.breaker.withdrawn(grant)
        if grant in self._places:
            self._places.remove(grant)
        self._dispatch()

    def succeeded(self, grant: Grant) -> None:
        """A request was answered."""
        self._throttle[grant.priority].over()
        self._answered(grant)

    def _answered(self, grant: Grant) -> None:
        closed = self.breaker.succeeded(grant)
        if closed or not self._was_answered:
            # The first answer ends what a former process told of, too: its breaker died with it.
            self._was_answered = True
            for kind in (Kind.VENDOR_STOPPED, Kind.VENDOR_DOWN):
                self._alerts.resolved(kind, self.account)
        if closed:
            log.info("budget.breaker_closed", account=self.account)
            self._dispatch()

    def failed(self, grant: Grant, cause: str) -> None:
        """A request was not answered, or with trouble."""
        if self.breaker.failed(grant, cause):
            self._opened(Kind.VENDOR_DOWN, cause)

    def throttled(self, grant: Grant, asked_s: float | None, cause: str) -> float:
        """The vendor wants fewer requests of this class: seconds of the pause that begins now."""
        self.throttles[grant.priority] += 1
        # An answer all the same: the vendor is there.
        self._answered(grant)
        after_s = asked_s or self._throttle[grant.priority].next_s()
        self.pause(after_s, cause, grant.priority)
        return after_s

    def banned(self, grant: Grant, cause: str) -> float:
        """The vendor's firewall turned a request away: seconds for which nobody may send."""
        if self.breaker.banned(grant, cause):
            self._opened(Kind.VENDOR_STOPPED, cause)
        return self.breaker.left_s

    def _opened(self, kind: Kind, cause: str) -> None:
        text = f"{cause}; nothing is sent for {self.breaker.left_s:.0f} s, then one request tries"
        log.warning("budget.breaker_opened", account=self.account, after_s=self.breaker.left_s, reason=cause)
        self._alerts.raised(kind, self.account, text)
        self._reconsider()

    def _reconsider(self) -> None:
        """After a pause began: whoever would wait in vain is told now."""
        before = 0
        for queue in self._waiting.values():
            for waiter in [*queue]:
                self._refuse_late(waiter, before)
                if waiter.future.done():
                    queue.remove(waiter)
                else:
                    before += 1
        self._dispatch()

    def _waiting_before(self, priority: Priority) -> int:
        return sum(len(queue) for other, queue in self._waiting.items() if other <= priority)

    def _refuse_late(self, waiter: _Waiter, before: int) -> None:
        if waiter.latest == NEVER or waiter.future.done():
            return
        # The probe of a half-open breaker may be answered any moment, or never: nothing is known then.
        start = max(self.now(), self._room_at(), self._paused_until[waiter.priority])
        if self.breaker.ready_at < NEVER:
            start = max(start, self.breaker.ready_at)
        turn = start + before * WINDOW_S / self.limit
        if turn > waiter.latest:
            reason = self.paused()
            cause = reason[1] if reason else f"{before} requests wait before it"
            waiter.future.set_exception(TooLate(cause, max(1.0, turn - waiter.latest)))

    def _room_at(self) -> float:
        """When there is a place and the pace allows another write."""
        now = self.now()
        self._places = [grant for grant in self._places if grant.free_at > now]
        if len(self._places) < self.limit:
            return self._next_at
        # One that is not written yet will take its second from about now.
        return max(self._next_at, min(min(grant.free_at for grant in self._places), now + WINDOW_S))

    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter.future.done() and not waiter.future.cancelled():
            if waiter.future.exception() is None:
                waiter.future.result().close()
        elif waiter in self._waiting[waiter.priority]:
            self._waiting[waiter.priority].remove(waiter)
            self._dispatch()

    def _dispatch(self) -> None:
        """Grant what may be granted now; set the timer for the next one."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while (chosen := self._next()) is not None:
            priority, at = chosen
            wait_s = at - LEAD_S - self.now()
            if wait_s > 0:
                if wait_s < NEVER:
                    self._timer = self.clock.call_later(wait_s, self._dispatch)
                return
            self._grant(priority, at)

    def _next(self) -> tuple[Priority, float] | None:
        """The class to be granted next and when its request may be written; endless when a report is needed first."""
        classes = [priority for priority in Priority if self._waits(priority)]
        if not classes:
            return None
        now = self.now()
        self._places = [grant for grant in self._places if grant.free_at > now]
        full = len(self._places) >= self.limit
        room_at = min(grant.free_at for grant in self._places) if full else now
        base = max(now, room_at, self._next_at, self.breaker.ready_at)
        return min(
            ((priority, max(base, self._paused_until[priority])) for priority in classes),
            key=lambda chosen: (chosen[1], chosen[0]),
        )

    def _waits(self, priority: Priority) -> bool:
        queue = self._waiting[priority]
        while queue and queue[0].future.done():
            queue.popleft()
        return bool(queue)

    def _grant(self, priority: Priority, at: float) -> None:
        waiter = self._waiting[priority].popleft()
        grant = Grant(self, self.mark(), priority, waiter.asked_at, at)
        if len(self._places) >= self.limit:
            # Its request is written when the oldest place is free: it takes that one's.
            self._places.remove(min(self._places, key=lambda place: place.free_at))
        self._places.append(grant)
        self.breaker.granted(grant)
        self._next_at = at + PACE * WINDOW_S / self.limit
        waiter.future.set_result(grant)
