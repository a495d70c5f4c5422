"""The vendor's operations over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx
import msgspec

from connectors.alerts import Alerts
from connectors.budget import Budget, Grant, Priority
from connectors.feeds.demo.mapping import AVAILABILITIES, ITEM_VERSION, Identity, around
from connectors.feeds.http import clock_ms, refuse_trouble, send
from connectors.feeds.protocol import (
    NO_UPPER_END,
    Ambiguous,
    Gone,
    Hold,
    Page,
    Refused,
    Sighting,
    Slice,
)
from connectors.feeds.table import word
from runtime.settings import DemoSettings
from schemas.errors import Fatal, Invalid, Retriable
from schemas.events import Kind
from schemas.feeds import FeedInfo
from schemas.gateway import Finding
from schemas.stone import Availability

PAGE_SIZE: Final = 1_000
NO_CAP: Final = 2**31

ReplyT = TypeVar("ReplyT")


class _Count(msgspec.Struct):
    count: int


class _Listed(msgspec.Struct):
    stones: list[Identity | None]


class _Shown(msgspec.Struct):
    status: str | None = None


class _NewHold(msgspec.Struct):
    id: str
    expires_at: str | None = None


class _NewOrder(msgspec.Struct):
    order: str


class DemoFeed:
    """The vendor's one feed; a `Feed`.

    Args:
        info: the feed.
        settings: where the vendor is, and our key.
        budget: the probe of `prepare` takes its grant here.
        http: injected for tests; closed by whoever made it.
        alerts: told of a refused key, and when it is taken again.
    """

    page_size = PAGE_SIZE
    offset_cap = NO_CAP
    schema = ITEM_VERSION

    def __init__(
        self, info: FeedInfo, settings: DemoSettings, budget: Budget, http: httpx.AsyncClient, alerts: Alerts
    ) -> None:
        self.name = info.name
        self._base = (settings.url or "").rstrip("/")
        key = settings.key.get_secret_value() if settings.key else ""
        self._headers = {"Authorization": f"Bearer {key}"}
        self._budget = budget
        self._http = http
        self._alerts = alerts

    async def prepare(self, priority: Priority) -> int:
        """Read the vendor's clock."""
        with await self._budget.grant(priority) as grant:
            reply = await self._send(grant, "count", "GET", "/stones/count")
        self._alerts.resolved(Kind.VENDOR_REFUSES_LOGIN, self._budget.account)
        found = clock_ms(reply)
        if found is None:
            raise Retriable("the vendor's reply has no Date header to tell its clock by")
        return found

    async def count(self, part: Slice, grant: Grant) -> int:
        """Stones in a slice."""
        reply = await self._send(grant, "count", "GET", "/stones/count", params=_filter(part))
        return _read(_Count, reply).count

    async def search(self, part: Slice, page: int, grant: Grant) -> Page:
        """One page of a slice, in the order in which stones were listed."""
        params = _filter(part) | {"page": page + 1, "size": PAGE_SIZE}
        reply = await self._send(grant, "search", "GET", "/stones", params=params)
        stones = _read(_Listed, reply).stones
        return Page(reply.content, tuple(stone.sku if stone else None for stone in stones))

    async def by_id(self, stone: str, grant: Grant) -> Sighting:
        """One stone as it is now."""
        reply = await self._send(grant, "by_id", "GET", f"/stones/{stone}")
        if reply.status_code == HTTPStatus.NOT_FOUND:
            raise Gone(stone)
        status = AVAILABILITIES.get(word(_read(_Shown, reply).status or ""))
        # A stone alone comes bare; in the log it stands as a page of one.
        return Sighting(around(reply.content), Availability(status or Availability.UNAVAILABLE))

    async def hold(self, stone: str, grant: Grant) -> Hold:
        """Have a stone kept for us."""
        reply = await self._change(grant, "hold", "POST", "/holds", {"sku": stone}, stone)
        held = _read(_NewHold, reply)
        return Hold(held.id, _moment_ms(held.expires_at))

    async def release(self, hold: str, grant: Grant) -> None:
        """End a hold."""
        with suppress(Gone):
            await self._change(grant, "release", "DELETE", f"/holds/{hold}", None, hold)

    async def order(self, stones: Sequence[str], reference: str, grant: Grant) -> str:
        """Buy stones. This vendor takes no reference of ours: an order without an answer is found by its stones."""
        reply = await self._change(
            grant, "order", "POST", "/orders", {"skus": list(stones)}, ", ".join(stones)
        )
        return _read(_NewOrder, reply).order

    async def probe(self, priority: Priority) -> list[Finding]:
        """Nothing: this vendor's documentation says it all."""
        return []

    async def _change(
        self, grant: Grant, operation: str, method: str, path: str, body: object, stone: str
    ) -> httpx.Response:
        try:
            reply = await self._send(grant, operation, method, path, json=body)
        except Retriable as error:
            if grant.sent and type(error) is Retriable:
                raise Ambiguous(str(error)) from error
            raise
        if reply.status_code == HTTPStatus.NOT_FOUND:
            raise Gone(stone)
        if reply.status_code == HTTPStatus.CONFLICT:
            raise Refused(_message(reply))
        return reply

    async def _send(
        self, grant: Grant, operation: str, method: str, path: str, **parts: Any
    ) -> httpx.Response:
        url = f"{self._base}{path}"
        reply = await send(self._http, grant, operation, method, url, headers=self._headers, **parts)
        if reply.status_code != HTTPStatus.NO_CONTENT:
            refuse_trouble(reply, grant)
        grant.succeeded()
        if reply.status_code == HTTPStatus.UNAUTHORIZED:
            refusal = (
                f"the vendor of {self.name} refuses our key; set ADAMAS_DEMO_KEY to what it takes and start ingest, "
                "until then nothing is read"
            )
            self._alerts.raised(Kind.VENDOR_REFUSES_LOGIN, self._budget.account, refusal)
            raise Fatal(refusal)
        if reply.status_code == HTTPStatus.BAD_REQUEST:
            raise Invalid("query", f"the vendor refuses it: {_message(reply)}", "refused_query")
        return reply


def _filter(part: Slice) -> dict[str, Any]:
    if part.shapes is not None or part.gone:
        raise Invalid("slice", "this vendor filters neither by shape nor for what is gone", "refused_query")
    low, high = part.dollars_per_carat
    # Half-open at this vendor: [10, 19] whole dollars are 10 to below 20.
    params: dict[str, Any] = {"price_per_carat_from": low}
    if high < NO_UPPER_END:
        params["price_per_carat_below"] = high + 1
    if part.carats:
        params |= {"carats_from": part.carats[0], "carats_to": part.carats[1]}
    if part.updated_from_ms is not None:
        params["changed_since"] = datetime.fromtimestamp(part.updated_from_ms / 1000, UTC).isoformat()
    return params


def _read(shape: type[ReplyT], reply: httpx.Response) -> ReplyT:
    try:
        return msgspec.json.decode(reply.content, type=shape)
    except msgspec.DecodeError as error:
        raise Retriable(f"the vendor's reply is not what was asked for ({error})") from error


def _message(reply: httpx.Response) -> str:
    with suppress(msgspec.DecodeError):
        return str(msgspec.json.decode(reply.content, type=dict[str, Any]).get("message", ""))
    return f"it answers {reply.status_code}"


def _moment_ms(text: str | None) -> int | None:
    with suppress(ValueError):
        return int(datetime.fromisoformat(text or "").timestamp() * 1000)
    return None
