"""The ingest process: take the lease, learn from the log what is unfinished, then keep every feed read."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import msgspec
import stamina
import structlog

from connectors.alerts import RecordedAlerts
from connectors.budget import MARGIN_S, WINDOW_S, Priority
from connectors.feeds.protocol import Feed
from connectors.feeds.registry import open_accounts
from connectors.ingest import metrics
from connectors.ingest.activity import BEAT_S, Activity
from connectors.ingest.asking import Asker
from connectors.ingest.history import History, read_history
from connectors.ingest.lease import PROOF_S, Holding, lease
from connectors.ingest.progress import RunProgress
from connectors.ingest.schedule import next_full_sweep
from connectors.ingest.sweep import FactWriter, Sweep, plan_run
from connectors.publisher import Publisher
from runtime.health import Aspect, Health, serve_health
from runtime.postgres import Database
from runtime.settings import Settings
from runtime.shutdown import Shutdown
from schemas.errors import Fatal, Invalid, Retriable
from schemas.facts import FactHeaders, Kind, Lease, RunKind
from schemas.feeds import FEEDS
from schemas.seq import make_seq
from schemas.topics import RAW

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 2.0
REFUSED_S: Final = 60.0
"""Pause of a feed whose questions the vendor refuses; the other feeds go on."""


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Needs the groups kafka, postgres, vendor and health.

    Raises:
        Fatal: the vendor refuses our login, or Kafka's producer cannot go on.
    """
    serve(settings, RAW.name)


def serve(settings: Settings, raw: str) -> None:
    """`run` on a raw log of another name."""
    # Its own log line a retry would only repeat ours.
    stamina.instrumentation.set_on_retry_hooks([])
    activity, health = Activity(), Health()
    health.add("ingest", activity.live, on=(Aspect.STARTUP, Aspect.LIVE, Aspect.READY))
    with Shutdown() as shutdown, serve_health(settings.health, health):
        asyncio.run(_until_stopped(settings, raw, activity, shutdown))


async def _until_stopped(settings: Settings, raw: str, activity: Activity, shutdown: Shutdown) -> None:
    stop = asyncio.create_task(shutdown.as_asyncio_event().wait())
    work = asyncio.create_task(_work(settings, raw, activity))
    await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stop, work):
        task.cancel()
    for result in await asyncio.gather(stop, work, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise _most_serious(result) from result


def _most_serious(error: BaseException) -> BaseException:
    """What a group of errors comes down to: `Fatal` says what to do, so it goes first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    fatal, _ = error.split(Fatal)
    return _most_serious((fatal or error).exceptions[0])


async def _work(settings: Settings, raw: str, activity: Activity) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_beat(activity))
        while True:
            try:
                await _hold_and_serve(settings, raw, activity)
            except* Retriable as errors:
                cause = str(_most_serious(errors))
                activity.waits("start", cause)
                log.warning("ingest.starts_anew", cause=cause)
                await asyncio.sleep(RETRY_S)


async def _beat(activity: Activity) -> None:
    while True:
        activity.beat()
        await asyncio.sleep(BEAT_S)


async def _hold_and_serve(settings: Settings, raw: str, activity: Activity) -> None:
    histories: dict[str, History] = {}

    def highest_epoch() -> int:
        for feed in FEEDS:
            histories[feed] = read_history(settings.kafka, feed, raw)
        return max(history.highest_epoch for history in histories.values())

    def standby(reason: str) -> None:
        activity.waits("start", reason)

    async with lease(settings.postgres, highest_epoch, standby) as holding:
        taken_at = time.monotonic()
        with Publisher(settings.kafka, raw) as publisher:
            await _announce(publisher, holding)
            if holding.epoch > 1:
                await asyncio.sleep(taken_at + PROOF_S + WINDOW_S + MARGIN_S - time.monotonic())
            activity.done("start")
            try:
                await _serve(settings, activity, holding, publisher, histories)
            finally:
                activity.forget()


async def _announce(publisher: Publisher, holding: Holding) -> None:
    """A lease fact in every raw partition in use, before the first request: older epochs behind it do not count."""
    value = msgspec.json.encode(
        Lease(epoch=holding.epoch, holder=holding.holder, granted_at=int(time.time() * 1000))
    )
    for feed in FEEDS:
        headers = FactHeaders(kind=Kind.LEASE, feed=feed, epoch=holding.epoch, seq=make_seq(holding.epoch, 0))
        await publisher.publish(headers, value)


async def _serve(
    settings: Settings,
    activity: Activity,
    holding: Holding,
    publisher: Publisher,
    histories: dict[str, History],
) -> None:
    async with (
        Database(settings.postgres.dsn.get_secret_value(), "ingest", size=2) as database,
        open_accounts(
            settings.vendor, holding.epoch, holding.is_proven, alerts := RecordedAlerts(database)
        ) as accounts,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(holding.watch())
        tasks.create_task(alerts.keep_recording())
        activity.pauses_for(
            lambda: next(filter(None, (account.budget.paused() for account in accounts)), None)
        )
        for account in accounts:
            for feed in account.feeds:
                asker = Asker(feed.name, Priority.FULL, account.budget, activity)
                reader = FeedReader(FactWriter(feed, asker, publisher), activity, histories[feed.name])
                tasks.create_task(reader.run())


class FeedReader:
    """Keeps one feed read: the unfinished run first, then every scheduled one.

    Args:
        writer: of the feed's facts.
        activity: told what the feed waits for.
        history: what the log held when the lease was taken.
    """

    def __init__(self, writer: FactWriter, activity: Activity, history: History) -> None:
        self._writer = writer
        self._activity = activity
        self._feed: Feed = writer.feed
        self._last = history.plan
        self._open: RunProgress | None = None
        if history.plan and not history.complete:
            self._open = RunProgress(history.plan)
            self._open.replay(history.facts)

    async def run(self) -> None:
        """For ever.

        Raises:
            Fatal: nobody may go on.
        """
        metrics.RUN_ACTIVE.labels(self._feed.name).set(0)
        while True:
            if self._open is None and self._last is not None:
                await self._wait_until(next_full_sweep(self._last.watermark))
            try:
                await self._one_run()
            except* Invalid as refusals:
                await self._pause_refused(_most_serious(refusals))

    async def _one_run(self) -> None:
        metrics.RUN_ACTIVE.labels(self._feed.name).set(1)
        if self._open is None:
            self._open = await plan_run(self._writer, RunKind.FULL)
        else:
            # The vendor's ways were found out by a process that is gone.
            await self._writer.asker.until_done(lambda: self._feed.prepare(self._writer.asker.priority))
            log.info(
                "ingest.run_resumed", run=self._open.plan.run, feed=self._feed.name, pages=self._open.pages
            )
        metrics.EXPECTED.labels(self._feed.name).set(self._open.plan.counted)
        await Sweep(self._writer, self._open).run()
        self._last, self._open = self._open.plan, None
        metrics.RUN_ACTIVE.labels(self._feed.name).set(0)

    async def _wait_until(self, due: datetime) -> None:
        self._activity.waits(self._feed.name, f"next full sweep at {due.isoformat()}")
        # In steps: the machine may sleep, and its clock may be set.
        while (left_s := (due - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left_s, 30))

    async def _pause_refused(self, error: BaseException) -> None:
        log.error("ingest.feed_refused", feed=self._feed.name, cause=str(error))
        self._activity.waits(self._feed.name, f"asks again in {REFUSED_S:g} s: {error}")
        await asyncio.sleep(REFUSED_S)
