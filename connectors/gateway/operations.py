"""The operations themselves: ask the vendor within the budget, and see to it that the log learns what was learned.

A fact about a stone is always the whole item. Before something is asked to change, the log says that the stone is
withdrawn (`Kind.WITHDRAW`), under the seq of that very request; after the reply the stone is read by its id under a seq
granted later, and that item goes into the log. So whatever fails or dies in between, the stone is not for sale until
somebody has really seen it: that read is tried until it succeeds, also when the caller has long gone, and should this
process die, by the next one that takes the lease (`take_up`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

import msgspec
import structlog

from connectors.budget import Budget, Grant, Priority, StaleGrant, TooLate
from connectors.feeds.protocol import Ambiguous, Feed, Gone, NotLoggedIn, Refused, Sighting, Slice
from connectors.feeds.registry import Account
from connectors.gateway.deadline import Deadline
from connectors.publisher import Log
from schemas.errors import Invalid, Retriable
from schemas.facts import GONE, FactHeaders, Kind, Withdraw
from schemas.gateway import Held, Ordered, Seen
from schemas.seq import Seq, epoch_of
from schemas.stone import Availability

log = structlog.stdlib.get_logger(__name__)

ResultT = TypeVar("ResultT")
Reading: TypeAlias = "asyncio.Task[tuple[Sighting | None, Seq]]"
"""A stone being read: what the vendor has, and the seq of that fact."""

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Line:
    """A feed and the budget it spends."""

    feed: Feed
    budget: Budget


@dataclass(slots=True)
class Call:
    """One caller's call.

    Attributes:
        deadline: of the whole call.
        wait_s: how long its first request waited for its turn; none before.
    """

    deadline: Deadline
    wait_s: float | None = None

    async def grant(self, line: Line) -> Grant:
        """The right to one request of the first class. Raises `TooLate` rather than wait in vain."""
        grant = await line.budget.grant(Priority.LIVE, self.deadline.left_s)
        if self.wait_s is None:
            self.wait_s = max(grant.not_before, line.budget.now()) - grant.asked_at
        return grant


class Gateway:
    """The operations of every account's feeds.

    Args:
        accounts: with their budgets.
        facts: where facts go.
    """

    def __init__(self, accounts: Sequence[Account], facts: Log) -> None:
        self._lines = {
            feed.name: Line(feed, account.budget) for account in accounts for feed in account.feeds
        }
        self._facts = facts
        self._reading: set[Reading] = set()

    def line(self, feed: str) -> Line:
        """A feed that is served. Raises `Invalid`."""
        if feed not in self._lines:
            raise Invalid("feed", f"must be one of {', '.join(self._lines)}", "unknown_feed")
        return self._lines[feed]

    async def count(self, line: Line, part: Slice, call: Call) -> int:
        """Stones in a slice, as the vendor counts."""

        async def count() -> int:
            with await call.grant(line) as grant:
                return await line.feed.count(part, grant)

        async with call.deadline.kept():
            return await self._asked(line, call, count)

    async def by_id(self, line: Line, stone: str, call: Call) -> Sighting:
        """A stone as the vendor has it; the log learns it too. Raises `Gone`."""
        async with call.deadline.kept():
            sighting, _ = await self._read(line, stone, call)
        if sighting is None:
            raise Gone(stone)
        return sighting

    async def availability(self, line: Line, stone: str, call: Call) -> Seen:
        """Whether a stone can be sold now; the log has the whole item by then."""
        async with call.deadline.kept():
            return _seen(line, stone, *await self._read(line, stone, call))

    async def hold(self, line: Line, stone: str, call: Call) -> Held:
        """Have a stone kept for us.

        Raises:
            Refused, Gone: it is not to be had.
            Retriable: the vendor gave no answer, and no hold was made.
            Ambiguous: nor is it known whether one was.
        """
        readings: list[Reading] = []
        try:
            held = await self._changed(
                line, [stone], "hold", call, readings, lambda grant: line.feed.hold(stone, grant)
            )
        except Ambiguous as error:
            return await self._hold_seen(line, stone, call, readings[0], error)
        (seen,) = await self._settled(line, [stone], call, readings)
        return Held(hold=held.id, until=held.until_ms, stone=seen)

    async def release(self, line: Line, stone: str, hold: str, call: Call) -> Seen:
        """End a hold; the stone as it is then."""
        readings: list[Reading] = []
        await self._changed(
            line, [stone], "release", call, readings, lambda grant: line.feed.release(hold, grant)
        )
        return (await self._settled(line, [stone], call, readings))[0]

    async def order(self, line: Line, stones: Sequence[str], reference: str, call: Call) -> Ordered:
        """Buy stones. An order that is `Ambiguous` is found again under its reference, by people, and never repeated."""
        readings: list[Reading] = []
        order = await self._changed(
            line, stones, "order", call, readings, lambda grant: line.feed.order(stones, reference, grant)
        )
        return Ordered(order=order, stones=await self._settled(line, stones, call, readings))

    def take_up(self, unread: Iterable[tuple[str, str]]) -> None:
        """Read stones (feed and vendor's id) that a former process withdrew and did not come to read; returns at once."""
        for feed, stone in unread:
            if feed in self._lines:
                log.info("gateway.takes_up", feed=feed, stone=stone)
                self._begin_reading(self._lines[feed], stone)

    async def drained(self) -> None:
        """Give reads that are under way a moment; what they do not manage stays withdrawn."""
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    async def _changed(
        self,
        line: Line,
        stones: Sequence[str],
        what: str,
        call: Call,
        readings: list[Reading],
        change: Callable[[Grant], Awaitable[ResultT]],
    ) -> ResultT:
        """Ask once for a change; whatever comes of it, the stones are read afterwards (`readings`)."""
        withdrawn = False
        try:
            async with call.deadline.kept():
                while True:
                    with await call.grant(line) as grant:
                        try:
                            for stone in stones:
                                await self._withdraw(line, stone, grant.seq, what)
                                withdrawn = True
                            return await change(grant)
                        except (StaleGrant, NotLoggedIn) as error:
                            # Nothing was changed: either nothing was sent, or the vendor did not know us.
                            log.info("gateway.asks_again", operation=what, cause=str(error))
        finally:
            if withdrawn:
                readings += [self._begin_reading(line, stone) for stone in stones]

    async def _settled(
        self, line: Line, stones: Sequence[str], call: Call, readings: Sequence[Reading]
    ) -> tuple[Seen, ...]:
        """The stones as they are after a change, as far as they could be read within the call's time."""
        await asyncio.wait(readings, timeout=call.deadline.left_s)
        return tuple(
            _seen(line, stone, *reading.result()) if reading.done() else _unread(line, stone)
            for stone, reading in zip(stones, readings, strict=True)
        )

    async def _hold_seen(
        self, line: Line, stone: str, call: Call, reading: Reading, error: Ambiguous
    ) -> Held:
        """After a hold without an answer: whether the stone is ours."""
        await asyncio.wait([reading], timeout=call.deadline.left_s)
        if not reading.done():
            raise error
        sighting, seq = reading.result()
        if sighting is None:
            raise Gone(stone)
        if sighting.hold is not None:
            return Held(hold=sighting.hold, stone=_seen(line, stone, sighting, seq))
        if sighting.availability is Availability.AVAILABLE:
            raise Retriable("the vendor gave no answer, and the stone is not held")
        raise Refused("the vendor gave no answer, and the stone is not free")

    def _begin_reading(self, line: Line, stone: str) -> Reading:
        task = asyncio.create_task(self._read_at_last(line, stone))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return task

    async def _read_at_last(self, line: Line, stone: str) -> tuple[Sighting | None, Seq]:
        call = Call(Deadline())
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self._read_once(line, stone, call)
            except (Retriable, Invalid) as error:
                log.warning("gateway.stone_unread", feed=line.feed.name, stone=stone, cause=str(error))
            await self._withdraw_again(line, stone)
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _withdraw_again(self, line: Line, stone: str) -> None:
        """A page that was granted after the change may have been read before it and have brought the stone back."""
        try:
            await self._withdraw(line, stone, line.budget.mark(), "unread")
        except Retriable as error:
            log.warning("gateway.not_withdrawn", feed=line.feed.name, stone=stone, cause=str(error))

    async def _read(self, line: Line, stone: str, call: Call) -> tuple[Sighting | None, Seq]:
        """A stone as the vendor has it now, in the log; nothing when it is gone."""

        return await self._asked(line, call, lambda: self._read_once(line, stone, call))

    async def _read_once(self, line: Line, stone: str, call: Call) -> tuple[Sighting | None, Seq]:
        with await call.grant(line) as grant:
            seq = grant.seq
            try:
                sighting = await line.feed.by_id(stone, grant)
            except Gone:
                sighting = None
        if sighting is None:
            await self._withdraw(line, stone, seq, GONE)
        else:
            await self._write(line, Kind.ITEM, seq, sighting.body, rows=1, stone=stone)
        return sighting, seq

    async def _asked(self, line: Line, call: Call, ask: Callable[[], Awaitable[ResultT]]) -> ResultT:
        """One answer to something that changes nothing, asked for until it comes or the deadline does."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except TooLate:
                raise
            except StaleGrant:
                continue
            except Retriable as error:
                log.warning("gateway.tries_again", feed=line.feed.name, cause=str(error))
            left_s = call.deadline.left_s
            if left_s is not None and left_s <= pause_s:
                raise Retriable("the vendor gives no answer that can be used")
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _withdraw(self, line: Line, stone: str, seq: Seq, reason: str) -> None:
        fact = Withdraw(feed=line.feed.name, stone=stone, reason=reason)
        await self._write(line, Kind.WITHDRAW, seq, msgspec.json.encode(fact))

    async def _write(
        self,
        line: Line,
        kind: Kind,
        seq: Seq,
        value: bytes,
        rows: int | None = None,
        stone: str | None = None,
    ) -> None:
        headers = FactHeaders(
            kind=kind,
            feed=line.feed.name,
            epoch=epoch_of(seq),
            seq=seq,
            schema=line.feed.schema,
            rows=rows,
            stone=stone,
        )
        await self._facts.publish(headers, value)


def _seen(line: Line, stone: str, sighting: Sighting | None, seq: Seq) -> Seen:
    return Seen(
        feed=line.feed.name,
        stone=stone,
        availability=Availability.UNAVAILABLE if sighting is None else sighting.availability,
        gone=sighting is None,
        seq=seq,
    )


def _unread(line: Line, stone: str) -> Seen:
    return Seen(feed=line.feed.name, stone=stone, availability=Availability.UNAVAILABLE, in_log=False)
