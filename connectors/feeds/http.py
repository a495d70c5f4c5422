"""HTTP as every vendor speaks it: when a request counts, and what each kind of refusal means for the budget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import httpx

from connectors.budget import Grant
from connectors.feeds.protocol import Banned
from runtime.metrics import counter
from schemas.errors import Retriable, SlowDown

REQUESTS: Final = counter("adamas_vendor_requests_total")
TROUBLE: Final = counter("adamas_vendor_trouble_total")

# The vendor's cold reads take over 30 s.
TIMEOUT: Final = httpx.Timeout(connect=10, read=60, write=10, pool=60)
# Below what servers commonly keep an idle connection for, so that we rarely write into one that is being closed.
LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4)


def _reporter(grant: Grant, operation: str) -> Callable[[str, Any], Awaitable[None]]:
    """Tell the grant what becomes of its request, from the HTTP client's own trace points."""

    async def report(event: str, _info: Any) -> None:
        if event == "http11.send_request_headers.started":
            await grant.writing()
            REQUESTS.labels(operation).inc()
        elif event in ("http11.send_request_body.complete", "http11.send_request_body.failed"):
            grant.written()
        elif event == "http11.receive_response_headers.complete":
            grant.answered()

    return report


async def send(
    client: httpx.AsyncClient, grant: Grant, operation: str, method: str, url: str, **parts: Any
) -> httpx.Response:
    """One request under its grant, which learns how it went.

    Raises:
        Retriable: no answer came.
    """
    try:
        response = await client.request(
            method, url, extensions={"trace": _reporter(grant, operation)}, **parts
        )
    except httpx.HTTPError as error:
        TROUBLE.labels(type(error).__name__).inc()
        cause = f"the vendor does not answer ({type(error).__name__})"
        grant.failed(cause)
        raise Retriable(cause) from error
    grant.answered()
    return response


def refuse_trouble(response: httpx.Response, grant: Grant) -> None:
    """Tell the budget of a reply that is no answer, and raise its fate.

    Raises:
        Banned: 403 that is not JSON: the firewall, not the vendor.
        SlowDown: 429, or 503 with a time.
        Retriable: any other server error, or something that is not JSON.
    """
    status, is_json = response.status_code, "json" in response.headers.get("Content-Type", "")
    if status == HTTPStatus.FORBIDDEN and not is_json:
        cause = "the vendor's firewall answers 403"
        raise Banned(cause, grant.banned(cause))
    cause = f"the vendor answers {status}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or (
        status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in response.headers
    ):
        raise SlowDown(cause, grant.throttled(_retry_after_s(response), cause))
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and is_json:
        return
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        cause += " with something that is not JSON"
    grant.failed(cause)
    raise Retriable(cause)


def clock_ms(response: httpx.Response) -> int | None:
    """The vendor's clock, milliseconds since 1970; none where the reply does not tell it."""
    with suppress(ValueError):
        return int(parsedate_to_datetime(response.headers.get("Date", "")).timestamp() * 1000)
    return None


def _retry_after_s(response: httpx.Response) -> float | None:
    with suppress(ValueError):
        return max(0.0, float(response.headers.get("Retry-After", "")))
    return None
