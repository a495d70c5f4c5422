"""Dead letters: groups, fix, redrive, drop; feeds that have stopped."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.keys import Scope
from api.routes.jobs import JOB
from api.routes.secured import secured
from api.service import Service
from connectors.postgres import pauses
from operating import letters, redrive
from operating.dead_command import raw_end
from runtime import jobs
from runtime.settings import KafkaSettings
from schemas.errors import Retriable

OBJECT: Final = {"type": "object"}
Fingerprint = Annotated[str, Path(pattern="^[0-9a-f]{1,12}$", description="the group's, or its beginning")]
Feed = Annotated[str, Path(max_length=60, pattern="^[a-z0-9-]+$")]


class Drop(BaseModel):
    """Why letters are given up."""

    reason: str = Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$")


class Resume(BaseModel):
    """How a feed goes on."""

    anyway: bool = Field(False, description="let everything that is in the raw log now pass, however bad")


def dead_router(service: Service) -> APIRouter:
    """The routes under `/v1/dead` and `/v1/feeds`."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.get("/dead", summary="Groups of dead letters", response_model=None, **secured(OBJECT, 422))
    async def listed(
        request: Request,
        feed: Annotated[str | None, Query(max_length=60, pattern="^[a-z0-9-]+$")] = None,
        every: Annotated[bool, Query(description="groups without anything to do, too")] = False,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await letters.groups(link, feed=feed, every=every)
            stopped = await pauses.listed(link)
        return {
            "groups": [asdict(group) for group in found],
            "stopped": [asdict(pause) for pause in stopped if pause.what is pauses.What.FEED],
        }

    @router.get(
        "/dead/{group}",
        summary="A group with its latest letters",
        response_model=None,
        **secured(OBJECT, 422, 404),
    )
    async def show(
        request: Request, group: Fingerprint, limit: Annotated[int, Query(ge=1, le=100)] = 3
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await letters.group(link, group)
            latest = await letters.examples(link, found.fingerprint, limit)
        return {**asdict(found), "examples": [letters.shown(letter) for letter in latest]}

    @router.post(
        "/dead/{group}/fix",
        summary="Try a group with the installed code; nothing is changed",
        response_model=None,
        **secured(OBJECT, 422, 404),
    )
    async def fix(request: Request, group: Fingerprint) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        if service.database is None:
            raise Retriable("this service has no Postgres")
        return (await redrive.fix(service.database, _kafka(service), group)).shown()

    @router.post(
        "/dead/{group}/redrive",
        summary="Send what passes the sandbox again: a job",
        response_model=None,
        **secured(JOB, 422, 404, 409),
    )
    async def redrive_(request: Request, group: Fingerprint) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return jobs.shown(await redrive.request(link, group, caller.name))

    @router.post(
        "/dead/{group}/drop",
        summary="Give a group's letters up",
        response_model=None,
        **secured(OBJECT, 422, 400, 404),
    )
    async def drop(request: Request, group: Fingerprint, body: Drop) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link, link.transaction():
            dropped = await letters.drop(link, group, actor=caller.name, reason=body.reason)
        return {"discarded": dropped}

    @router.post(
        "/feeds/{feed}/resume",
        summary="Process a stopped feed on from where it stopped",
        response_model=None,
        **secured(OBJECT, 422, 400, 404, 409),
    )
    async def resume(request: Request, feed: Feed, body: Resume) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        waive_to = await asyncio.to_thread(raw_end, _kafka(service), feed) if body.anyway else None
        async with service.postgres() as link, link.transaction():
            await pauses.resume_feed(link, feed, actor=caller.name, waive_to=waive_to)
        return {"feed": feed, "waive_to": waive_to}

    return router


def _kafka(service: Service) -> KafkaSettings:
    if service.kafka is None:
        raise Retriable("this service has no Kafka")
    return service.kafka
