"""The gateway over HTTP: who may ask, for how long, and what each refusal is in HTTP's terms."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from hmac import compare_digest
from http import HTTPStatus
from typing import Final, TypeVar

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.budget import Priority
from connectors.feeds.protocol import NO_UPPER_END, Ambiguous, Slice
from connectors.gateway.deadline import Deadline, Passed
from connectors.gateway.operations import Call, Gateway, Line
from runtime import tracing
from schemas.errors import Invalid, Retriable, SlowDown
from schemas.gateway import (
    DEADLINE_HEADER,
    DEFAULT_DEADLINE_S,
    WAIT_HEADER,
    Counted,
    Counting,
    Ordering,
    Refusal,
    Releasing,
)

log = structlog.stdlib.get_logger(__name__)

_JSON: Final = "application/json"
_LONGEST_DEADLINE_S: Final = 600.0
_STATUS: Final = {
    "unknown_feed": HTTPStatus.NOT_FOUND,
    "gone": HTTPStatus.NOT_FOUND,
    "refused": HTTPStatus.CONFLICT,
}

BodyT = TypeVar("BodyT", bound=msgspec.Struct)
Operation = Callable[[Request, Line, Call], Awaitable[msgspec.Struct | bytes]]


def gateway_app(gateway: Gateway, tokens: Sequence[bytes]) -> Starlette:
    """The application. `tokens` are the service tokens that are valid now: two while they are being rotated."""
    door = _Door(gateway, tokens)
    stone = "/v1/{feed}/stones/{stone}"
    return Starlette(
        routes=[
            Route("/v1/{feed}/count", door.open(door.count), methods=["POST"]),
            Route(stone, door.open(door.by_id), methods=["GET"]),
            Route(f"{stone}/availability", door.open(door.availability), methods=["GET"]),
            Route(f"{stone}/hold", door.open(door.hold), methods=["POST"]),
            Route(f"{stone}/release", door.open(door.release), methods=["POST"]),
            Route("/v1/{feed}/orders", door.open(door.order), methods=["POST"]),
            Route("/v1/{feed}/probe", door.open(door.probe), methods=["POST"]),
        ]
    )


class _Door:
    def __init__(self, gateway: Gateway, tokens: Sequence[bytes]) -> None:
        self._gateway = gateway
        self._tokens = tokens

    def open(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        """The operation behind the check of the token, with its refusals as answers."""

        async def opened(request: Request) -> Response:
            # Before anything else: whoever may not ask costs the vendor's budget nothing.
            if not self._is_known(request.headers.get("Authorization", "")):
                return _refused(
                    HTTPStatus.UNAUTHORIZED, "unauthorized", "the service token is missing or wrong"
                )
            with tracing.request_span(f"gateway.{operation.__name__}", request.headers):
                return await self._answer(operation, request)

        return opened

    async def _answer(self, operation: Operation, request: Request) -> Response:
        call = Call(Deadline.within(DEFAULT_DEADLINE_S))
        try:
            call.deadline = _deadline(request)
            line = self._gateway.line(request.path_params["feed"])
            answer = await operation(request, line, call)
        except (Invalid, Retriable) as error:
            return _refusal(error, call)
        body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        return Response(body, headers=_wait(call), media_type=_JSON)

    def _is_known(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        # Each is compared in full, so that the time taken tells nothing of either.
        matches = [compare_digest(token.strip().encode(), valid) for valid in self._tokens]
        return scheme.lower() == "bearer" and any(matches)

    async def count(self, request: Request, line: Line, call: Call) -> msgspec.Struct:
        asked = await _body(request, Counting)
        part = Slice(asked.dollars_per_carat or (0, NO_UPPER_END), asked.carats, asked.shapes)
        return Counted(count=await self._gateway.count(line, part, call))

    async def by_id(self, request: Request, line: Line, call: Call) -> bytes:
        return (await self._gateway.by_id(line, request.path_params["stone"], call)).body

    async def availability(self, request: Request, line: Line, call: Call) -> msgspec.Struct:
        return await self._gateway.availability(line, request.path_params["stone"], call)

    async def hold(self, request: Request, line: Line, call: Call) -> msgspec.Struct:
        return await _to_its_end(self._gateway.hold(line, request.path_params["stone"], call))

    async def release(self, request: Request, line: Line, call: Call) -> msgspec.Struct:
        asked = await _body(request, Releasing)
        return await _to_its_end(self._gateway.release(line, request.path_params["stone"], asked.hold, call))

    async def order(self, request: Request, line: Line, call: Call) -> msgspec.Struct:
        asked = await _body(request, Ordering)
        return await _to_its_end(self._gateway.order(line, asked.stones, asked.reference, call))

    async def probe(self, request: Request, line: Line, call: Call) -> bytes:
        async with call.deadline.kept():
            return msgspec.json.encode(await line.feed.probe(Priority.LIVE))


AnswerT = TypeVar("AnswerT")


async def _to_its_end(change: Awaitable[AnswerT]) -> AnswerT:
    """A change that was begun goes on when its caller hangs up: half of it would leave nobody knowing."""
    return await asyncio.shield(asyncio.ensure_future(change))


async def _body(request: Request, shape: type[BodyT]) -> BodyT:
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=shape)
    except msgspec.DecodeError as error:
        raise Invalid("body", str(error), "bad_request") from error


def _deadline(request: Request) -> Deadline:
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return Deadline.within(DEFAULT_DEADLINE_S)
    if not text.isdecimal() or not 0 < int(text) <= _LONGEST_DEADLINE_S * 1000:
        rule = f"must be whole milliseconds from 1 to {_LONGEST_DEADLINE_S * 1000:g}"
        raise Invalid(DEADLINE_HEADER, rule, "bad_request")
    return Deadline.within(int(text) / 1000)


def _refusal(error: Invalid | Retriable, call: Call) -> Response:
    log.warning("gateway.refused", cause=str(error))
    if isinstance(error, Invalid):
        status = _STATUS.get(error.code, HTTPStatus.UNPROCESSABLE_ENTITY)
        return _refused(status, error.code, str(error), _wait(call))
    if isinstance(error, Passed):
        return _refused(HTTPStatus.GATEWAY_TIMEOUT, "deadline_passed", str(error), _wait(call))
    if isinstance(error, Ambiguous):
        return _refused(HTTPStatus.BAD_GATEWAY, "ambiguous", str(error), _wait(call))
    if isinstance(error, SlowDown):
        retry_after = {"Retry-After": str(math.ceil(error.after_s))}
        return _refused(HTTPStatus.SERVICE_UNAVAILABLE, "too_late", str(error), retry_after)
    return _refused(HTTPStatus.BAD_GATEWAY, "vendor_trouble", str(error), _wait(call))


def _refused(status: int, error: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(Refusal(error=error, detail=detail))
    return Response(body, status, headers, media_type=_JSON)


def _wait(call: Call) -> dict[str, str]:
    return {} if call.wait_s is None else {WAIT_HEADER: f"{call.wait_s * 1000:.1f}"}
