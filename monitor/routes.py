"""What `monitor` answers: the board, health and metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY, exposition

from runtime.health import Aspect, Health


def router(health: Health) -> APIRouter:
    """The routes of the process."""
    routes = APIRouter()

    @routes.get("/health/{aspect}")
    async def answer(aspect: Aspect) -> JSONResponse:
        status, body = health.report(aspect)
        return JSONResponse(body, status)

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("Accept") or "")
        return Response(encode(REGISTRY), headers={"Content-Type": media_type})

    return routes
