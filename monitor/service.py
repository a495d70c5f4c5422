"""`adamas monitor`: watches the others and tells people; nothing leans on it, so nothing stops when it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from prometheus_client import REGISTRY

from monitor.board import board
from monitor.collector import LagCollector
from monitor.positions import Positions
from monitor.routes import router
from monitor.samples import Samples
from monitor.watch import Watch
from operating.handlers import handlers
from operating.keeper import Keeper
from runtime.asgi import bound, in_background, serve
from runtime.health import Aspect, Check, Health
from runtime.job_runner import JobRunner
from runtime.loop_lag import LoopLag
from runtime.postgres import Database
from runtime.settings import FeedsSettings, Settings
from runtime.shutdown import Shutdown
from runtime.version import VERSION

log = structlog.stdlib.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        Fatal: the port is taken.
    """
    own = settings.monitor
    with Shutdown() as shutdown, bound(own.host, own.port) as listener:
        serve(make_app(settings, shutdown), listener, shutdown)


def make_app(settings: Settings, shutdown: Shutdown) -> FastAPI:
    """The board and its loops; the loops run while the application does."""
    own, feeds = settings.monitor, settings[FeedsSettings].names
    database = Database(settings.postgres.dsn.get_secret_value(), "adamas-monitor")
    collector = LagCollector(own.cluster)
    watch = Watch(
        own.member_urls,
        database,
        Positions(settings.kafka),
        collector,
        Samples(),
    )
    beat, health = LoopLag(), Health()
    _add_probes(health, watch, beat)

    keeper = Keeper(settings.kafka, database)
    runner = JobRunner(database, "monitor", handlers(database, settings.kafka))
    health.add("letters", keeper.check, on=(Aspect.STARTUP, Aspect.LIVE))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        REGISTRY.register(collector)
        async with AsyncExitStack() as stack:
            stack.callback(REGISTRY.unregister, collector)
            stack.callback(watch.positions.close)
            stack.push_async_callback(database.close)
            work = (watch.look_at_kafka(), watch.ask_members(), watch.ask_postgres())
            for side in (beat.run(), *work, keeper.serve(), runner.serve()):
                await stack.enter_async_context(in_background(side, shutdown))
            log.info("monitor.started", members=sorted(own.member_urls))
            yield

    app = FastAPI(title="Adamas monitor", version=VERSION, lifespan=lifespan, redoc_url=None)
    app.include_router(router(health, lambda: board(watch, own.cluster, feeds), shutdown))
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
