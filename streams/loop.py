"""The owner's one loop: batches of fresh facts, records read again, and background work, one thing at a time.

Whatever is taken is decided, produced and delivered before anything else is: only then may its facts be acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import structlog

from runtime import tracing
from streams import figures
from streams.app import leave_unread
from streams.background import Background
from streams.delivery import Delivery
from streams.gate import Gate
from streams.known import Known
from streams.membership import Membership
from streams.motion import Motion
from streams.outbox import Outbox
from streams.pace import Pace
from streams.pricing.engine import PriceBook
from streams.worker import RawRecord, Worker

log = structlog.stdlib.get_logger(__name__)

FEED_STONES: Final = 400
"""Stones decided before they are produced: few enough to stay in the caches, many enough to be worth a turn."""
_TURNS_A_PAGE: Final = 2
"""Faust hands a page over in a turn of the event loop: with these the next batch is there when one ends."""
_WAIT_S: Final = 0.02
_IDLE_S: Final = 0.1
_QUIET_S: Final = 0.5
_LOTS: Final = 8


class Loop:
    """One at a time, what fills an outbox; each is delivered before the next begins.

    Args:
        known: what the worker knows.
        member: what the group has given to it.
        gate: what of that it must leave unread.
        worker: turns facts into records.
        background: what is done while no fact waits.
        delivery: sends the records.
        pace: whether the readers of the canonical topic keep up.

    Attributes:
        turn: held by whoever works; with it in hand nothing is half delivered.
        motion: whether there is progress where something waits.
    """

    def __init__(
        self,
        known: Known,
        member: Membership,
        gate: Gate,
        worker: Worker,
        background: Background,
        delivery: Delivery,
        pace: Pace,
    ) -> None:
        self._known = known
        self._member = member
        self._gate = gate
        self._worker = worker
        self._background = background
        self._delivery = delivery
        self._pace = pace
        self.turn = asyncio.Lock()
        self.motion = Motion()
        self._assigned_anew = True
        self._busy_at = 0.0

    def assigned(self) -> None:
        """The group gave or took partitions: what a former owner wrote is read before anything else is decided."""
        # Only a flag: what runs in the group's call is no barrier, and a long wait in it would cost the membership.
        self._assigned_anew = True

    async def batch(self, messages: Sequence[Any]) -> None:
        """Take what Faust has brought; delivered when this returns.

        Raises:
            DeliveryFailed: not all of it is.
        """
        async with self.turn:
            await self._catch_up()
            out = Outbox()
            told = tracing.traceparents(message.headers for message in messages)
            with tracing.batch_span("process.batch", told, pages=len(messages)) as traces:
                await self._decide(messages, out, traces)
                await self._delivery.send(out)
        self._busy_at = time.monotonic()
        self.motion.moved()
        for (feed, outcome), count in out.outcomes.items():
            figures.ITEMS.labels(feed, outcome).inc(count)

    async def _decide(self, messages: Sequence[Any], out: Outbox, traces: dict[bytes, bytes]) -> None:
        book = self._known.book
        now_ms = int(time.time() * 1000)
        for message in messages:
            if not self._gate.lets_pass(message.partition):
                leave_unread(self._member.app, message)
                continue
            self._take(_raw_record(message), book, now_ms, out, traces)
            self._member.took(message.partition, message.offset)
            if out.last is not None:
                self._gate.count(*out.last, message.offset)
                out.last = None
            if out.unfed >= FEED_STONES:
                await self._delivery.feed(out)
            for _ in range(_TURNS_A_PAGE):
                await asyncio.sleep(0)

    def _take(
        self, record: RawRecord, book: PriceBook, now_ms: int, out: Outbox, traces: dict[bytes, bytes]
    ) -> None:
        """Process a record; what comes of it carries its trace on, where that is followed."""
        told = traces.get(tracing.traceparent(record.headers) or b"") if traces else None
        if told is None:
            self._worker.take(record, book, now_ms, out)
            return
        out.settle()
        before = len(out.stones), len(out.dead)
        self._worker.take(record, book, now_ms, out)
        out.settle()
        out.carry(told, *before)

    async def reread(self, records: Sequence[RawRecord]) -> dict[str, int]:
        """Take records behind fresh facts, in one slice; their outcomes by name."""
        while not self._readers_keep_up():
            self._known.raise_failure()
            await asyncio.sleep(_WAIT_S)
        async with self.turn:
            # No fresh fact may come for hours; what the former owner wrote is waited for here as well.
            await self._catch_up()
            out, now_ms = Outbox(), int(time.time() * 1000)
            told = tracing.traceparents(record.headers for record in records)
            with tracing.batch_span("process.reread", told, pages=len(records)) as traces:
                for record in records:
                    self._take(record, self._known.book, now_ms, out, traces)
                    if out.unfed >= FEED_STONES:
                        await self._delivery.feed(out)
                await self._delivery.send(out)
        totals = Counter[str]()
        for (_feed, outcome), count in out.outcomes.items():
            totals[outcome.value] += count
        return dict(totals)

    async def _catch_up(self) -> None:
        """After an assignment: wait until the tail has read all that the former owner wrote."""
        while self._assigned_anew:
            self._assigned_anew = False
            self._known.own.forget()
            ends = await asyncio.to_thread(self._member.begin_anew, self._known.positions)
            seen: dict[int, int] = {}
            while any(self._known.positions.get(slot, 0) < end for slot, end in ends.items()):
                self._known.raise_failure()
                if seen != (seen := self._known.positions):
                    self.motion.moved()
                await asyncio.sleep(_WAIT_S)
            log.info("process.owns", feeds=self._member.feeds())

    async def in_background(self) -> None:
        """Write repairs and re-priced stones while no fact waits, until cancelled."""
        while True:
            wrote = await self._slice()
            read = await self._try_rules()
            if not (wrote or read):
                await self._background.tidy()
            await asyncio.sleep(0 if wrote or read else _WAIT_S if self._background.todo else _IDLE_S)

    async def _slice(self) -> bool:
        async with self.turn:
            if self._assigned_anew and not self._member.slots():
                return False
            await self._catch_up()
            out, now_ms, lots = Outbox(), int(time.time() * 1000), 0
            while lots < _LOTS and self._background.fill(
                self._member.feeds(), now_ms, out, self._may_reprice
            ):
                await self._delivery.feed(out)
                lots += 1
            await self._delivery.send(out)
            return lots > 0

    def _may_reprice(self) -> bool:
        tried = self._background.has_tried(self._known.book.number, self._member.feeds())
        return tried and self._readers_keep_up()

    def _readers_keep_up(self) -> bool:
        return self._pace.may_write(self._known.own.ends())

    async def _try_rules(self) -> bool:
        """Try a new rule set on the stones, or make ready for the next one; whether there is more of that to do."""
        published = self._known.rules.published
        if published is None or published.number != self._known.book.number or self._assigned_anew:
            return False
        quiet = time.monotonic() - self._busy_at > _QUIET_S
        return await self._background.try_rules(published, self._member.feeds(), quiet=quiet)


def _raw_record(message: Any) -> RawRecord:
    headers = message.headers
    pairs = headers.items() if isinstance(headers, dict) else headers or ()
    return RawRecord(
        message.partition,
        message.offset,
        message.key or b"",
        message.value or b"",
        list(pairs),
        int(message.timestamp),
    )
