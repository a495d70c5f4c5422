"""The simulated vendor over HTTP: one GraphQL path, faults around it, and the door beside it.

    adamas simulate --stones 20000 --seed 1

Stopped or killed and started again with the same seed and number of stones it serves the same inventory; what life
did to it in between is lost, as are holds. Tokens stay valid.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from typing import Any, Final

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.asgi import Server
from runtime.shutdown import Shutdown

from .demo import DemoVendor
from .door import Door
from .execute import Executor, Reply
from .front import Front, html
from .resolve import Asking
from .scenarios import Player, load
from .settings import SimulatorSettings
from .stamping import StampedProtocol, StampedSocket
from .vendor import Vendor

log = structlog.stdlib.get_logger(__name__)

PATH: Final = "/api/diamonds"
_TOKEN: Final = re.compile(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+")
_GZIP_FROM_BYTES: Final = 1_000
_GZIP_LEVEL: Final = 1


class _Body(msgspec.Struct):
    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None


class Endpoint:
    """`POST /api/diamonds`."""

    def __init__(self, vendor: Vendor, front: Front) -> None:
        self._vendor = vendor
        self._front = front
        self._executor = Executor()

    async def answer(self, request: Request) -> Response:
        """Count the request by its arrival, then let faults and the vendor answer it."""
        raw = await request.body()
        token = _token(request, raw)
        over = self._front.arrived(request, self._credential(token, raw))
        return self._front.dated(await self._respond(request, raw, token, over))

    async def _respond(self, request: Request, raw: bytes, token: str | None, over: bool) -> Response:
        try:
            body = msgspec.json.decode(raw, type=_Body)
        except msgspec.DecodeError as error:
            return _json({"errors": [{"message": f"Bad request: {error}"}]}, 400)
        if stopped := await self._front.stopped(over, self._executor.roots(body.query)):
            return stopped
        if token and self._vendor.faults.hits("token_revoked"):
            self._vendor.tokens.revoke(token)
        return await self._execute(request, body)

    async def _execute(self, request: Request, body: _Body) -> Response:
        asking = Asking(self._vendor, _bearer(request))
        reply = self._executor.answer(asking, body.query, body.variables or {}, body.operationName)
        faults = self._vendor.faults
        if asking.mutated and faults.hits("timeout_after_mutation"):
            await asyncio.sleep(faults.parameter("timeout_after_mutation", "hang_s"))
            return html(504, "504 Gateway Time-out")
        unauthorized = asking.unauthenticated and faults.hits("auth_401")
        return _encoded(request, Reply(401, reply.body) if unauthorized else reply)

    def _credential(self, token: str | None, raw: bytes) -> str:
        """Whose budget a request spends: the token's user, or the name in a login."""
        known = self._vendor.tokens.credential(token) if token else None
        if known:
            return known
        username = self._vendor.settings.username
        return username if username.encode() in raw else "anonymous"


def create_app(settings: SimulatorSettings | None = None, vendor: Vendor | None = None) -> Starlette:
    """The application, for a server or for tests in process. `app.state.vendor` is the vendor behind it.

    Raises:
        UnknownScenario, pydantic.ValidationError: the scenario of the settings cannot be played.
    """
    vendor = vendor or Vendor(settings or SimulatorSettings())
    players: list[Player] = []

    def look() -> None:
        for player in players:
            player.play()
        vendor.live()

    if vendor.settings.scenario:
        players.append(Player(vendor, load(vendor.settings.scenario)))
    front = Front(vendor, look)
    routes = [Route(PATH, Endpoint(vendor, front).answer, methods=["POST"])]
    app = Starlette(
        routes=[*routes, *DemoVendor(vendor, front).routes(), *Door(vendor, look, players).routes()]
    )
    app.state.vendor = vendor
    return app


def run(settings: SimulatorSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError when the port is taken."""
    with Shutdown() as shutdown:
        listener = StampedSocket.listening(settings.host, settings.port)
        shutdown.on_close(listener.close)
        started_s = time.monotonic()
        app = create_app(settings)
        server = Server(_config(app))
        logging.getLogger("uvicorn.error").addFilter(_not_cancelled)
        shutdown.on_request(server.stop)
        log.info(
            "simulator.listening",
            url=f"http://{settings.host}:{listener.getsockname()[1]}{PATH}",
            stones=settings.stones,
            seed=settings.seed,
            scenario=settings.scenario,
            built_in_s=round(time.monotonic() - started_s, 2),
        )
        server.run(sockets=[listener])


def _config(app: Starlette) -> uvicorn.Config:
    # The standard loop, not uvloop: it receives through the socket object, which is where arrivals are stamped.
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=StampedProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
    )


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Answers that still slept at the end (latency, hang) are cancelled; that is no error worth a traceback."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _token(request: Request, raw: bytes) -> str | None:
    """The token of a request, wherever it is: the header, a variable or the text of the query."""
    found = _TOKEN.search(raw)
    return _bearer(request) or (found.group().decode() if found else None)


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _encoded(request: Request, reply: Reply) -> Response:
    body = msgspec.json.encode(reply.body)
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        body = packer.compress(body) + packer.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(body, reply.status, headers, media_type="application/json")


def _json(body: Any, status: int) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
