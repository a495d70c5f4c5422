"""Whether the process has started, lives, and may get traffic; and its metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, exposition

from api.service import Service
from runtime.health import Aspect


def health_router(service: Service) -> APIRouter:
    """The routes `/health/startup|live|ready` and `/metrics`; none needs a key."""
    router = APIRouter(tags=["health"])

    def answer(aspect: Aspect) -> JSONResponse:
        status, body = service.health.report(aspect)
        return JSONResponse(body, status)

    failing = {503: {"description": "Failing; the checks say why"}}

    @router.get("/health/startup", summary="Has it started", responses=failing)  # type: ignore[arg-type]
    async def startup() -> Response:
        return answer(Aspect.STARTUP)

    @router.get("/health/live", summary="Does it live", responses=failing)  # type: ignore[arg-type]
    async def live() -> Response:
        return answer(Aspect.LIVE)

    @router.get("/health/ready", summary="May it get traffic", responses=failing)  # type: ignore[arg-type]
    async def ready() -> Response:
        return answer(Aspect.READY)

    @router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("Accept") or "")
        return Response(encode(REGISTRY), headers={"Content-Type": media_type})

    return router
