"""Search, and one stone by id."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.cursors import to_cursor
from api.items import item, page
from api.keys import Scope
from api.parameters import parameter_docs, parse_query
from api.problems import NotFound, answers
from api.service import Service

JSON: Final = "application/json"
AS_OF_HEADER: Final = "X-As-Of"


def _answers(schema: str, *problems: int) -> dict[int | str, dict[str, Any]]:
    return answers({"$ref": f"#/components/schemas/{schema}"}, *problems)


_ID_PARAMETER: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "feed:vendor's stone id",
    "schema": {"type": "string"},
}


def diamonds_router(service: Service) -> APIRouter:
    """The routes under `/v1/diamonds`."""
    router = APIRouter(prefix="/v1/diamonds", tags=["diamonds"])

    @router.get(
        "",
        summary="Search stones",
        response_class=Response,
        responses=_answers("Page", 422),
        openapi_extra={"parameters": parameter_docs(), "security": [{"key": []}]},
    )
    async def search(request: Request) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        query = parse_query(request.scope["query_string"], service.index.values)
        found = service.index.search(query)
        with_cost = Scope.READ_COST in caller.scopes
        body = page(
            service.index.fragments.items(found.rows, with_cost=with_cost),
            found.total,
            None if found.last is None else to_cursor(found.last, query.sort),
            service.freshness.as_of,
        )
        return Response(body, media_type=JSON)

    @router.get(
        "/{id}",
        summary="One stone",
        response_class=Response,
        responses=_answers("Item", 404),
        openapi_extra={"parameters": [_ID_PARAMETER], "security": [{"key": []}]},
    )
    async def get(request: Request) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        stone_id: str = request.path_params["id"]
        row = service.index.row(stone_id)
        if row is None:
            raise NotFound("there is no stone of this id, or no longer", field="id")
        (fragment,) = service.index.fragments.items([row], with_cost=Scope.READ_COST in caller.scopes)
        body = item(fragment)
        return Response(body, media_type=JSON, headers={AS_OF_HEADER: service.freshness.as_of or "unknown"})

    return router
