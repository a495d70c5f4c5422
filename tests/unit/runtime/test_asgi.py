"""What comes in over HTTP is bounded before the application sees it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from runtime.asgi import AT_A_TIME, MAX_HEAD_BYTES, MAX_URL_BYTES, Answer, AtOnce, Turns, bound, serve_beside


async def tell_length(scope: Scope, receive: Receive, send: Send) -> None:
    length = len(Request(scope).scope["query_string"])
    await PlainTextResponse(str(length))(scope, receive, send)


def know_known(scope: Scope) -> Answer | None:
    if scope["path"] != "/known":
        return None
    body = b"known " + scope["query_string"]
    return Answer(200, [(b"content-length", b"%d" % len(body))], body)


@asynccontextmanager
async def served(**more: AtOnce) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        serving = asyncio.create_task(serve_beside(tell_length, listener, **more))

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


async def test_what_is_no_http_is_told_so_as_every_other_refusal() -> None:
    async with served() as ask:
        head, _, body = (await ask(b"FOO / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/problem+json" in head
    told = json.loads(body)
    assert (told["type"], told["field"]) == ("/problems/bad-request", "request")


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


async def test_requests_of_one_connection_are_answered_in_order_at_once_or_by_the_application() -> None:
    asked = [b"GET /%s?%d HTTP/1.1\r\n\r\n" % (b"known" if n % 3 else b"", 10**n) for n in range(10)]
    last = b"GET /known?last HTTP/1.1\r\nConnection: close\r\n\r\n"
    async with served(at_once=know_known) as ask:
        answers = (await ask(b"".join([*asked, last]))).split(b"HTTP/1.1 200 OK\r\n")[1:]
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert bodies == [b"known %d" % 10**n if n % 3 else b"%d" % (n + 1) for n in range(10)] + [b"known last"]
    assert b"connection: close" in answers[-1]
    assert not any(b"connection: close" in answer for answer in answers[:-1])


async def test_who_comes_late_waits_for_a_few_and_not_for_all_that_are_there() -> None:
    turns, begun = Turns(), list[object]()
    for number in range(3 * AT_A_TIME):
        turns.take(lambda number=number: begun.append(number))  # type: ignore[misc]
    await asyncio.sleep(0)
    begun.append("a look at the connections")
    turns.take(lambda: begun.append("late"))
    await asyncio.sleep(0.05)
    assert begun[AT_A_TIME] == "a look at the connections"
    assert [one for one in begun if one != "a look at the connections"] == [*range(3 * AT_A_TIME), "late"]


async def test_a_turn_that_fails_holds_up_nobody() -> None:
    turns, begun = Turns(), list[int]()
    failures = list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    turns.take(lambda: begun.append(1 // 0))
    turns.take(lambda: begun.append(2))
    await asyncio.sleep(0.05)
    assert begun == [2]
    assert len(failures) == 1
