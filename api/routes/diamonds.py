"""Search, count, batch, compare, and one stone with those related to it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.items import FACETS_SCHEMA, ITEMS_SCHEMA, facets_json, item, joined, slim
from api.keys import Scope
from api.parameter_docs import parameter_docs
from api.parameters import split
from api.problems import BadParameter, NotFound, Problem, answers, document
from api.related import MAX_RELATED, related
from api.routes.secured import SECURED, secured
from api.search import AS_OF_HEADER, PATH, Search
from api.searchable import decode_searchable
from api.service import Service
from api.vocabulary import texts_in

JSON: Final = "application/json"
MAX_SEARCHES: Final = 20
MAX_COMPARED: Final = 20

_AS_OF: Final = {"type": ["string", "null"], "format": "date-time"}
_PAGING: Final = ("sort", "limit", "offset", "cursor", "fields")
ID_PARAMETER: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "feed:vendor's stone id",
    "schema": {"type": "string"},
}
_UNCHANGED: Final = {"description": "The caller's copy is as the data is now"}
_COUNT: Final = {
    "type": "object",
    "required": ["total", "as_of"],
    "properties": {"total": {"type": "integer", "minimum": 0}, "facets": FACETS_SCHEMA, "as_of": _AS_OF},
}
_COMPARISON: Final = {
    "type": "object",
    "required": ["items", "missing", "differ", "as_of"],
    "properties": {
        "items": ITEMS_SCHEMA,
        "missing": {
            "type": "array",
            "items": {"type": "string"},
            "description": "ids of no stone, or no longer",
        },
        "differ": {
            "type": "array",
            "items": {"type": "string"},
            "description": "fields in which they differ",
        },
        "as_of": _AS_OF,
    },
}
_RELATED: Final = {
    "type": "object",
    "required": ["items", "total", "roles", "within", "as_of"],
    "properties": {
        "items": ITEMS_SCHEMA,
        "total": {"type": "integer", "description": "stones within the tolerance"},
        "roles": {
            "type": "object",
            "description": "id to why it is among them: best_rated, dearest, middle",
            "additionalProperties": {"type": "string"},
        },
        "within": {
            "type": "object",
            "description": "shares of weight and price, and steps of color and clarity",
        },
        "as_of": _AS_OF,
    },
}
_BATCH: Final = {
    "type": "object",
    "required": ["answers"],
    "properties": {
        "answers": {
            "type": "array",
            "description": "a page or a problem for each search, in order",
            "items": {
                "anyOf": [{"$ref": "#/components/schemas/Page"}, {"$ref": "#/components/schemas/Problem"}]
            },
        }
    },
}
_SEARCHES: Final = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["searches"],
                    "additionalProperties": False,
                    "properties": {
                        "searches": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": MAX_SEARCHES,
                            "description": "each an object of a search's parameters: texts, numbers, true, false"
                            " or lists of texts; what is wrong with one is answered in its place",
                            "items": {"type": "object"},
                        }
                    },
                }
            }
        },
    }
}


def diamonds_router(service: Service, search: Search) -> APIRouter:
    """The routes under `/v1/diamonds`."""
    router = APIRouter(prefix=PATH, tags=["diamonds"])
    index, freshness = service.index, service.freshness

    def fragments(rows: list[int], scopes: frozenset[str], *, short: bool = False) -> list[bytes]:
        found = index.fragments.items(rows, with_cost=Scope.READ_COST in scopes)
        return [slim(fragment) for fragment in found] if short else found

    @router.get(
        "",
        summary="Search stones",
        response_class=Response,
        responses={**answers({"$ref": "#/components/schemas/Page"}, 412, 422), 304: _UNCHANGED},
        openapi_extra={"parameters": parameter_docs(), **SECURED},
    )
    async def find(request: Request) -> Response:
        # Documented here, answered before the router (`api.access`) but for keys that must be looked up.
        answer = await search.answer(request.scope)
        headers = {name.decode(): value.decode() for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    @router.get(
        "/count",
        summary="How many stones match, with facets",
        response_class=Response,
        **secured(_COUNT, 412, 422, parameters=parameter_docs(without=_PAGING)),
    )
    async def count(request: Request) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        given = split(request.scope["query_string"])
        for name in _PAGING:
            if name in given:
                raise BadParameter(name, "is not a parameter of a count")
        query, more = search.query(search.read(given, caller.scopes), caller.scopes)
        found = index.search(replace(query, limit=0))
        if found.counted is not None:
            more += b',"facets":' + facets_json(found.counted)
        as_of = msgspec.json.encode(freshness.as_of)
        return Response(b'{"total":%d,"as_of":%b%b}' % (found.total, as_of, more), media_type=JSON)

    @router.post(
        "/batch",
        summary="Several searches in one call",
        response_class=Response,
        **secured(_BATCH, 422, **_SEARCHES),
    )
    async def batch(request: Request) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        bodies = []
        for number, given in enumerate(_searches(await request.body())):
            try:
                bodies.append(search.body(search.read(given, caller.scopes), caller.scopes))
            except Problem as problem:
                bodies.append(_problem(problem, f"{PATH}/batch#{number}", request))
            # Others shall not wait for all of them.
            await asyncio.sleep(0)
        return Response(b'{"answers":[' + b",".join(bodies) + b"]}", media_type=JSON)

    @router.get(
        "/compare",
        summary="Several stones side by side",
        response_class=Response,
        **secured(_COMPARISON, 422),
    )
    async def compare(
        request: Request, ids: Annotated[str, Query(description=f"at most {MAX_COMPARED} ids, with commas")]
    ) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        wanted = texts_in("ids", ids)
        if len(wanted) > MAX_COMPARED:
            raise BadParameter(
                "ids", f"has {len(wanted)} ids; at most {MAX_COMPARED} are compared", MAX_COMPARED
            )
        rows = {stone_id: row for stone_id in wanted if (row := index.row(stone_id)) is not None}
        found = fragments(list(rows.values()), caller.scopes)
        told = {
            "missing": [stone_id for stone_id in wanted if stone_id not in rows],
            "differ": _differing([msgspec.json.decode(item(fragment)) for fragment in found]),
            "as_of": freshness.as_of,
        }
        return Response(b'{"items":' + joined(found) + b"," + msgspec.json.encode(told)[1:], media_type=JSON)

    @router.get(
        "/{id}",
        summary="One stone",
        response_class=Response,
        **secured({"$ref": "#/components/schemas/Item"}, 404, parameters=[ID_PARAMETER]),
    )
    async def get(request: Request) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        (fragment,) = fragments([_row(service, request.path_params["id"])], caller.scopes)
        return Response(item(fragment), media_type=JSON, headers={AS_OF_HEADER: freshness.as_of or "unknown"})

    @router.get(
        "/{id}/related",
        summary="Stones like this one",
        response_class=Response,
        **secured(_RELATED, 404, 422, parameters=[ID_PARAMETER]),
    )
    async def like_this(
        request: Request,
        limit: Annotated[int, Query(ge=3, le=MAX_RELATED, description="how many at most")] = 12,
    ) -> Response:
        caller = await service.authorise(request, Scope.READ_DIAMONDS)
        row = _row(service, request.path_params["id"])
        found = related(index, decode_searchable(index.fragments.record(row)), limit)
        told = {
            "total": found.total,
            "roles": {_id_of(service, row): role for row, role in found.roles.items()},
            "within": found.within,
            "as_of": freshness.as_of,
        }
        items = joined(fragments(list(found.rows), caller.scopes, short=True))
        return Response(b'{"items":' + items + b"," + msgspec.json.encode(told)[1:], media_type=JSON)

    return router


def _row(service: Service, stone_id: str) -> int:
    row = service.index.row(stone_id)
    if row is None:
        raise NotFound("there is no stone of this id, or no longer", field="id")
    return row


def _id_of(service: Service, row: int) -> str:
    return decode_searchable(service.index.fragments.record(row)).id


def _searches(body: bytes) -> list[dict[str, str]]:
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadParameter("body", f"must be JSON ({error})") from error
    searches = read.get("searches") if isinstance(read, dict) and set(read) == {"searches"} else None
    if not isinstance(searches, list) or not 1 <= len(searches) <= MAX_SEARCHES:
        raise BadParameter("searches", f"must be a list of 1 to {MAX_SEARCHES} searches", MAX_SEARCHES)
    return [_given(number, one) for number, one in enumerate(searches)]


def _given(number: int, one: Any) -> dict[str, str]:
    if not isinstance(one, dict):
        raise BadParameter(f"searches.{number}", "must be an object of the parameters of a search")
    return {str(name): _as_text(f"searches.{number}.{name}", value) for name, value in one.items()}


def _as_text(name: str, value: Any) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise BadParameter(name, "must be a text, a number, true, false or a list of texts")


def _problem(problem: Problem, instance: str, request: Request) -> bytes:
    trace_id = request.scope.get("trace_id")
    return msgspec.json.encode(
        document(problem.kind, problem.status, problem.detail, instance, trace_id, **problem.members)
    )


def _differing(items: list[dict[str, Any]]) -> list[str]:
    if not items:
        return []
    return [name for name in items[0] if any(other.get(name) != items[0][name] for other in items[1:])]
