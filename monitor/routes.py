"""What `monitor` answers: the board, health and metrics."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from prometheus_client import REGISTRY, exposition
from pydantic import BaseModel

from monitor.alarms import take_alertmanager
from runtime.health import Aspect, Health
from runtime.postgres import Database
from runtime.shutdown import Shutdown
from schemas.errors import Retriable


class Message(BaseModel):
    """What Alertmanager posts, as far as it is read."""

    alerts: list[dict[str, Any]]


PAGE: Final = Path(__file__).with_name("board.html")
TELL_EVERY_S: Final = 1.0


def router(
    health: Health, database: Database, board: Callable[[], dict[str, Any]], shutdown: Shutdown
) -> APIRouter:
    """The routes of the process."""
    routes = APIRouter()

    @routes.get("/", response_class=HTMLResponse)
    async def page() -> HTMLResponse:
        # Read anew each time: it is small, and whoever works on it wants to see it.
        return HTMLResponse(await asyncio.to_thread(PAGE.read_text))

    @routes.get("/board.json")
    async def figures() -> JSONResponse:
        return JSONResponse(board(), headers={"Cache-Control": "no-store"})

    @routes.get("/board/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(
            _lines(board, shutdown), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @routes.post("/alertmanager")
    async def alertmanager(message: Message) -> JSONResponse:
        try:
            return JSONResponse(await take_alertmanager(database, message.alerts))
        except Retriable as error:
            return JSONResponse({"detail": str(error)}, 503)

    @routes.get("/health/{aspect}")
    async def answer(aspect: Aspect) -> JSONResponse:
        status, body = health.report(aspect)
        return JSONResponse(body, status)

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        encode, media_type = exposition.choose_encoder(request.headers.get("Accept") or "")
        return Response(encode(REGISTRY), headers={"Content-Type": media_type})

    return routes


async def _lines(board: Callable[[], dict[str, Any]], shutdown: Shutdown) -> AsyncIterator[str]:
    # A reader that goes away cancels this; a stopping process must not wait for readers.
    while not shutdown.requested:
        yield f"data: {json.dumps(board())}\n\n"
        await asyncio.sleep(TELL_EVERY_S)
