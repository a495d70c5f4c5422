"""What every request to a simulated vendor passes first: the count of its arrival, what is due, and the faults around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .vendor import Vendor

_HTML: Final = "<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"


class Front:
    """The outside of one vendor.

    Args:
        look: lets everything happen that is due by now.
    """

    def __init__(self, vendor: Vendor, look: Callable[[], None]) -> None:
        self._vendor = vendor
        self._look = look
        self._banned_until_s = 0.0

    def arrived(self, request: Request, credential: str) -> bool:
        """Count a request where it arrived; returns whether it was one too many."""
        arrived_s = getattr(request.state, "arrived_s", None) or time.time()
        over = self._vendor.witness.arrived(credential, arrived_s)
        self._look()
        return over

    async def stopped(self, over: bool, operations: frozenset[str]) -> Response | None:
        """An answer that does not get as far as the vendor's stock, after the time that answers take; or nothing."""
        faults = self._vendor.faults
        faults.operations = operations
        if refusal := self._refusal(over):
            return refusal
        if faults.hits("latency"):
            await asyncio.sleep(self._latency_s())
            faults.operations = operations
        if faults.hits("hang"):
            await asyncio.sleep(faults.parameter("hang", "hang_s"))
            return html(504, "504 Gateway Time-out")
        return None

    def dated(self, response: Response) -> Response:
        """The answer with the vendor's own time."""
        response.headers["Date"] = formatdate(self._vendor.clock.now_s(), usegmt=True)
        return response

    def _refusal(self, over: bool) -> Response | None:
        faults = self._vendor.faults
        if faults.hits("outage"):
            return html(503, "503 Service Temporarily Unavailable")
        if faults.hits("http_403_html"):
            return html(403, "403 Forbidden")
        if faults.hits("http_429"):
            return _too_many(faults.parameter("http_429", "retry_after_s"))
        if faults.hits("http_5xx"):
            return html(int(faults.parameter("http_5xx", "status")), "Server Error")
        if faults.hits("html_body"):
            return html(200, "We are back soon")
        return self._traffic_refusal(over)

    def _traffic_refusal(self, over: bool) -> Response | None:
        settings, witness = self._vendor.settings, self._vendor.witness
        if time.time() < self._banned_until_s:
            return html(403, "403 Forbidden")
        if (
            not over
            or settings.violation_answer == "none"
            or witness.violation_count <= settings.violations_allowed
        ):
            return None
        if settings.violation_answer == "429":
            return _too_many(0)
        self._banned_until_s = time.time() + settings.ban_s
        return html(403, "403 Forbidden")

    def _latency_s(self) -> float:
        faults = self._vendor.faults
        random = faults.random("latency")
        if random.random() < faults.parameter("latency", "tail_probability"):
            return faults.parameter("latency", "tail_ms") / 1000
        median_ms = faults.parameter("latency", "median_ms")
        return median_ms * random.lognormvariate(0, faults.parameter("latency", "sigma")) / 1000


def html(status: int, title: str) -> Response:
    """A page where JSON was expected."""
    return Response(_HTML.format(title=title), status, media_type="text/html")


def _too_many(retry_after_s: float) -> Response:
    headers = {"Retry-After": str(int(retry_after_s))} if retry_after_s > 0 else {}
    return Response(b'{"message":"Too Many Requests"}', 429, headers, media_type="application/json")
