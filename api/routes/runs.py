"""Runs: what is read, whether it adds up, and what an operator may do to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request

from api.keys import Scope
from api.routes.secured import secured
from api.service import Service
from api.strict import Moment
from connectors.runs import actions, store
from connectors.runs.actions import Action, Asked
from connectors.runs.states import State
from connectors.runs.view import whole
from runtime.postgres import Link
from schemas.errors import Invalid
from schemas.facts import RunKind

RUN: Final = {"type": "object", "required": ["run", "feed", "kind", "state", "attempt", "requested_at"]}
"""JSON Schema of a run as it is shown; `connectors.runs.store.Run` says what its members mean."""
ASKED: Final = {"type": "object", "required": ["id", "action", "actor", "due_at", "outcome"]}

Name = Annotated[str, Path(max_length=200, description="the run's name")]


def runs_router(service: Service) -> APIRouter:
    """The routes under `/v1/runs`, and a feed's watermark."""
    router = APIRouter(prefix="/v1", tags=["operating"])

    @router.get(
        "/runs",
        summary="Runs, newest first",
        **secured({"type": "object", "properties": {"runs": {"items": RUN}}}, 422),
    )
    async def recent(
        request: Request,
        feed: str | None = None,
        kind: RunKind | None = None,
        state: State | None = None,
        before: Annotated[Moment | None, Query(description="`requested_at` of the last one shown")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        if before is not None and before.tzinfo is None:
            raise Invalid("before", "must name its zone, as 2026-03-01T12:00:00Z")
        async with service.postgres() as link:
            found = await store.recent(link, feed=feed, kind=kind, state=state, before=before, limit=limit)
        return {"runs": [store.shown(run) for run in found]}

    @router.get(
        "/runs/stuck",
        summary="Runs that are due or under way and do not move",
        **secured({"type": "object", "properties": {"runs": {"items": RUN}}}, 422),
    )
    async def stuck(
        request: Request, after_s: Annotated[float | None, Query(ge=0, le=1e9)] = None
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            found = await store.stuck(link, service.ingest.patience_s if after_s is None else after_s)
        return {"runs": [store.shown(run) for run in found]}

    @router.get(
        "/runs/actions",
        summary="What was asked for, by whom, and what came of it",
        **secured({"type": "object", "properties": {"actions": {"items": ASKED}}}, 422),
    )
    async def asked(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return {"actions": [_shown(action) for action in await actions.recent(link, limit)]}

    @router.get(
        "/runs/{run}",
        summary="One run: ledger, partitions, history",
        **secured(RUN, 404, 422),
    )
    async def show(request: Request, run: Name) -> dict[str, Any]:
        await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return await whole(link, run, service.ingest)

    async def act(request: Request, work: Callable[[Link, str], Awaitable[Asked]]) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.OPERATE)
        async with service.postgres() as link:
            return _shown(await work(link, caller.name))

    @router.post(
        "/runs",
        summary="Read a feed now, or at a time",
        **secured(ASKED, 400, 422),
    )
    async def start(
        request: Request,
        feed: Annotated[str, Body(max_length=100)],
        kind: Annotated[RunKind, Body()] = RunKind.FULL,
        at: Annotated[Moment | None, Body()] = None,
    ) -> dict[str, Any]:
        return await act(request, lambda link, actor: actions.start(link, feed, kind, actor, at=at))

    @router.post(
        "/runs/{run}/{action}",
        summary="Cancel, retry, force, delete, approve or refuse",
        **secured(ASKED, 400, 404, 409, 422),
    )
    async def to_run(
        request: Request,
        run: Name,
        action: Action,
        cause: Annotated[str, Body(max_length=500)] = "cancelled",
        partition: Annotated[int | None, Body(ge=0, le=2**31 - 1)] = None,
        at: Annotated[Moment | None, Body()] = None,
    ) -> dict[str, Any]:
        plain = {
            Action.FORCE: actions.force,
            Action.DELETE: actions.delete,
            Action.APPROVE: actions.approve,
            Action.REFUSE: actions.refuse,
        }

        async def work(link: Link, actor: str) -> Asked:
            if action is Action.CANCEL:
                return await actions.cancel(link, run, actor, cause=cause, at=at)
            if action is Action.RETRY:
                return await actions.retry(link, run, actor, partition=partition, at=at)
            if action not in plain:
                raise Invalid("action", f"must be one of cancel, retry, {', '.join(plain)}", "unknown")
            return await plain[action](link, run, actor, at=at)

        return await act(request, work)

    @router.post(
        "/feeds/{feed}/watermark",
        summary="Let a feed's next incremental run begin elsewhere",
        **secured(ASKED, 400, 422),
    )
    async def set_watermark(
        request: Request,
        feed: Annotated[str, Path(max_length=100)],
        watermark: Annotated[Moment, Body()],
        at: Annotated[Moment | None, Body()] = None,
    ) -> dict[str, Any]:
        return await act(
            request, lambda link, actor: actions.set_watermark(link, feed, watermark, actor, at=at)
        )

    return router


def _shown(asked: Asked) -> dict[str, Any]:
    return dict(msgspec.to_builtins(asked))
