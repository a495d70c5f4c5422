"""Jobs: what is under way, how far, when it will be done; cancel it."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request

from api.keys import Scope
from api.routes.secured import secured
from api.service import Service
from runtime import jobs

JOB: Final = {"type": "object", "required": ["id", "kind", "subject", "state", "done", "total", "eta_s"]}
"""JSON Schema of a job as it is shown; `runtime.jobs.Job` says what its members mean."""

Id = Annotated[int, Path(ge=1, le=2**63 - 1, description="the job's number")]


def jobs_router(service: Service) -> APIRouter:
    """The routes under `/v1/jobs`."""
    router = APIRouter(prefix="/v1/jobs", tags=["operating"])

    @router.get(
        "",
        summary="Jobs, newest first",
        **secured({"type": "object", "properties": {"jobs": {"items": JOB}}}, 422),
    )
    async def recent(
        request: Request,
        open: Annotated[bool, Query(description="only those that wait or run")] = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await jobs.recent(link, open_only=open, limit=limit)
        return {"jobs": [jobs.shown(job) for job in found]}

    @router.get("/{id}", summary="One job", **secured(JOB, 404, 422))
    async def get(request: Request, id: Id) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return jobs.shown(await jobs.get(link, id))

    @router.post(
        "/{id}/cancel",
        summary="Ask a job to stop",
        **secured(JOB, 404, 409, 422),
    )
    async def cancel(request: Request, id: Id) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return jobs.shown(await jobs.cancel(link, id, caller.name))

    return router
