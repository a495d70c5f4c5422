"""`adamas process`: one loop that owns feeds. Facts in, priced stones out, each delivered before its page is acknowledged.

Nothing of a batch is acknowledged before everything that was made of it is delivered: a failure leaves the process on the
spot, and a cancelled batch is finished first. Meanwhile the next batch is gathered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog
import uvloop

from runtime import tracing
from runtime.bulk_producer import BulkProducer
from runtime.health import Aspect, Check, Health, serve_health
from runtime.heap import give_back, keep_for_the_next_batch, spare_the_collector
from runtime.job_runner import JobRunner
from runtime.postgres import Database
from runtime.settings import DataSettings, KafkaSettings, Settings
from runtime.shutdown import Shutdown
from runtime.stretches import Stretches
from runtime.tail import Tail
from schemas.errors import Fatal
from streams import figures
from streams.app import GROUP, leave_unread, make_app, raw_topic
from streams.background import Background
from streams.beginning import settle_beginning
from streams.delivery import Delivery, DeliveryFailed, TopicNames
from streams.gate import Gate
from streams.lots import warm_up
from streams.membership import Membership
from streams.memory import Memory
from streams.motion import Motion
from streams.normalise import normalisers
from streams.outbox import Outbox
from streams.pace import Pace
from streams.pricing import PriceBook
from streams.receipts import Receipted
from streams.repricing import KIND as REPRICE
from streams.repricing import Repricing
from streams.rereading import KIND as REREAD
from streams.rereading import Rereading
from streams.rules import RuleHead
from streams.tried import Tried
from streams.worker import RawRecord, Worker

log = structlog.stdlib.get_logger(__name__)

SETTINGS: Final = (DataSettings,)

BATCH_PAGES: Final = 64
BATCH_WITHIN_S: Final = 0.05
FEED_STONES: Final = 400
"""Stones decided before they are produced: few enough to stay in the caches, many enough to be worth a turn."""
_TURNS_A_PAGE: Final = 2
"""Faust hands a page over in a turn of the event loop: with these the next batch is there when one ends."""
EXIT_UNDELIVERED: Final = 71
_LINGER_MS: Final = 50
"""A request costs the broker as much as a hundred records; the last ones of a batch do not linger (see `Delivery`)."""
GRACE_S: Final = 12.0
_STALLED_S: Final = 60.0
_WAIT_S: Final = 0.02
_WATCH_S: Final = 0.25
_IDLE_S: Final = 0.1
_QUIET_S: Final = 0.5
_READ_STONES: Final = 2_000
_LOTS: Final = 8
_TIDY_EVERY_S: Final = 30.0
_LOOK_AGAIN_S: Final = 1.0


def run(settings: Settings) -> None:
    """Own feeds until told to stop. Returns after a clean stop; raises `Fatal` where going on would break a promise."""
    keep_for_the_next_batch()
    folder = settings[DataSettings].dir / "process"
    folder.mkdir(parents=True, exist_ok=True)
    health = Health()
    database = Database(settings.postgres.dsn.get_secret_value(), "adamas-process")
    process = Process(settings.kafka, database, folder=folder)
    process.add_probes(health)
    # By policy, because Faust fetches in a thread with a loop that it makes itself.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    with Shutdown(GRACE_S) as shutdown, serve_health(settings.health, health):
        asyncio.run(process.serve(shutdown))


class Process:
    """One worker of the group.

    Args:
        kafka: where Kafka is.
        database: where operators leave orders (pauses, replays); the work itself needs none.
        folder: where the records' bytes are kept; the system's temporary folder without one.
        topics: the topics' names.
        group: the consumer group's name.
        producer_overrides: librdkafka properties for the one producer.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        database: Database | None = None,
        *,
        folder: Path | None = None,
        topics: TopicNames | None = None,
        group: str = GROUP,
        **producer_overrides: Any,
    ) -> None:
        self.topics = topics or TopicNames()
        self._kafka = kafka
        self._group = group
        self._member = Membership(kafka, group, self.topics)
        self._folder = folder
        self.memory = Memory(folder)
        self._own = Stretches()
        self._pace = Pace(kafka, self.topics.canonical)
        self.tail = Tail(kafka, self.topics.canonical, self.memory.apply, own=self._own)
        self.rules = RuleHead(kafka, self.topics.rulesets)
        self.receipted = Receipted(kafka, self.topics.receipts)
        self._normalisers = normalisers()
        self.worker = Worker(self.memory, self._normalisers, receipted=self.receipted)
        self._tried = Tried(self.memory)
        self._background = Background(self.memory, self.worker, self._tried)
        self._tried_for: tuple[int, list[str]] = (0, [])
        self._look_again_at = 0.0
        self._busy_at = 0.0
        self._tidy_at = 0.0
        sender = BulkProducer(kafka, **{"linger_ms": _LINGER_MS} | producer_overrides)
        self.delivery = Delivery(sender, self.topics, self.memory, self._own)
        self._database = database
        self._repricing = (
            Repricing(database, self._member.feeds, self._head, self._background.left)
            if database is not None
            else None
        )
        self.gate = Gate(database, group)
        self._one_at_a_time = asyncio.Lock()
        self._assigned_anew = True
        self._beat = time.monotonic()
        self._motion = Motion()

    async def serve(self, shutdown: Shutdown) -> None:
        """Load the memory, join the group, and work until a stop is requested."""
        stop = shutdown.as_asyncio_event()
        tails = (self.tail, self.rules.tail, self.receipted.tail)
        for tail in tails:
            tail.start()
        watching = asyncio.create_task(self.gate.serve())
        self._pace.start()
        try:
            await asyncio.to_thread(self._warm_up)
            await self._until_ready(stop)
            await asyncio.to_thread(self._settle_beginning)
            spare_the_collector()
            while not stop.is_set():
                if self.gate.paused() is None:
                    await self._work(stop)
                else:
                    self._raise_failures()
                    await asyncio.sleep(_WATCH_S)
        finally:
            watching.cancel()
            for tail in tails:
                await asyncio.to_thread(tail.stop)
            await asyncio.to_thread(self._pace.stop)
            if self._database is not None:
                await self._database.close()
        log.info("process.stopped", stones=len(self.memory))

    async def _until_ready(self, stop: asyncio.Event) -> None:
        """Nothing is taken from the group before the memory is whole and there are rules: a batch never waits long."""
        while not stop.is_set() and not (self._tails_caught_up() and self.rules.book):
            self._raise_failures()
            await asyncio.sleep(_WAIT_S)
        log.info("process.loaded", stones=len(self.memory), repairs=len(self.memory.repairs))

    def _warm_up(self) -> None:
        """Have the kernels ready before the first page: compiling them anew takes seconds."""
        warm_up()
        for normaliser in self._normalisers.values():
            if normaliser.transcriber is not None:
                normaliser.transcriber.transcribe([], [])

    def _settle_beginning(self) -> None:
        # The raw log has the canonical topic's partitions.
        slots = self.tail.positions
        settle_beginning(self._kafka, self._group, self.topics.raw, self.topics.canonical, slots)

    def _tails_caught_up(self) -> bool:
        return self.tail.caught_up and self.rules.tail.caught_up and self.receipted.tail.caught_up

    def _raise_failures(self) -> None:
        for tail in (self.tail, self.rules.tail, self.receipted.tail):
            if tail.failure is not None:
                raise Fatal(f"reading stopped: {tail.failure}") from tail.failure

    async def _work(self, stop: asyncio.Event) -> None:
        """Be a member of the group until a stop is requested, or the gate wants another membership or none."""
        self.gate.joined()
        app = self._member.app = make_app(self._kafka, self._group, self._folder)
        app.agent(raw_topic(app, self.topics), concurrency=1, name="facts")(self.agent)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        await app.start()
        background = [asyncio.create_task(work) for work in (self._in_background(), self._do_jobs())]
        try:
            while not (stop.is_set() or self.gate.must_leave()):
                self._watch(background)
                await asyncio.sleep(_WATCH_S)
        finally:
            # Between two slices: a slice that is being delivered is finished first.
            async with self._one_at_a_time:
                for task in background:
                    task.cancel()
            await asyncio.wait(background)
            await app.stop()
            self._member.app = None

    async def _do_jobs(self) -> None:
        """Replays and re-pricing of the feeds that this worker owns."""
        if self._database is None or self._repricing is None:
            return
        rereading = Rereading(self._kafka, self.topics.raw, self._reread, self._member.feeds)
        handlers = {REREAD: rereading.run, REPRICE: self._repricing.run}
        runner = JobRunner(self._database, "process", handlers, self._member.feeds)
        await asyncio.gather(self._repricing.serve(), runner.serve())

    def _watch(self, background: list[asyncio.Task[None]]) -> None:
        self._beat = time.monotonic()
        self._raise_failures()
        if self._member.app.crashed:
            raise Fatal(f"the consumer crashed: {self._member.app.crash_reason!r}")
        for task in background:
            if task.done():
                task.result()
        self._show_figures()

    async def agent(self, stream: Any) -> None:
        """The loop that Faust runs: it gathers batches, and never more than one ahead of the one that is worked on."""
        gathered = asyncio.Queue[Any](1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._finish_all(stream, gathered))
            # Not `take_events`: it acknowledges whenever its body ends, also by an exception or a cancellation.
            async for events in stream.noack_take(BATCH_PAGES, within=BATCH_WITHIN_S):
                await gathered.put(events)

    async def _finish_all(self, stream: Any, gathered: asyncio.Queue[Any]) -> None:
        while True:
            await self._finish(stream, await gathered.get())

    async def _finish(self, stream: Any, events: Any) -> None:
        """Process a batch to its end and acknowledge it, cancelled or not, or leave the process."""
        work = asyncio.ensure_future(self._batch(events))
        cancelled = False
        while not work.done():
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError:
                cancelled = True
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if error is not None:
            self.leave(error)
        for event in events:
            await stream.ack(event)
        if cancelled:
            raise asyncio.CancelledError

    @staticmethod
    def leave(error: BaseException) -> NoReturn:
        """End the process before anything undelivered can be acknowledged."""
        if isinstance(error, DeliveryFailed):
            figures.DELIVERY_FAILURES.inc()
        log.error("process.left_before_ack", error=str(error), exc_info=error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_UNDELIVERED)

    async def _batch(self, events: Any) -> None:
        async with self._one_at_a_time:
            if self._assigned_anew:
                await self._catch_up()
            out, messages = Outbox(), [event.message for event in events]
            told = tracing.traceparents(message.headers for message in messages)
            with tracing.batch_span("process.batch", told, pages=len(messages)) as traces:
                await self._decide(messages, out, traces)
                await self.delivery.send(out)
        self._busy_at = time.monotonic()
        self._motion.moved()
        for (feed, outcome), count in out.outcomes.items():
            figures.ITEMS.labels(feed, outcome).inc(count)

    async def _decide(self, messages: list[Any], out: Outbox, traces: dict[bytes, bytes]) -> None:
        book = self._book()
        now_ms = int(time.time() * 1000)
        for message in messages:
            if not self.gate.lets_pass(message.partition):
                leave_unread(self._member.app, message)
                continue
            self._take(_raw_record(message), book, now_ms, out, traces)
            self._member.took(message.partition, message.offset)
            if out.last is not None:
                self.gate.count(*out.last, message.offset)
                out.last = None
            if out.unfed >= FEED_STONES:
                await self.delivery.feed(out)
            for _ in range(_TURNS_A_PAGE):
                await asyncio.sleep(0)

    def _take(
        self, record: RawRecord, book: PriceBook, now_ms: int, out: Outbox, traces: dict[bytes, bytes]
    ) -> None:
        """Process a record; what comes of it carries its trace on, where that is followed."""
        told = traces.get(tracing.traceparent(record.headers) or b"") if traces else None
        if told is None:
            self.worker.take(record, book, now_ms, out)
            return
        out.settle()
        before = len(out.stones), len(out.dead)
        self.worker.take(record, book, now_ms, out)
        out.settle()
        out.carry(told, *before)

    async def _reread(self, records: Sequence[RawRecord]) -> dict[str, int]:
        """Take records behind fresh facts, in one slice; their outcomes by name."""
        while not self._readers_keep_up():
            self._raise_failures()
            await asyncio.sleep(_WAIT_S)
        async with self._one_at_a_time:
            if self._assigned_anew:
                # No fresh fact may come for hours; what the former owner wrote is waited for here as well.
                await self._catch_up()
            out, now_ms = Outbox(), int(time.time() * 1000)
            told = tracing.traceparents(record.headers for record in records)
            with tracing.batch_span("process.reread", told, pages=len(records)) as traces:
                for record in records:
                    self._take(record, self._book(), now_ms, out, traces)
                    if out.unfed >= FEED_STONES:
                        await self.delivery.feed(out)
                await self.delivery.send(out)
        totals = Counter[str]()
        for (_feed, outcome), count in out.outcomes.items():
            totals[outcome.value] += count
        return dict(totals)

    def _book(self) -> PriceBook:
        if self.rules.book is None:
            raise Fatal("there is no rule set to price under")
        return self.rules.book

    async def _on_assigned(self, *_args: Any, **_kwargs: Any) -> None:
        # Only a flag: what runs here is no barrier, and a long wait in it would cost the membership.
        self._assigned_anew = True

    async def _catch_up(self) -> None:
        """After an assignment: wait until the tail has read all that the former owner wrote."""
        self._assigned_anew = False
        self._own.forget()
        ends = await asyncio.to_thread(self._member.begin_anew, self.tail.positions)
        seen: dict[int, int] = {}
        while any(self.tail.positions.get(slot, 0) < end for slot, end in ends.items()):
            self._raise_failures()
            if seen != (seen := self.tail.positions):
                self._motion.moved()
            await asyncio.sleep(_WAIT_S)
        log.info("process.owns", feeds=self._member.feeds())

    async def _in_background(self) -> None:
        while True:
            wrote = await self._slice()
            read = await self._try_rules()
            if not (wrote or read):
                await self._tidy()
            await asyncio.sleep(0 if wrote or read else _WAIT_S if self._background.todo else _IDLE_S)

    async def _tidy(self) -> None:
        """Now and then, while nothing else is to do, give back what a flood of pages took."""
        if time.monotonic() > self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_EVERY_S
            await asyncio.to_thread(give_back)

    async def _slice(self) -> bool:
        async with self._one_at_a_time:
            if self._assigned_anew:
                if not self._member.slots():
                    return False
                await self._catch_up()
            out, now_ms, lots = Outbox(), int(time.time() * 1000), 0
            while lots < _LOTS and self._background.fill(
                self._member.feeds(), now_ms, out, self._may_reprice
            ):
                await self.delivery.feed(out)
                lots += 1
            await self.delivery.send(out)
            return lots > 0

    def _may_reprice(self, feed: str) -> bool:
        if self._repricing is not None and self._repricing.stopped(feed, self._book().number):
            return False
        return self._tried_for == self._to_try() and self._readers_keep_up()

    def _readers_keep_up(self) -> bool:
        return self._pace.may_write(self._own.ends())

    def _head(self) -> tuple[int, str]:
        published = self.rules.published
        return (published.number, published.actor) if published else (0, "")

    def _to_try(self) -> tuple[int, list[str]]:
        return self._book().number, self._member.feeds()

    async def _try_rules(self) -> bool:
        """Read a lot of stones into the columns, or try a new rule set on all of them; whether there was any to read.

        Beside the facts, not between them: only where none came lately, or a new number waits.
        """
        published, to_try = self.rules.published, self._to_try()
        if published is None or published.number != to_try[0] or self._assigned_anew:
            return False
        tried = self._tried_for == to_try
        if tried and (self._background.todo or time.monotonic() - self._busy_at < _QUIET_S):
            return False
        left = await asyncio.to_thread(self._tried.read, published, to_try[1], _READ_STONES)
        figures.REPRICE_UNREAD.set(left)
        if not left and (not tried or self._some_wait(to_try)):
            same = await asyncio.to_thread(self._tried.look, published)
            log.info("process.rules_tried", number=published.number, same=same, others=self._background.todo)
            self._tried_for = to_try
            self._show_figures()
        return left > 0

    def _some_wait(self, to_try: tuple[int, list[str]]) -> bool:
        """Whether stones were left, or have come since, that nobody tried the number on."""
        if time.monotonic() < self._look_again_at:
            return False
        self._look_again_at = time.monotonic() + _LOOK_AGAIN_S
        number, feeds = to_try
        return any(
            self._background.left(feed, number)
            for feed in feeds
            if self._repricing is None or not self._repricing.stopped(feed, number)
        )

    def _show_figures(self) -> None:
        figures.KNOWN_STONES.set(len(self.memory))
        number = self._book().number
        figures.RULES_VERSION.set(number)
        figures.REPRICE_LEFT.set(sum(self._background.left(feed, number) for feed in self._member.feeds()))
        lags = {slot: self._member.lag(slot) for slot in self._member.slots()}
        figures.LAG.set(sum(lags.values()))
        self._motion.waits(sum(lag for slot, lag in lags.items() if not self.gate.stops(slot)))
        for feed, normaliser in self._normalisers.items():
            for field, count in normaliser.unknown.totals().items():
                figures.UNKNOWN_VALUES.labels(feed, field).set(count)

    def add_probes(self, health: Health) -> None:
        """Startup and ready: the memory is whole and there are rules. Live: the loop turns and moves what waits."""
        health.add("memory", self._memory_probe, (Aspect.STARTUP, Aspect.READY))
        health.add("rules", self._rules_probe, (Aspect.STARTUP, Aspect.READY))
        health.add("loop", self._loop_probe, (Aspect.LIVE,))
        health.add("gate", self.gate.check, (Aspect.LIVE, Aspect.READY))

    def _memory_probe(self) -> Check:
        return Check(
            self.tail.caught_up, {"progress": round(self.tail.progress, 3), "stones": len(self.memory)}
        )

    def _rules_probe(self) -> Check:
        book = self.rules.book
        return Check(book is not None, {"number": book.number} if book else "waiting for a rule set")

    def _loop_probe(self) -> Check:
        silent_s, still_s = time.monotonic() - self._beat, self._motion.still_s
        waiting = self._member.app is None
        return Check(
            self.tail.failure is None and (waiting or max(silent_s, still_s) < _STALLED_S),
            {"silent_s": round(silent_s, 1), "still_s": round(still_s, 1)},
        )


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
