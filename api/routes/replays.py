"""Replays of the raw log."""

from __future__ import annotations

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from api.keys import Scope
from api.routes.jobs import JOB, Id
from api.routes.secured import secured
from api.service import Service
from operating import replay, shadow, undo
from operating.span import preview, resolve
from runtime import jobs
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.errors import Retriable

OBJECT: Final = {"type": "object"}
_WORD: Final = r"^[A-Za-z0-9:.+_-]+$"


class Range(BaseModel):
    """A range of a feed's raw partition; each end is a time, an offset or a run."""

    feed: str = Field(max_length=60, pattern="^[a-z0-9-]+$")
    start: str = Field(alias="from", max_length=100, pattern=_WORD)
    end: str | None = Field(None, alias="to", max_length=100, pattern=_WORD)


class Replay(Range):
    """A replay, or a shadow of one."""

    by: Literal["offsets", "background", "shadow"]


def replays_router(service: Service) -> APIRouter:
    """The routes under `/v1/replays`."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.post(
        "/replays/preview",
        summary="What a replay of a range means",
        response_model=None,
        **secured(OBJECT, 422, 400, 404),
    )
    async def look(request: Request, body: Range) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        _, kafka = _behind(service)
        span = await resolve(kafka, body.feed, body.start, body.end)
        async with service.postgres() as link:
            return (await preview(kafka, link, span)).shown()

    @router.post(
        "/replays",
        summary="Replay a range, or make a shadow of it: a job",
        response_model=None,
        **secured(JOB, 422, 400, 404, 409),
    )
    async def begin(request: Request, body: Replay) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        _, kafka = _behind(service)
        span = await resolve(kafka, body.feed, body.start, body.end)
        async with service.postgres() as link, link.transaction():
            if body.by == "shadow":
                return jobs.shown(await shadow.request(link, span, caller.name))
            found = await preview(kafka, link, span)
            return jobs.shown(await replay.request(link, found, body.by, caller.name))

    @router.post(
        "/replays/{id}/undo",
        summary="Give stones their content of before a replay back: a job",
        response_model=None,
        **secured(JOB, 422, 404, 409),
    )
    async def undo_(request: Request, id: Id) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link, link.transaction():
            return jobs.shown(await undo.request(link, id, caller.name))

    @router.post(
        "/replays/{id}/promote",
        summary="Make a shadow the truth: a job",
        response_model=None,
        **secured(JOB, 422, 404, 409),
    )
    async def promote(request: Request, id: Id) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        _, kafka = _behind(service)
        async with service.postgres() as link, link.transaction():
            made = await jobs.get(link, id)
            found = await preview(kafka, link, shadow.span_of(made))
            return jobs.shown(await shadow.promote(link, made, found, caller.name))

    return router


def _behind(service: Service) -> tuple[Database, KafkaSettings]:
    if service.database is None or service.kafka is None:
        raise Retriable("this service has neither Kafka nor Postgres")
    return service.database, service.kafka
