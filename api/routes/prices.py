"""Why a stone costs what it costs, and the price history as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from api.keys import Scope
from api.problems import answers
from api.routes.secured import SECURED, secured
from api.service import Service
from api.strict import Moment
from operating.price import explain
from operating.price_export import Wanted, lines
from schemas.errors import Retriable

_OBJECT: Final = {"type": "object"}
_CSV: Final = "text/csv"
_Text = Annotated[str | None, Query(max_length=200)]


def prices_router(service: Service) -> APIRouter:
    """The routes `/v1/diamonds/{stone}/price` and `/v1/prices`."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.get(
        "/diamonds/{stone}/price",
        summary="Why a stone costs what it costs",
        response_model=None,
        **secured(_OBJECT, 422, 404),
    )
    async def why(
        request: Request,
        stone: Annotated[str, Path(max_length=200, description="feed:vendor's stone id")],
        at: Annotated[Moment | None, Query(description="a past time; now without one")] = None,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_COST)
        if service.database is None or service.kafka is None or service.archive is None:
            raise Retriable("this service has neither Kafka nor Postgres")
        return (await explain(service.database, service.kafka, service.archive, stone, at)).shown()

    @router.get(
        "/prices",
        summary="Every price of a stone, a rule or a period, oldest first, as CSV",
        responses={**answers(_OBJECT, 422), 200: {"content": {_CSV: {"schema": {"type": "string"}}}}},
        response_class=StreamingResponse,
        openapi_extra=dict(SECURED),
    )
    async def history(
        request: Request,
        stone: _Text = None,
        rule: _Text = None,
        start: Annotated[Moment | None, Query(alias="from", description="the first moment")] = None,
        end: Annotated[Moment | None, Query(alias="to", description="the first moment no more")] = None,
    ) -> StreamingResponse:
        await service.authorise(request, Scope.READ_COST)
        pieces = _pieces(service, Wanted(stone, rule, start, end))
        # Begun before it is answered: with Postgres away this is a 503 and no torn file.
        return StreamingResponse(_all(await anext(pieces), pieces), media_type=_CSV)

    return router


async def _pieces(service: Service, wanted: Wanted) -> AsyncIterator[str]:
    async with service.postgres() as link:
        async for piece in lines(link, wanted):
            yield piece


async def _all(first: str, others: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for piece in others:
        yield piece
