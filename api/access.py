"""Around every request: a trace id in the answer, one log line, and an answer even when we are wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Final

import structlog
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answered import ANSWERED
from api.freshness import Freshness
from api.problems import Problem, internal_error, refusal
from runtime import tracing
from runtime.asgi import Answer
from runtime.logs import FrequentLines

log = structlog.stdlib.get_logger(__name__)

TRACE_HEADER: Final = b"x-trace-id"

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET: Final = ("/health", "/metrics")


Direct = Callable[[Scope], Answer | None]
"""Answers a request by its ASGI scope, or says that something must be awaited first; raises `Problem` for a refusal."""


class Told:
    """Counts answers and writes their lines."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._lines = FrequentLines()

    def note(self, scope: Scope, taken_s: float) -> None:
        """Of one request. `scope["access"]` has its `status`, and what else routes added (`key`: who asked)."""
        access: dict[str, Any] = scope["access"]
        route, status = _route_of(scope), access.get("status")
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


class AtOnce:
    """Answers GETs of some paths in one call, without a framework and where the server can without a task.

    Args:
        told: notes what was answered.
        direct: by path, what answers. The router knows the path as well, for the documentation, the other methods, and
            requests for which something must be awaited.
    """

    def __init__(self, told: Told, direct: Mapping[str, Direct]) -> None:
        self._told = told
        self._direct = direct

    def __call__(self, scope: Scope) -> Answer | None:
        """The answer, or None if the request goes the long way; a traced one does, for its span is a task's."""
        return None if tracing.on() else self.answer(scope)

    def answer(self, scope: Scope, trace_id: str = "") -> Answer | None:
        """The same within a trace."""
        path: str = scope["path"]
        direct = self._direct.get(path) if scope["method"] == "GET" else None
        if direct is None:
            return None
        started = perf_counter()
        access: dict[str, Any] = {"route": path}
        scope["trace_id"], scope["access"] = trace_id or trace_id_of(scope), access
        try:
            answer = direct(scope)
        except Problem as problem:
            answer = Answer.of(refusal(problem, path, scope["trace_id"]))
        except Exception:
            log.exception("api.failed", trace_id=scope["trace_id"], path=path)
            answer = Answer.of(internal_error(path, scope["trace_id"]))
        if answer is not None:
            answer.headers.append((TRACE_HEADER, scope["trace_id"].encode()))
            access["status"] = answer.status
            self._told.note(scope, perf_counter() - started)
        return answer


class Access:
    """ASGI middleware. Routes may add to `scope["access"]` what the log line shall say.

    Args:
        app: what answers.
        told: notes what was answered.
        at_once: what answers before.
    """

    def __init__(self, app: ASGIApp, told: Told, at_once: AtOnce) -> None:
        self._app = app
        self._told = told
        self._at_once = at_once

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
        answer = self._at_once.answer(scope, trace_id)
        if answer is not None:
            await answer.send(send)
            return
        started = perf_counter()
        access: dict[str, Any] = {}
        scope["trace_id"], scope["access"] = trace_id, access

        async def traced(message: Message) -> None:
            if message["type"] == "http.response.start":
                access["status"] = int(message["status"])
                message["headers"] = [*message.get("headers", ()), (TRACE_HEADER, trace_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, traced)
        except Exception:
            log.exception("api.failed", trace_id=trace_id, path=scope["path"])
            if "status" not in access:
                await internal_error(scope["path"], trace_id)(scope, receive, traced)
        if not scope["path"].startswith(_QUIET):
            self._told.note(scope, perf_counter() - started)


def _route_of(scope: Scope) -> str:
    return scope["access"].get("route") or getattr(scope.get("route"), "path", None) or "(none)"


def _tell(span: Span, scope: Scope) -> None:
    status = int(scope["access"].get("status") or 500)
    span.update_name(f"{scope['method']} {_route_of(scope)}")
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
