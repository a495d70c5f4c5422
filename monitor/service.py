"""`adamas monitor`: watches the others and tells people; nothing leans on it, so nothing stops when it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY

from connectors.notify.plan import read_plan
from monitor.alarms import Alarms
from monitor.board import board
from monitor.collector import LagCollector
from monitor.evaluation import histories
from monitor.nightly import compare_stores
from monitor.notices import Notifier
from monitor.positions import Positions
from monitor.routes import router
from monitor.samples import Samples
from monitor.trial import trial
from monitor.watch import Watch
from operating import alert_test, stores
from operating.handlers import handlers
from operating.keeper import Keeper
from runtime.asgi import bound, in_background, serve
from runtime.health import Aspect, Check, Health
from runtime.job_runner import JobRunner
from runtime.loop_lag import LoopLag
from runtime.postgres import Database
from runtime.settings import FeedsSettings, NotifySettings, Settings
from runtime.shutdown import Shutdown
from runtime.version import VERSION

log = structlog.stdlib.get_logger(__name__)

SETTINGS: Final = (NotifySettings,)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        Fatal: the port is taken.
        Invalid: the file of channels does not hold.
    """
    own = settings.monitor
    with Shutdown() as shutdown, bound(own.host, own.port) as listener:
        serve(make_app(settings, shutdown), listener, shutdown)


def make_app(settings: Settings, shutdown: Shutdown) -> FastAPI:
    """The board and its loops; the loops run while the application does."""
    own, feeds = settings.monitor, settings[FeedsSettings].names
    database = Database(settings.postgres.dsn.get_secret_value(), "adamas-monitor", size=8)
    collector = LagCollector(own.cluster)
    watch = Watch(
        own.member_urls,
        database,
        Positions(settings.kafka),
        collector,
        Samples(histories()),
    )
    alarms = Alarms(watch.database, watch.samples, blind=lambda: watch.look is None)
    plan = read_plan(settings.notify.file)
    notifier = Notifier(watch.database, plan)
    beat, health = LoopLag(), Health()
    _add_probes(health, watch, beat)

    keeper = Keeper(settings.kafka, database)
    compared = stores.handler(database, settings.kafka, own.replica_urls, own.api_key_text)
    done_here = {
        **handlers(database, settings.kafka),
        alert_test.KIND: trial(database, plan),
        stores.KIND: compared,
    }
    runner = JobRunner(database, "monitor", done_here)
    health.add("letters", keeper.check, on=(Aspect.STARTUP, Aspect.LIVE))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        REGISTRY.register(collector)
        async with AsyncExitStack() as stack:
            stack.callback(REGISTRY.unregister, collector)
            stack.callback(watch.positions.close)
            stack.push_async_callback(database.close)
            for work in (
                beat.run(),
                watch.look_at_kafka(),
                watch.ask_members(),
                watch.ask_postgres(),
                alarms.run(),
                notifier.run(),
                keeper.serve(),
                runner.serve(),
                compare_stores(database, own.compare_at),
            ):
                await stack.enter_async_context(in_background(work, shutdown))
            log.info("monitor.started", members=sorted(own.member_urls))
            yield

    app = FastAPI(
        title="Adamas monitor",
        version=VERSION,
        lifespan=lifespan,
        redoc_url=None,
        # Nobody but probes and the board asks here.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.include_router(router(health, watch.database, lambda: board(watch, own.cluster, feeds), shutdown))
    return app


def _add_probes(health: Health, watch: Watch, beat: LoopLag) -> None:
    """It is ready once it has looked at everything; what is away later is what it is there to tell."""
    health.add("loop", beat.check, on=(Aspect.STARTUP, Aspect.LIVE))
    health.add("kafka", lambda: Check(watch.look is not None, watch.kafka_error or "answers"))
    health.add(
        "postgres",
        lambda: Check(
            watch.asked_postgres and watch.postgres_error is None, watch.postgres_error or "answers"
        ),
    )
