"""What somebody should know of: events and whom they reached, errors of our own code, and a test of the channels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from api.keys import Scope
from api.routes.jobs import JOB
from api.routes.secured import secured
from api.service import Service
from connectors.postgres import events
from operating import alert_test
from runtime import faults, jobs
from schemas.events import Kind

EVENT: Final = {"type": "object", "required": ["id", "at", "severity", "kind", "subject", "text", "reached"]}
"""JSON Schema of an event as it is shown; `connectors.postgres.events.Event` says what its members mean."""
FAULT: Final = {"type": "object", "required": ["fingerprint", "process", "count", "first_at", "last_at"]}
"""The same of `runtime.faults.Fault`."""


class Test(BaseModel):
    """Which channels are tried."""

    channels: list[Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[\w.-]+$")]] = Field(
        default_factory=list, max_length=50, description="all of them where none is named"
    )


def events_router(service: Service) -> APIRouter:
    """The routes under `/v1/events`, `/v1/errors` and `/v1/alerts`."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.get(
        "/events",
        summary="Events, open ones first, with the channels they were told over",
        **secured({"type": "object", "properties": {"events": {"items": EVENT}}}, 422),
    )
    async def listed(
        request: Request,
        open: Annotated[bool, Query(description="only those that last")] = False,
        kind: Kind | None = None,
        subject: Annotated[str | None, Query(max_length=200, pattern="^[^\x00]*$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await events.list_events(link, only_open=open, subject=subject, kind=kind, limit=limit)
            reached = await events.reached(link, [event.id for event in found])
        return {"events": [{**asdict(event), "reached": reached.get(event.id, {})} for event in found]}

    @router.get(
        "/errors",
        summary="Errors of our own code by kind, the latest first",
        **secured({"type": "object", "properties": {"errors": {"items": FAULT}}}, 422),
    )
    async def errors(
        request: Request,
        process: Annotated[str | None, Query(max_length=60, pattern="^[a-z0-9-]+$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await faults.listed(link, process=process, limit=limit)
        return {"errors": [asdict(fault) for fault in found]}

    @router.post(
        "/alerts/test",
        summary="Try whether people can be reached: a job of the monitor's",
        response_model=None,
        **secured(JOB, 422, 400, 409),
    )
    async def test(request: Request, body: Test) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return jobs.shown(await alert_test.request(link, body.channels, caller.name))

    return router
