"""`adamas api`: the application on a port, its index fed by the canonical topic."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI

from api.app import App, create_app
from api.awaited import Awaited
from api.engine.fast_index import FastIndex
from api.engine.warming import warm
from api.follower import Follower
from api.freshness import Freshness
from api.keyring import KeyRing
from api.service import Service
from api.snapshot import Snapshots, own_folder
from api.standing import replica_group, tell_standing
from api.vendor import Vendor
from connectors import rates
from operating.archive import Folder
from runtime.asgi import bound, in_background, serve
from runtime.health import Aspect, Health
from runtime.heap import give_back, spare_the_collector
from runtime.postgres import Database
from runtime.settings import FeedsSettings, GatewayClientSettings, Settings
from runtime.shutdown import Shutdown
from runtime.telemetry import instrument_clients
from streams.rules.desk import RuleDesk
from streams.rules.keeper import FetchRates, Keeper

log = structlog.stdlib.get_logger(__name__)

_SWITCH_INTERVAL_S: Final = 0.001
_LOOK_EVERY_S: Final = 1.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        Fatal: the port is taken, or the topic cannot be read any more.
    """
    # The tail decodes in a thread of its own; requests must not wait five milliseconds for it to yield.
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    instrument_clients(http=True)
    with Shutdown() as shutdown, bound(settings.api.host, settings.api.port) as listener:
        app = _app(settings, shutdown, listener.getsockname()[1])
        serve(app, listener, shutdown, app.at_once)


def _app(settings: Settings, shutdown: Shutdown, port: int) -> App:
    folder = settings.data.dir / f"api-{port}"
    mine = own_folder(folder)
    if not mine:
        log.warning("api.folder_taken", folder=str(folder))
    index, freshness = FastIndex(folder if mine else None), Freshness(settings[FeedsSettings].names)
    snapshots = Snapshots(folder) if mine else None
    dsn = settings.postgres.dsn.get_secret_value()
    vendor, awaited = Vendor(settings[GatewayClientSettings]), Awaited()
    keys, database = KeyRing(dsn), Database(dsn, "adamas-api-operator")
    desk = RuleDesk.of(settings, database)
    health = Health()
    health.add("keys", keys.check, on=[Aspect.STARTUP, Aspect.READY])

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Beside it Kafka is asked, and the snapshot read; the server listens when all of it is done.
        warming = asyncio.create_task(asyncio.to_thread(warm))
        follower = Follower(settings.kafka, index, freshness, snapshots=snapshots, awaited=awaited)
        health.add("canonical", follower.check_ready, on=[Aspect.READY])
        health.add("canonical", follower.check_live, on=[Aspect.LIVE, Aspect.STARTUP])
        async with AsyncExitStack() as stack:
            stack.push_async_callback(keys.close)
            stack.push_async_callback(database.close)
            await stack.enter_async_context(vendor)
            stack.push_async_callback(desk.shelves.close)
            follower.start()
            stack.push_async_callback(follower.stop)
            for work in (
                keys.keep_fresh(),
                Keeper(desk, _rates_source(settings)).run(),
                tell_standing(settings.kafka, follower, replica_group(port)),
                _watch(follower, shutdown),
            ):
                await stack.enter_async_context(in_background(work, shutdown))
            await warming
            log.info("api.started", port=port)
            yield

    service = Service(
        *(index, keys, health, freshness, database, vendor, awaited, settings.kafka, desk),
        ingest=settings.ingest,
        archive=Folder(settings.data.archive_folder),
    )
    return create_app(service, lifespan)


def _rates_source(settings: Settings) -> FetchRates | None:
    url = settings.pricing.rates_url
    return None if url is None else lambda: rates.fetch(url)


async def _watch(follower: Follower, shutdown: Shutdown) -> None:
    """Tidy memory once all is loaded, and stop the process when the reading has ended for good.

    It would serve ever older stones as if nothing were.
    """
    loaded = False
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if follower.caught_up and not loaded:
            loaded = True
            spare_the_collector()
            await asyncio.to_thread(give_back)
        if follower.failure is not None:
            shutdown.fail(follower.failure)
            return
