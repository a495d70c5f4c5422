"""What comes in over HTTP is bounded before the application sees it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from runtime.asgi import MAX_HEAD_BYTES, MAX_URL_BYTES, bound, serve_beside


async def tell_length(scope: Scope, receive: Receive, send: Send) -> None:
    length = len(Request(scope).scope["query_string"])
    await PlainTextResponse(str(length))(scope, receive, send)


@asynccontextmanager
async def served() -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        serving = asyncio.create_task(serve_beside(tell_length, listener))

        async def ask(request: bytes) -> bytes:
            reader, writer = await asyncio.open_connection(*listener.getsockname(), family=socket.AF_INET)
            try:
                writer.write(request)
                return await asyncio.wait_for(reader.read(), 10)
            finally:
                writer.close()

        try:
            yield ask
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def test_a_url_reaches_the_application_as_far_as_it_may_go() -> None:
    async with served() as ask:
        answer = await ask(b"GET /?q=" + b"x" * 1_000_000 + b" HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert int(answer.rpartition(b"\r\n")[2]) == MAX_URL_BYTES - len("/?")


async def test_a_head_without_end_is_refused() -> None:
    async with served() as ask:
        answer = await ask(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * (MAX_HEAD_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_connection_taken_before_the_stop_is_answered_after_it() -> None:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        address = listener.getsockname()
        serving = asyncio.create_task(serve_beside(tell_length, listener))
        await asyncio.sleep(0.2)
        reader, writer = await asyncio.open_connection(*address)
        serving.cancel()
        # The listener is closed by now, and the client has not been heard yet.
        await asyncio.sleep(0.3)
        writer.write(b"GET /?q=1 HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await asyncio.wait([serving])
    assert answer.startswith(b"HTTP/1.1 200")
