"""An ASGI application on a port of a process that stops the way all of ours do."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import msgspec
import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from runtime.shutdown import Shutdown
from schemas.errors import Fatal

DRAIN_S: Final = 5
FIRST_REQUEST_S: Final = 0.5
LAST_TAKEN_S: Final = 0.05
AT_A_TIME: Final = 4
"""Requests that are begun before the loop looks for others; a look costs as much as a tenth of a search."""
MAX_URL_BYTES: Final = 32 * 1024
"""What is behind is not kept: the application says which parameter is too long, the parser only that something is."""
MAX_HEAD_BYTES: Final = 2 * 1024 * 1024
"""Of a request before its body; who sends more gets a 400, for the parser itself keeps whatever comes."""

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """An answer as a whole; its headers say how long its body is, and are no caller's words."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def of(cls, response: Response) -> Answer:
        """The framework's."""
        return cls(response.status_code, list(response.raw_headers), bytes(response.body))

    async def send(self, send: Send) -> None:
        """Hand it to any server."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


AtOnce = Callable[[Scope], Answer | None]
"""Answers a request by its scope without awaiting anything, or leaves it to the application."""


def _leave(_: Scope) -> None:
    return None


class Turns:
    """Lets requests be begun in the order they came in, all connections of a server together, and a few at a time.

    A loop that begins all that it finds answers them all before it looks again: whose request comes a moment after that
    look waits for these, and then for all that have come meanwhile, twice as long as everybody else.
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._due = False

    def take(self, begin: Callable[[], None]) -> None:
        """Have a request begun when its turn comes."""
        self._waiting.append(begin)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        waiting = self._waiting
        try:
            for _ in range(min(AT_A_TIME, len(waiting))):
                waiting.popleft()()
        finally:
            self._due = bool(waiting)
            if self._due:
                # The loop looks for others first.
                asyncio.get_running_loop().call_soon(self._next)


class Protocol(HttpToolsProtocol):
    """HTTP by httptools, in half the time that h11 takes for an answer, and bounded like it.

    Args:
        at_once: asked before the application: a task and what it is handed cost a sixth of a search.
        turns: when each request is begun.
        uvicorn: what its server gives.
    """

    _head_bytes: int | None = None
    _was_asked = False

    def __init__(self, *, at_once: AtOnce, turns: Turns, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._at_once = at_once
        self._turns = turns

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

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; a problem document (RFC 9457) as every other refusal is."""
        problem = {
            **{"type": "/problems/bad-request", "title": "Bad request", "status": 400, "detail": msg},
            **{"instance": "", "trace_id": None, "field": "request", "rule": msg},
        }
        body = msgspec.json.encode(problem)
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[400] + head % len(body) + body)
        self.transport.close()

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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._turns.take(partial(self._start, cycle, app))

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:
        # Who does not read waits in a task, and who is gone is none of ours.
        hears = not self.flow.write_paused and not self.transport.is_closing()
        answer = self._at_once(cast(Any, cycle.scope)) if hears else None
        if answer is None:
            super()._start_asgi_task(cycle, app)
        else:
            self._answer(cycle, answer)

    def _answer(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        lines = [STATUS_LINE[answer.status]]
        for name, value in (*cycle.default_headers, *answer.headers):
            lines += name, b": ", value, b"\r\n"
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        # In one piece: each write wakes whoever waits for it.
        self.transport.write(b"".join((*lines, b"\r\n", answer.body)))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()


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


def serve(app: ASGIApp, listener: socket.socket, shutdown: Shutdown, at_once: AtOnce = _leave) -> None:
    """Answer on `listener` until a stop is requested and the requests in flight are answered.

    Args:
        app: what answers.
        listener: a bound socket.
        shutdown: tells when to stop.
        at_once: what answers before.

    Raises:
        Fatal: the application's lifespan failed.
    """
    server = Server(config(app, at_once, loop="uvloop"))
    shutdown.on_request(server.stop)
    server.run(sockets=[listener])
    if not server.started:
        shutdown.fail(Fatal("the server did not start; the lines above say why"))


async def serve_beside(app: ASGIApp, listener: socket.socket, at_once: AtOnce = _leave) -> None:
    """Answer on `listener` in the running loop, beside other work, until cancelled; requests in flight are answered."""
    server = Server(config(app, at_once, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.stop()
        await asyncio.wait([serving])


def config(app: ASGIApp, at_once: AtOnce = _leave, **more: Any) -> uvicorn.Config:
    """uvicorn's settings, as every server of ours has them."""
    protocol: Any = partial(Protocol, at_once=at_once, turns=Turns())
    return uvicorn.Config(
        app,
        http=protocol,
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
