"""The ingest process: take the lease, learn from the log what is unfinished, then keep every feed read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec
import stamina
import structlog

from connectors.alerts import Alerts, recorded_alerts
from connectors.budget import MARGIN_S, WINDOW_S, Priority
from connectors.feeds.registry import open_accounts
from connectors.gateway import Gateway, gateway_app
from connectors.ingest.activity import BEAT_S, Activity
from connectors.ingest.asking import Asker
from connectors.ingest.canary import Canary
from connectors.ingest.history import highest_epoch
from connectors.ingest.lane import FeedRetirer, Lane
from connectors.ingest.lease import PROOF_S, Holding, lease
from connectors.ingest.orders import Orders
from connectors.ingest.scheduler import Scheduler
from connectors.ingest.sweep import FactWriter
from connectors.publisher import Publisher
from connectors.runs import store
from connectors.runs.auditor import Auditor
from connectors.runs.tailing import LogReader
from runtime.asgi import bound, serve_beside
from runtime.health import Aspect, Health, serve_health
from runtime.postgres import Database
from runtime.settings import GatewaySettings, Settings
from runtime.shutdown import Shutdown
from runtime.telemetry import instrument_clients
from schemas.errors import Fatal, Retriable
from schemas.facts import FactHeaders, Kind, Lease, RunKind
from schemas.feeds import FEEDS
from schemas.seq import make_seq
from schemas.topics import RAW

log = structlog.stdlib.get_logger(__name__)

RETRY_S: Final = 2.0
_CLASSES: Final = {RunKind.FULL: Priority.FULL, RunKind.INCREMENTAL: Priority.INCREMENTAL}


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Needs the groups kafka, postgres, feeds, vendor, demo, ingest, gateway and health.

    Raises:
        Fatal: the vendor refuses our login, or Kafka's producer cannot go on.
    """
    serve(settings, RAW.name)


def serve(settings: Settings, raw: str) -> None:
    """`run` on a raw log of another name."""
    # Its own log line a retry would only repeat ours.
    stamina.instrumentation.set_on_retry_hooks([])
    instrument_clients(http=True)
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
    dsn = settings.postgres.dsn.get_secret_value()
    async with (
        # Of their own: they outlast each hold of the lease, and what ended it is told last.
        Database(dsn, "adamas-ingest-alerts", size=1) as database,
        recorded_alerts(database) as alerts,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(_beat(activity))
        while True:
            try:
                await _hold_and_serve(settings, raw, activity, alerts)
            except* Retriable as errors:
                cause = str(_most_serious(errors))
                activity.waits("start", cause)
                log.warning("ingest.starts_anew", cause=cause)
                await asyncio.sleep(RETRY_S)


async def _beat(activity: Activity) -> None:
    while True:
        activity.beat()
        await asyncio.sleep(BEAT_S)


async def _hold_and_serve(settings: Settings, raw: str, activity: Activity, alerts: Alerts) -> None:
    def standby(reason: str) -> None:
        activity.waits("start", reason)

    known = partial(highest_epoch, settings.kafka, raw)
    async with lease(settings.postgres, known, standby) as holding:
        taken_at = time.monotonic()
        dsn = settings.postgres.dsn.get_secret_value()
        with Publisher(settings.kafka, raw) as publisher:
            announced = await _announce(publisher, holding)
            async with (
                Database(dsn, "adamas-ingest", size=10) as database,
                LogReader(settings.kafka, database, raw) as reader,
            ):
                standby("reads what the raw log says of runs")
                for feed, offset in announced.items():
                    await reader.until(feed, offset)
                if holding.epoch > 1:
                    await asyncio.sleep(taken_at + PROOF_S + WINDOW_S + MARGIN_S - time.monotonic())
                activity.done("start")
                try:
                    await _serve(settings, activity, alerts, holding, publisher, database, reader)
                finally:
                    activity.forget()


async def _announce(publisher: Publisher, holding: Holding) -> dict[str, int | None]:
    """A lease fact in every raw partition in use, before the first request: older epochs behind it do not count.

    Returns:
        Its offset, by feed.
    """
    value = msgspec.json.encode(
        Lease(epoch=holding.epoch, holder=holding.holder, granted_at=int(time.time() * 1000))
    )
    offsets = {}
    for feed in FEEDS:
        headers = FactHeaders(kind=Kind.LEASE, feed=feed, epoch=holding.epoch, seq=make_seq(holding.epoch, 0))
        offsets[feed] = await publisher.publish(headers, value)
    return offsets


async def _serve(
    settings: Settings,
    activity: Activity,
    alerts: Alerts,
    holding: Holding,
    publisher: Publisher,
    database: Database,
    reader: LogReader,
) -> None:
    async with (
        open_accounts(settings, holding.epoch, holding.is_proven, alerts) as accounts,
        asyncio.TaskGroup() as tasks,
    ):
        activity.excused_by(
            lambda: next(filter(None, (account.budget.holds_back() for account in accounts)), None)
        )
        writers: dict[str, FactWriter] = {}
        lanes: list[Lane] = []
        for account in accounts:
            for feed in account.feeds:
                for kind, priority in _CLASSES.items():
                    asker = Asker(feed.name, priority, account.budget, activity)
                    writer = writers[feed.name] = FactWriter(feed, asker, publisher)
                    lanes.append(Lane(writer, kind, settings.ingest, database, reader, activity))
        orders = Orders(database, writers, lanes, reader)
        async with database.link() as link:
            unread = await store.unread_stones(link)
        retirers = {name: FeedRetirer(writer, reader) for name, writer in writers.items()}
        for work in (
            holding.watch(),
            _serve_gateway(settings.gateway, Gateway(accounts, publisher), unread),
            reader.watch(),
            Scheduler(settings.ingest, database, list(writers), lanes, orders).run(),
            Auditor(settings.ingest, database, retirers).run(),
            *(lane.run() for lane in lanes),
            *(Canary(writer.feed, writer.asker, alerts).run() for writer in writers.values()),
        ):
            tasks.create_task(work)


async def _serve_gateway(
    settings: GatewaySettings, gateway: Gateway, unread: Sequence[tuple[str, str]]
) -> None:
    with bound(settings.host, settings.port) as listener:
        try:
            gateway.take_up(unread)
            await serve_beside(gateway_app(gateway, settings.tokens), listener)
        finally:
            await gateway.drained()
