"""`adamas monitor`: watches the others and tells people; nothing leans on it, so nothing stops when it does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI

from monitor.routes import router
from runtime.asgi import bound, in_background, serve
from runtime.health import Aspect, Health
from runtime.loop_lag import LoopLag
from runtime.settings import Settings
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
    health, beat = Health(), LoopLag()
    health.add("loop", beat.check, on=(Aspect.STARTUP, Aspect.LIVE))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(in_background(beat.run(), shutdown))
            log.info("monitor.started", members=sorted(settings.monitor.member_urls))
            yield

    app = FastAPI(title="Adamas monitor", version=VERSION, lifespan=lifespan, redoc_url=None)
    app.include_router(router(health))
    return app
