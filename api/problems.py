"""Refusals as RFC 9457 problem documents. Each kind is an exception with its status and title."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """A request that is not answered as asked.

    Args:
        detail: what is wrong, for a person.
        members: further members of the document, e.g. `field`, `rule`, `nearest`.
    """

    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    kind: ClassVar[str] = "internal"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.members = members


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
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'ApiKey realm="adamas", header="X-API-Key"'}


class NotAllowed(Problem):
    """The key lacks a scope."""

    status = HTTPStatus.FORBIDDEN
    kind = "not-allowed"


class NotFound(Problem):
    """There is no such thing."""

    status = HTTPStatus.NOT_FOUND
    kind = "not-found"


class NotReady(Problem):
    """The service cannot answer yet; the same request may succeed in a moment."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "not-ready"
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


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
    body = document(
        problem.kind,
        problem.status,
        problem.detail,
        request.url.path,
        request.scope.get("trace_id"),
        **problem.members,
    )
    return _response(body, problem.headers)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the framework refuses: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    kind = status.phrase.lower().replace(" ", "-")
    body = document(kind, status, str(error.detail), request.url.path, request.scope.get("trace_id"))
    return _response(body, error.headers or {})


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
