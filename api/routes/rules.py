"""Rule sets: check, preview, draft, publish, widen, take back, roll back; their history; exchange rates."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.keys import Scope
from api.problems import answers
from api.routes.secured import SECURED, secured
from api.service import Service
from schemas.rule_file import parse_rule_file, read_rule_set
from schemas.ruleset import WHOLE_BPS, Rate, RuleSet, TrialLimits
from streams.pricing.findings import findings
from streams.rules import history as rules_history
from streams.rules import rates
from streams.rules.desk import Intent
from streams.rules.store import Publication

_OBJECT: Final = {"type": "object"}
_FILE: Final = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": _OBJECT} for kind in ("application/json", "application/yaml")},
    },
    **SECURED,
}

Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="number of a published rule set")]
DraftId = Annotated[int, Path(ge=1, le=2**63 - 1, description="the draft's number")]
Text = Annotated[str, Field(min_length=1, max_length=2_000)]
BigInt = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
ShareBps = Annotated[int, Field(strict=True, ge=1, le=WHOLE_BPS)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Why(_Body):
    """Why something is done; `base` is the number it was made from, and a 409 follows when that is not the head."""

    reason: Text
    base: BigInt | None = None


class Publishing(Why):
    """How something is published; `override` is the reason for which broken guardrails do not matter."""

    override: Text | None = None
    share_bps: ShareBps = WHOLE_BPS
    limits: TrialLimits = TrialLimits()

    def intent(self, actor: str) -> Intent:
        """The same as the core takes it."""
        return Intent(actor, self.reason, self.base, self.override, self.limits)


class PublishingRules(Publishing):
    """A rule set with how it is published."""

    rules: dict[str, Any]


class Drafting(_Body):
    """A draft to keep."""

    rules: dict[str, Any]
    note: Annotated[str, Field(max_length=2_000)] = ""
    base: BigInt | None = None


class Recording(_Body):
    """A rate to record: minor units of the currency per million US cents; one that moves by more than 10 % wants a reason."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    ppm: Annotated[int, Field(strict=True, ge=1, le=900_000_000)]
    reason: Text | None = None


def rules_router(service: Service) -> APIRouter:
    """The routes under `/v1/rules` and `/v1/rates`."""
    router = APIRouter(prefix="/v1", tags=["operating"])
    # Before the routes that would take `drafts` for a number.
    _add_drafts(router, service)
    _add_reading(router, service)
    _add_publishing(router, service)
    _add_rates(router, service)
    return router


