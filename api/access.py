"""Around every request: a trace id in the answer, one log line, and an answer even when we are wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answer import Direct
from api.answered import ANSWERED
from api.freshness import Freshness
from api.problems import Problem, internal_error, refusal
from runtime import tracing
from runtime.logs import FrequentLines

log = structlog.stdlib.get_logger(__name__)

TRACE_HEADER: Final = b"x-trace-id"

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET: Final = ("/health", "/metrics")


class Access:
    """ASGI middleware. Routes may add to `scope["access"]` what the log line shall say (`key`: who asked).

    Args:
        app: what answers.
        freshness: which state the data is in.
        direct: by path, what answers a GET without the framework's router. The router knows the path as well, for
            the documentation and the other methods.
    """

    def __init__(
        self, app: ASGIApp, freshness: Freshness, direct: Mapping[str, Direct] = MappingProxyType({})
    ) -> None:
        self._app = app
        self._freshness = freshness
        self._direct = direct
        self._lines = FrequentLines()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if tracing.on() and not scope["path"].startswith(_QUIET):
            named = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            with tracing.request_span(scope["method"], named) as span:
                await self._answer(
                    scope, receive, send, trace.format_trace_id(span.get_span_context().trace_id)
                )
                _tell(span, scope)
        else:
            await self._answer(scope, receive, send, trace_id_of(scope))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, trace_id: str) -> None:
        started = perf_counter()
        access: dict[str, Any] = {}
        scope["trace_id"], scope["access"] = trace_id, access
        trace_header = (TRACE_HEADER, trace_id.encode())

        async def traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                access["status"] = int(message["status"])
                message["headers"] = [*message.get("headers", ()), trace_header]
            await send(message)

        direct = self._direct.get(scope["path"]) if scope["method"] == "GET" else None
        try:
            if direct is None:
                await self._app(scope, receive, traced)
            else:
                answer = await direct(scope)
                access["status"] = answer.status
                answer.headers.append(trace_header)
                await answer.send(send)
        except Problem as problem:
            await refusal(problem, scope["path"], trace_id)(scope, receive, traced)
        except Exception:
            log.exception("api.failed", trace_id=trace_id, path=scope["path"])
            if "status" not in access:
                await internal_error(scope["path"], trace_id)(scope, receive, traced)
        if not scope["path"].startswith(_QUIET):
            self._note(scope, access, perf_counter() - started)

    def _note(self, scope: Scope, access: dict[str, Any], taken_s: float) -> None:
        path: str = scope["path"]
        route = path if path in self._direct else getattr(scope.get("route"), "path", None) or "(none)"
        status = access.get("status")
        ANSWERED.note(route, status, taken_s)
        self._lines.info(
            "api.answered",
            route=route,
            key=access.get("key"),
            status=status,
            ms=round(1000 * taken_s, 2),
            as_of=self._freshness.as_of,
            trace_id=scope["trace_id"],
        )


def _tell(span: Span, scope: Scope) -> None:
    status = int(scope["access"].get("status") or 500)
    span.update_name(f"{scope['method']} {getattr(scope.get('route'), 'path', None) or '(none)'}")
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def trace_id_of(scope: Scope) -> str:
    """The caller's trace id from `traceparent`, or a new one: 32 hex digits."""
    for name, value in scope["headers"]:
        if (
            name == b"traceparent"
            and (found := _TRACEPARENT.fullmatch(value))
            and set(found[1]) != {ord("0")}
        ):
            return str(found[1].decode())
    return f"{random.getrandbits(128):032x}"
