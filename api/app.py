"""The application: routes, problems and the OpenAPI document around a `Service`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from api.access import Access, AtOnce, Told
from api.items import ITEM_SCHEMA, PAGE_SCHEMA, SLIM_ITEM_SCHEMA
from api.problems import (
    KEY_HEADER,
    SCHEMA,
    Problem,
    on_bad_request,
    on_http_exception,
    on_invalid,
    on_problem,
    on_retriable,
)
from api.routes.availability import availability_router
from api.routes.dead import dead_router
from api.routes.diamonds import diamonds_router
from api.routes.events import events_router
from api.routes.health import health_router
from api.routes.jobs import jobs_router
from api.routes.prices import prices_router
from api.routes.replays import replays_router
from api.routes.rules import rules_router
from api.routes.runs import runs_router
from api.routes.sums import sums_router
from api.search import PATH, Search
from api.service import Service
from api.strict import strict
from schemas.errors import Invalid, Retriable

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_TITLE: Final = "Adamas"
_SUMMARY: Final = "Diamonds, priced and searchable within seconds of the vendor's change."


class App(FastAPI):
    """FastAPI's, and what answers before it.

    Attributes:
        at_once: for the server; without it `Access` asks it all the same.
    """

    at_once: AtOnce


def create_app(service: Service, lifespan: Lifespan | None = None) -> App:
    """An application that answers from `service`; it starts and stops nothing but what `lifespan` does."""
    app = App(
        title=_TITLE,
        summary=_SUMMARY,
        version=service.health.version,
        lifespan=lifespan,
        redoc_url=None,
        dependencies=[Depends(strict)],
        # `Access` makes the one span of a request, also of those that do not pass the router.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    search = Search(service)
    app.include_router(diamonds_router(service, search))
    app.include_router(availability_router(service))
    app.include_router(jobs_router(service))
    app.include_router(events_router(service))
    app.include_router(dead_router(service))
    app.include_router(replays_router(service))
    app.include_router(prices_router(service))
    app.include_router(rules_router(service))
    app.include_router(runs_router(service))
    app.include_router(sums_router(service))
    app.include_router(health_router(service))
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(Invalid, on_invalid)
    app.add_exception_handler(Retriable, on_retriable)
    app.add_exception_handler(RequestValidationError, on_bad_request)
    app.add_exception_handler(HTTPException, on_http_exception)
    told = Told(service.freshness)
    app.at_once = AtOnce(told, {PATH: search.at_once})
    app.add_middleware(Access, told=told, at_once=app.at_once)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if not app.openapi_schema:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(
            Item=ITEM_SCHEMA, SlimItem=SLIM_ITEM_SCHEMA, Page=PAGE_SCHEMA, Problem=SCHEMA
        )
        components["securitySchemes"] = {"key": {"type": "apiKey", "in": "header", "name": KEY_HEADER}}
        app.openapi_schema = document
    return app.openapi_schema
