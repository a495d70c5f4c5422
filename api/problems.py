"""Refusals as RFC 9457 problem documents. Each kind is an exception with its status and title."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import Match

from schemas.errors import Invalid, SlowDown
from schemas.wording import rule_of

MEDIA_TYPE: Final = "application/problem+json"
KEY_HEADER: Final = "X-API-Key"


class Problem(Exception):
    """A request that is not answered as asked.

    Args:
        detail: what is wrong, for a person; where a field is named and no rule, it is the rule.
        members: further members of the document, e.g. `field`, `rule`, `nearest`.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    kind: ClassVar[str] = "internal"
    headers: ClassVar[Mapping[str, str]] = {}
    about: ClassVar[str | None] = None
    """The field, where it is always the same."""

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        about = {} if self.about is None else {"field": self.about}
        self.members = about | members
        if "field" in self.members:
            self.members.setdefault("rule", detail)


class BadParameter(Problem):
    """A parameter breaks a rule.

    Args:
        field: the parameter's name.
        rule: the rule it breaks.
        nearest: the nearest value that would be accepted, if there is one.
    """

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "bad-parameter"

    def __init__(self, field: str, rule: str, nearest: Any = None) -> None:
        super().__init__(f"{field} {rule}", field=field, rule=rule, nearest=nearest)


class NotAuthenticated(Problem):
    """No key, or one that does not exist."""

    status = HTTPStatus.UNAUTHORIZED
    kind = "not-authenticated"
    about = KEY_HEADER
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'ApiKey realm="adamas", header="X-API-Key"'}


class NotAllowed(Problem):
    """The key lacks a scope."""

    status = HTTPStatus.FORBIDDEN
    kind = "not-allowed"
    about = KEY_HEADER


class NotFound(Problem):
    """There is no such thing."""

    status = HTTPStatus.NOT_FOUND
    kind = "not-found"


class NotReady(Problem):
    """The service cannot answer yet; the same request may succeed in a moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "not-ready"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class DataTooOld(Problem):
    """The data is older than the caller allows; it may be younger in a moment."""

    status = HTTPStatus.PRECONDITION_FAILED
    kind = "data-too-old"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


_INVALID: Final = {
    "unknown": (HTTPStatus.NOT_FOUND, NotFound.kind),
    "busy": (HTTPStatus.CONFLICT, "conflict"),
    "ended": (HTTPStatus.CONFLICT, "conflict"),
    "taken": (HTTPStatus.CONFLICT, "conflict"),
    "stale_base": (HTTPStatus.CONFLICT, "conflict"),
}
"""Codes of `Invalid` that are answered otherwise than with 422."""


def document(
    kind: str, status: int, detail: str, instance: str, trace_id: str | None, **members: Any
) -> dict[str, Any]:
    """The members of a problem document."""
    return {
        "type": f"/problems/{kind}",
        "title": kind.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": instance,
        "trace_id": trace_id,
        **members,
    }


async def on_problem(request: Request, problem: Exception) -> Response:
    """Answer a `Problem`."""
    assert isinstance(problem, Problem)
    return refusal(problem, request.url.path, request.scope.get("trace_id"))


def refusal(problem: Problem, path: str, trace_id: str | None) -> Response:
    """The answer that a `Problem` is."""
    body = document(problem.kind, problem.status, problem.detail, path, trace_id, **problem.members)
    return _response(body, problem.headers)


async def on_invalid(request: Request, error: Exception) -> Response:
    """Answer an `Invalid` of the core: 422 with field and rule, 404 where there is no such thing, 409 where it is busy."""
    assert isinstance(error, Invalid)
    status, kind = _INVALID.get(error.code, (HTTPStatus.UNPROCESSABLE_ENTITY, BadParameter.kind))
    body = document(
        *(kind, status, str(error), request.url.path, request.scope.get("trace_id")),
        field=error.field,
        rule=error.rule,
        **error.more,
    )
    return _response(body, {})


async def on_retriable(request: Request, error: Exception) -> Response:
    """Answer a `Retriable`: 503, and when to come back where that is known."""
    response = await on_problem(request, NotReady(str(error)))
    if isinstance(error, SlowDown):
        response.headers["Retry-After"] = str(math.ceil(error.after_s))
    return response


async def on_bad_request(request: Request, error: Exception) -> Response:
    """Answer what FastAPI finds wrong with a path, a query or a body: 422 with the first field and rule."""
    assert isinstance(error, RequestValidationError)
    first: Any = error.errors()[0]
    # Of a body that is no JSON the place is a number of characters.
    where = [] if first["type"] == "json_invalid" else first["loc"][1:]
    field = ".".join(map(str, where)) or str(first["loc"][0])
    rule = rule_of(first)
    if field == "body" and "json" not in request.headers.get("Content-Type", ""):
        rule = "must be JSON, and the header Content-Type must be application/json"
    return await on_problem(request, BadParameter(field, rule))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths and methods, and bodies that are no text."""
    assert isinstance(error, HTTPException)
    status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _methods_here(request)
        field, rule = "method", f"must be {headers['Allow'].replace(', ', ' or ')} here"
    elif status == HTTPStatus.NOT_FOUND:
        field, rule = "path", "leads nowhere; /docs shows every path there is"
    else:
        field, rule = "body", str(error.detail)
    kind = status.phrase.lower().replace(" ", "-")
    trace_id = request.scope.get("trace_id")
    body = document(kind, status, f"{field} {rule}", request.url.path, trace_id, field=field, rule=rule)
    return _response(body, headers)


def _methods_here(request: Request) -> str:
    """What the path takes: the framework's own answer knows only the first of its routes."""
    routes = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.matches(request.scope)[0] is not Match.NONE
    ]
    # `/v1/diamonds/batch` could be a stone's path as well: the first that matches says which path it is.
    here = {method for route in routes if route.path == routes[0].path for method in route.methods or ()}
    return ", ".join(sorted(here))


def internal_error(path: str, trace_id: str) -> Response:
    """Answer a mistake of ours, without telling more than its trace id."""
    detail = "The mistake is ours. It is logged under the trace id."
    return _response(document("internal", 500, detail, path, trace_id), {})


def _response(body: dict[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(msgspec.json.encode(body), body["status"], dict(headers), MEDIA_TYPE)


SCHEMA: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "trace_id": {"type": ["string", "null"]},
        "field": {"type": "string", "description": "the parameter that breaks a rule"},
        "rule": {"type": "string", "description": "the rule it breaks"},
        "nearest": {"description": "the nearest value that would be accepted, or null"},
    },
}
"""JSON Schema of a problem document."""


def answers(schema: Mapping[str, Any], *problems: int) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for OpenAPI: JSON of a schema, the refusals every route with a key has, and `problems`."""
    refusal = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": "Refused", **refusal} for status in (401, 403, *problems, 503)
    }
    found[200] = {"description": "Answered", "content": {"application/json": {"schema": dict(schema)}}}
    return found
