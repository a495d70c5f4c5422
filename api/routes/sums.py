"""Sums over the stock that this replica answers from, for whoever compares the stores."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.keys import Scope
from api.routes.secured import secured
from api.service import Service
from schemas.sums import ENDING, Sums, decode_summed, term

SLICE: Final = 200
"""Records between which searches are answered: about 2 ms."""
_SUMS: Final = {
    "type": "object",
    "required": ["feeds", "stones"],
    "properties": {
        "feeds": {
            "type": "object",
            "description": "by feed and ending of the stones' ids: how many, and the sum of their terms",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"stones": {"type": "integer"}, "total": {"type": "integer"}},
                },
            },
        },
        "stones": {
            "type": "object",
            "description": "the term of each stone with one of the endings",
            "additionalProperties": {"type": "integer"},
        },
    },
}


def sums_router(service: Service) -> APIRouter:
    """The route `/v1/sums`."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.get("/sums", summary="Sums over this replica's stock", **secured(_SUMS, 422))
    async def sums(
        request: Request,
        endings: Annotated[
            str, Query(description="name the stones whose ids end so; several with commas")
        ] = "",
    ) -> Response:
        await service.authorise(request, Scope.OPERATE)
        named = set(filter(None, endings.split(",")))
        feeds: dict[str, Sums] = {}
        stones: dict[str, int] = {}
        records = service.index.fragments.records()
        while some := [decode_summed(record) for record in islice(records, SLICE)]:
            for stone in some:
                number = term(stone)
                feeds.setdefault(stone.feed, Sums()).add(stone.id, number)
                if stone.id[-ENDING:] in named:
                    stones[stone.id] = number
            await asyncio.sleep(0)
        told = {"feeds": {feed: held.by_ending for feed, held in feeds.items()}, "stones": stones}
        return Response(msgspec.json.encode(told), media_type="application/json")

    return router
