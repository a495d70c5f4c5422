"""Whether a stone can be sold now: the one answer that comes from the vendor and not from memory."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from msgspec import Meta

from api.keys import Scope
from api.problems import NotFound, NotReady
from api.routes.diamonds import ID_PARAMETER, JSON
from api.routes.secured import secured
from api.service import Service
from schemas.feeds import FEEDS
from schemas.gateway import Seen
from schemas.stone import Availability

DEADLINE_S: Final = 10.0
"""For the whole call; a storefront waits no longer, and the vendor's budget is not spent in vain."""
SETTLE_S: Final = 3.0
"""How long of it the answer waits for the stock to be corrected, once the log has what was learned."""


class LiveAvailability(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    id: str
    availability: Availability
    checked_at: Annotated[str, Meta(description="when the vendor was asked, RFC 3339")]
    in_stock: Annotated[
        bool,
        Meta(description="whether searches show this already; if not, they will in a moment"),
    ]


class _Stocked(msgspec.Struct):
    availability: Availability


def availability_router(service: Service) -> APIRouter:
    """`GET /v1/diamonds/{id}/availability`."""
    router = APIRouter(prefix="/v1/diamonds", tags=["diamonds"])

    @router.get(
        "/{id}/availability",
        summary="Whether a stone can be sold now, from the vendor",
        response_class=Response,
        **secured(_schema(), 404, 502, 504, parameters=[ID_PARAMETER]),
    )
    async def check(request: Request) -> Response:
        await service.authorise(request, Scope.READ_DIAMONDS)
        if service.vendor is None:
            raise NotReady("this service knows no gateway to the vendor")
        stone_id: str = request.path_params["id"]
        feed, _, stone = stone_id.partition(":")
        if feed not in FEEDS or not stone:
            raise NotFound("there is no stone of this id", field="id")
        until = asyncio.get_running_loop().time() + DEADLINE_S
        asked_at = datetime.now(UTC)
        with service.awaited.watch(stone_id) as watch:
            seen = await service.vendor.availability(feed, stone, DEADLINE_S)
            known = service.index.row(stone_id) is not None
            if seen.gone and not known:
                raise NotFound("neither the vendor nor our stock has a stone of this id", field="id")
            left_s = max(0.0, min(SETTLE_S, until - asyncio.get_running_loop().time()))
            settled = await watch.until(seen.seq, left_s)
        answer = LiveAvailability(
            id=stone_id,
            availability=_sellable(service, stone_id, seen) if settled else seen.availability,
            checked_at=asked_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            in_stock=settled,
        )
        return Response(msgspec.json.encode(answer), media_type=JSON, headers={"Cache-Control": "no-store"})

    return router


def _sellable(service: Service, stone_id: str, seen: Seen) -> Availability:
    """What the vendor has and we cannot read is not sold by us: the corrected stock knows both."""
    row = service.index.row(stone_id)
    if row is None:
        return seen.availability
    return msgspec.json.decode(service.index.fragments.record(row), type=_Stocked).availability


def _schema() -> dict[str, Any]:
    (_, parts) = msgspec.json.schema_components((LiveAvailability,), ref_template="{name}")
    answer: dict[str, Any] = parts["LiveAvailability"]
    answer["properties"]["availability"] = parts["Availability"]
    return answer
