"""`adamas process`: one loop that owns feeds. Facts in, priced stones out, each delivered before its page is acknowledged.

Nothing of a batch is acknowledged before everything that was made of it is delivered: a failure leaves the process on the
spot, and a cancelled batch is finished first. Meanwhile the next batch is gathered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog
import uvloop

from runtime.bulk_producer import BulkProducer
from runtime.health import Aspect, Check, Health, serve_health
from runtime.heap import keep_for_the_next_batch, spare_the_collector
from runtime.job_runner import JobRunner
from runtime.postgres import Database
from runtime.settings import DataSettings, KafkaSettings, Settings
from runtime.shutdown import Shutdown
from schemas.errors import Fatal
from streams import figures
from streams.app import GROUP, make_app, raw_topic
from streams.background import Background
from streams.beginning import settle_beginning
from streams.delivery import Delivery, DeliveryFailed, TopicNames
from streams.gate import Gate
from streams.known import Known
from streams.loop import Loop
from streams.lots import warm_up
from streams.membership import Membership
from streams.normalise import normalisers
from streams.pace import Pace
from streams.repricing import KIND as REPRICE
from streams.repricing import Repricing
from streams.rereading import KIND as REREAD
from streams.rereading import Rereading
from streams.tried import Tried
from streams.worker import Worker

log = structlog.stdlib.get_logger(__name__)

SETTINGS: Final = (DataSettings,)

BATCH_PAGES: Final = 64
BATCH_WITHIN_S: Final = 0.05
EXIT_UNDELIVERED: Final = 71
_LINGER_MS: Final = 50
"""A request costs the broker as much as a hundred records; the last ones of a batch do not linger (see `Delivery`)."""
GRACE_S: Final = 12.0
_STALLED_S: Final = 60.0
_WAIT_S: Final = 0.02
_WATCH_S: Final = 0.25


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
        self._topics = topics or TopicNames()
        self._kafka = kafka
        self._group = group
        self._folder = folder
        self._database = database
        self._known = Known(kafka, self._topics, folder)
        self._member = Membership(kafka, group, self._topics)
        self._gate = Gate(database, group)
        self._pace = Pace(kafka, self._topics.canonical)
        self._normalisers = normalisers()
        worker = Worker(self._known.memory, self._normalisers, receipted=self._known.receipted)
        self._background = Background(self._known.memory, worker, Tried(self._known.memory))
        sender = BulkProducer(kafka, **{"linger_ms": _LINGER_MS} | producer_overrides)
        self.delivery = Delivery(sender, self._topics, self._known.memory, self._known.own)
        self._loop = Loop(
            self._known, self._member, self._gate, worker, self._background, self.delivery, self._pace
        )
        self._beat = time.monotonic()

    async def serve(self, shutdown: Shutdown) -> None:
        """Read what is to be known, join the group, and work until a stop is requested."""
        stop = shutdown.as_asyncio_event()
        self._known.start()
        watching = asyncio.create_task(self._gate.serve())
        self._pace.start()
        try:
            await asyncio.to_thread(self._warm_up)
            await self._until_ready(stop)
            await asyncio.to_thread(self._settle_beginning)
            spare_the_collector()
            while not stop.is_set():
                if self._gate.paused() is None:
                    await self._work(stop)
                else:
                    self._known.raise_failure()
                    await asyncio.sleep(_WATCH_S)
        finally:
            watching.cancel()
            await asyncio.to_thread(self._known.stop)
            await asyncio.to_thread(self._pace.stop)
            if self._database is not None:
                await self._database.close()
        log.info("process.stopped", stones=len(self._known.memory))

    async def _until_ready(self, stop: asyncio.Event) -> None:
        """Nothing is taken from the group before the memory is whole and there are rules: a batch never waits long."""
        while not (stop.is_set() or self._known.is_whole):
            self._known.raise_failure()
            await asyncio.sleep(_WAIT_S)
        memory = self._known.memory
        log.info("process.loaded", stones=len(memory), repairs=len(memory.repairs))

    def _warm_up(self) -> None:
        """Have the kernels ready before the first page: compiling them anew takes seconds."""
        warm_up()
        for normaliser in self._normalisers.values():
            if normaliser.transcriber is not None:
                normaliser.transcriber.transcribe([], [])

    def _settle_beginning(self) -> None:
        # The raw log has the canonical topic's partitions.
        slots = self._known.positions
        settle_beginning(self._kafka, self._group, self._topics.raw, self._topics.canonical, slots)

    async def _work(self, stop: asyncio.Event) -> None:
        """Be a member of the group until a stop is requested, or the gate wants another membership or none."""
        self._gate.joined()
        app = self._member.app = make_app(self._kafka, self._group, self._folder)
        app.agent(raw_topic(app, self._topics), concurrency=1, name="facts")(self.agent)
        app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        await app.start()
        background = [asyncio.create_task(work) for work in (self._loop.in_background(), self._do_jobs())]
        try:
            while not (stop.is_set() or self._gate.must_leave()):
                self._watch(background)
                await asyncio.sleep(_WATCH_S)
        finally:
            # Between two slices: a slice that is being delivered is finished first.
            async with self._loop.turn:
                for task in background:
                    task.cancel()
            await asyncio.wait(background)
            await app.stop()
            self._member.app = None

    async def _on_assigned(self, *_args: Any, **_kwargs: Any) -> None:
        self._loop.assigned()

    async def _do_jobs(self) -> None:
        """Replays and re-pricing of the feeds that this worker owns."""
        if self._database is None:
            return
        owned = self._member.feeds
        left, cancel = self._background.left, self._background.cancel
        repricing = Repricing(self._database, owned, self._head, left, cancel)
        rereading = Rereading(self._kafka, self._topics.raw, self._loop.reread, owned)
        runner = JobRunner(self._database, "process", {REREAD: rereading.run, REPRICE: repricing.run}, owned)
        await asyncio.gather(repricing.serve(), runner.serve())

    def _head(self) -> tuple[int, str]:
        published = self._known.rules.published
        return (published.number, published.actor) if published else (0, "")

    def _watch(self, background: list[asyncio.Task[None]]) -> None:
        self._beat = time.monotonic()
        self._known.raise_failure()
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
        work = asyncio.ensure_future(self._loop.batch([event.message for event in events]))
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

    def _show_figures(self) -> None:
        figures.KNOWN_STONES.set(len(self._known.memory))
        number = self._known.book.number
        figures.RULES_VERSION.set(number)
        figures.REPRICE_LEFT.set(sum(self._background.left(feed, number) for feed in self._member.feeds()))
        lags = {slot: self._member.lag(slot) for slot in self._member.slots()}
        figures.LAG.set(sum(lags.values()))
        self._loop.motion.waits(sum(lag for slot, lag in lags.items() if not self._gate.stops(slot)))
        for feed, normaliser in self._normalisers.items():
            for field, count in normaliser.unknown.totals().items():
                figures.UNKNOWN_VALUES.labels(feed, field).set(count)

    def add_probes(self, health: Health) -> None:
        """Startup and ready: the memory is whole and there are rules. Live: the loop turns and moves what waits."""
        health.add("memory", self._known.check_memory, (Aspect.STARTUP, Aspect.READY))
        health.add("rules", self._known.check_rules, (Aspect.STARTUP, Aspect.READY))
        health.add("loop", self._loop_probe, (Aspect.LIVE,))
        health.add("gate", self._gate.check, (Aspect.LIVE, Aspect.READY))

    def _loop_probe(self) -> Check:
        silent_s, still_s = time.monotonic() - self._beat, self._loop.motion.still_s
        waiting = self._member.app is None
        return Check(
            self._known.is_read and (waiting or max(silent_s, still_s) < _STALLED_S),
            {"silent_s": round(silent_s, 1), "still_s": round(still_s, 1)},
        )