def _add_reading(router: APIRouter, service: Service) -> None:
    @router.get("/rules", summary="Published numbers", **secured(_OBJECT, 422))
    async def listed(
        request: Request,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        async with service.postgres() as link:
            return {"rules": await rules_history.numbers(link, before=before, limit=limit)}

    @router.get(
        "/rules/{number:int}",
        summary="One number: content, diff, preview, who and why",
        **secured(_OBJECT, 404, 422),
    )
    async def one(request: Request, number: Number) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        async with service.postgres() as link:
            return await rules_history.number(link, number)

    @router.post(
        "/rules/check",
        summary="Check a rule file",
        responses=answers(_OBJECT, 422),
        openapi_extra=_FILE,
    )
    async def check(request: Request) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        content = await _file(request)
        found = await asyncio.to_thread(findings, content)
        return {"rows": len(content.rules), "findings": msgspec.to_builtins(found)}

    @router.post(
        "/rules/preview",
        summary="What publishing a rule file would do to the whole stock",
        responses=answers(_OBJECT, 422),
        openapi_extra=_FILE,
    )
    async def preview(
        request: Request, share_bps: Annotated[int, Query(ge=1, le=WHOLE_BPS)] = WHOLE_BPS
    ) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        content = await _file(request)
        report = await service.rules.preview(content, share_bps)
        found = await asyncio.to_thread(findings, content)
        return {**msgspec.to_builtins(report), "findings": msgspec.to_builtins(found)}

    @router.post(
        "/rules/preview/stones",
        summary="Every stone whose price a rule file would change, as NDJSON",
        responses={200: {"content": {"application/x-ndjson": {}}}, **_refusals(422)},
        response_class=Response,
        openapi_extra=_FILE,
    )
    async def stones(request: Request) -> Response:
        await service.authorise(request, Scope.READ_RULES)
        found = await service.rules.changes(await _file(request))
        body = await asyncio.to_thread(
            lambda: msgspec.json.Encoder().encode_lines([one._asdict() for one in found])
        )
        return Response(body, media_type="application/x-ndjson")


def _add_drafts(router: APIRouter, service: Service) -> None:
    @router.get("/rules/drafts", summary="Drafts", **secured(_OBJECT, 422))
    async def listed(request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        async with service.postgres() as link:
            return {"drafts": await rules_history.drafts(link, limit=limit)}

    @router.post(
        "/rules/draft",
        summary="Keep a draft",
        **secured(_OBJECT, 400, 404, 422),
    )
    async def keep(request: Request, body: Drafting) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        content = await asyncio.to_thread(read_rule_set, body.rules)
        draft_id = await service.rules.draft(content, actor=caller.name, note=body.note, base=body.base)
        return await _draft(service, draft_id)

    @router.get(
        "/rules/drafts/{id:int}",
        summary="One draft",
        **secured(_OBJECT, 404, 422),
    )
    async def one(request: Request, id: DraftId) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        return await _draft(service, id)

    @router.post(
        "/rules/drafts/{id:int}/preview",
        summary="Preview a draft",
        **secured(_OBJECT, 404, 409, 422),
    )
    async def preview(request: Request, id: DraftId) -> dict[str, Any]:
        await service.authorise(request, Scope.WRITE_RULES)
        found: dict[str, Any] = msgspec.to_builtins(await service.rules.preview_draft(id))
        return found

    @router.post(
        "/rules/drafts/{id:int}/publish",
        summary="Publish a draft",
        **secured(_OBJECT, 400, 404, 409, 422),
    )
    async def publish(request: Request, id: DraftId, body: Publishing) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        return told(await service.rules.publish_draft(id, body.intent(caller.name), body.share_bps))

    @router.post(
        "/rules/drafts/{id:int}/discard",
        summary="Put a draft away",
        **secured(_OBJECT, 404, 409, 422),
    )
    async def discard(request: Request, id: DraftId) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        await service.rules.discard(id, actor=caller.name)
        return await _draft(service, id)


def _add_publishing(router: APIRouter, service: Service) -> None:
    @router.post(
        "/rules/publish",
        summary="Publish a rule set",
        **secured(_OBJECT, 400, 409, 422),
    )
    async def publish(request: Request, body: PublishingRules) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        content = await asyncio.to_thread(read_rule_set, body.rules)
        return told(await service.rules.publish(content, body.intent(caller.name), body.share_bps))

    @router.post(
        "/rules/share",
        summary="Give the number on trial to another share of the stones",
        **secured(_OBJECT, 400, 409, 422),
    )
    async def widen(request: Request, body: Publishing) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        return told(await service.rules.widen(body.share_bps, body.intent(caller.name)))

    @router.post(
        "/rules/take-back",
        summary="End a gradual publish: all stones as before it",
        **secured(_OBJECT, 400, 409, 422),
    )
    async def take_back(request: Request, body: Why) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        return told(await service.rules.take_back(Intent(caller.name, body.reason, body.base)))

    @router.post(
        "/rules/{number:int}/rollback",
        summary="Publish a former number's content anew",
        **secured(_OBJECT, 400, 404, 409, 422),
    )
    async def rollback(request: Request, number: Number, body: Why) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        return told(await service.rules.rollback(number, Intent(caller.name, body.reason, body.base)))


def _add_rates(router: APIRouter, service: Service) -> None:
    @router.get("/rates", summary="The last known exchange rates", **secured(_OBJECT))
    async def listed(request: Request) -> dict[str, Any]:
        await service.authorise(request, Scope.READ_RULES)
        async with service.postgres() as link:
            return {"rates": [rates.shown(kept) for kept in (await rates.latest(link)).values()]}

    @router.post("/rates/record", summary="Record a rate", **secured(_OBJECT, 400, 409, 422))
    async def record(request: Request, body: Recording) -> dict[str, Any]:
        caller = await service.authorise(request, Scope.WRITE_RULES)
        rate = Rate(**body.model_dump(exclude={"reason"}), at=int(time.time() * 1000), source=caller.name)
        async with service.postgres() as link:
            kept, new = await rates.record(link, rate, actor=caller.name, reason=body.reason)
        return {**rates.shown(kept), "recorded": new}


def told(publication: Publication) -> dict[str, Any]:
    """A publish as an answer; `delivered` is false while Kafka is away, and becomes true by itself."""
    published = publication.published
    return {
        "number": published.number,
        "cause": published.cause,
        "share_bps": published.share_bps,
        "delivered": publication.delivered,
    }


async def _file(request: Request) -> RuleSet:
    return await asyncio.to_thread(parse_rule_file, await request.body())


async def _draft(service: Service, draft_id: int) -> dict[str, Any]:
    async with service.postgres() as link:
        return await rules_history.draft(link, draft_id)


def _refusals(*problems: int) -> dict[int | str, dict[str, Any]]:
    return {status: answer for status, answer in answers(_OBJECT, *problems).items() if status != 200}
