"""An ASGI application on a port of a process that stops the way all of ours do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runtime.shutdown import Shutdown
from schemas.errors import Fatal

DRAIN_S: Final = 5
FIRST_REQUEST_S: Final = 0.5
LAST_TAKEN_S: Final = 0.05
MAX_URL_BYTES: Final = 32 * 1024
"""What is behind is not kept: the application says which parameter is too long, the parser only that something is."""
MAX_HEAD_BYTES: Final = 2 * 1024 * 1024
"""Of a request before its body; who sends more gets a 400, for the parser itself keeps whatever comes."""


class Protocol(HttpToolsProtocol):
    """HTTP by httptools, in half the time that h11 takes for an answer, and bounded like it."""

    _head_bytes: int | None = None
    _was_asked = False

    def shutdown(self) -> None:
        """End; a connection that was taken and has asked nothing yet may first do so: its request is on its way."""
        if self._was_asked:
            super().shutdown()
        else:
            self.loop.call_later(FIRST_REQUEST_S, super().shutdown)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless a request's head has no end."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The request's head is too long.")

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_bytes = 0
        self._was_asked = True

    def on_url(self, url: bytes) -> None:
        """Keep the URL, as far as it may go."""
        super().on_url(url[: MAX_URL_BYTES - len(self.url)])

    def on_headers_complete(self) -> None:
        """End the head."""
        super().on_headers_complete()
        self._head_bytes = None


class Server(uvicorn.Server):
    """uvicorn without its own signal handlers: `Shutdown` is told of signals, once for the whole process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Shutdown`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; what waits to be taken is taken first, for closing the listener would reset it."""
        for listener in sockets or ():
            # From now on hardly anybody more: who comes later tries again and is refused.
            listener.listen(0)
        await asyncio.sleep(LAST_TAKEN_S)
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Ask it to end, requests in flight first; safe from any thread."""
        self.should_exit = True


def serve(app: ASGIApp, listener: socket.socket, shutdown: Shutdown) -> None:
    """Answer on `listener` until a stop is requested and the requests in flight are answered.

    Raises:
        Fatal: the application's lifespan failed.
    """
    server = Server(_config(app, loop="uvloop"))
    shutdown.on_request(server.stop)
    server.run(sockets=[listener])
    if not server.started:
        shutdown.fail(Fatal("the server did not start; the lines above say why"))


async def serve_beside(app: ASGIApp, listener: socket.socket) -> None:
    """Answer on `listener` in the running loop, beside other work, until cancelled; requests in flight are answered."""
    server = Server(_config(app, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.stop()
        await asyncio.wait([serving])


def _config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
        **more,
    )


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket. Raises `Fatal` when the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Fatal(f"cannot listen on {host}:{port}: {error.strerror}") from error
    try:
        yield listener
    finally:
        listener.close()


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], shutdown: Shutdown) -> AsyncIterator[None]:
    """Run a side task; when it dies the process stops."""
    task = asyncio.create_task(work)

    def _look(done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            shutdown.fail(error)

    task.add_done_callback(_look)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
