"""A second vendor with another shape: REST, pages of up to 1 000, float dollars, words of its own.

    GET    /demo/v2/stones?page=1&size=1000     stones in the order in which they were listed; page 1 is the first
    GET    /demo/v2/stones/count
    GET    /demo/v2/stones/{sku}
    POST   /demo/v2/holds {"sku": ...}          409 when somebody else has it
    DELETE /demo/v2/holds/{id}
    POST   /demo/v2/orders {"skus": [...]}      409 when one is gone; all or none

Filters of the first two: `price_per_carat_from` (inclusive) and `price_per_carat_below` (exclusive), `carats_from` and
`carats_to` (inclusive), `changed_since` (RFC 3339), `status` (`in_stock` by default, or `all`). Every call carries
`Authorization: Bearer <the vendor's password>` and counts in a budget of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import vocabulary as words
from .batch import Batch
from .filters import MoneyRules, Query, compile_query
from .front import Front
from .holds import Holds
from .index import Index
from .inventory import Rows
from .leaves import LEAVES
from .vendor import Vendor

SIZE_AT_MOST: Final = 1_000
_BUYER: Final = "demo buyer"
_STATUSES: Final = (
    "in_stock",
    "reserved",
    "on_memo",
    "consigned",
    "sold",
    "gone",
    "reserved",
    "on_memo",
    "sold",
)
_MAKES: Final = ("Ideal+", "Ideal", "Excellent", "Very Good", "Good", "Good", "Fair", "Fair", "Poor", "Poor")
_GLOW: Final = ("None", "Very Slight", "Slight", "Faint", "Medium", "Strong", "Strong", "Very Strong")

Handler = Callable[[Request], Awaitable[Response]]


class Answer(Exception):
    """A reply that is not a success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DemoVendor:
    """The routes of the second vendor."""

    def __init__(self, vendor: Vendor, front: Front) -> None:
        self._vendor = vendor
        self._front = front
        self._index = Index(vendor.demo)
        self._holds = Holds(vendor.demo, vendor.settings.seed + 10_000)

    def routes(self) -> list[Route]:
        """All routes."""
        root = "/demo/v2"
        return [
            Route(f"{root}/stones", self._served("demo_search", self._search), methods=["GET"]),
            Route(f"{root}/stones/count", self._served("demo_count", self._count), methods=["GET"]),
            Route(f"{root}/stones/{{sku}}", self._served("demo_by_id", self._by_id), methods=["GET"]),
            Route(f"{root}/holds", self._served("demo_hold", self._hold), methods=["POST"]),
            Route(f"{root}/holds/{{id}}", self._served("demo_release", self._release), methods=["DELETE"]),
            Route(f"{root}/orders", self._served("demo_order", self._order), methods=["POST"]),
        ]

    def _served(self, operation: str, handler: Handler) -> Handler:
        """Count the request, let faults act, check the key, and turn refusals into replies."""

        async def served(request: Request) -> Response:
            over = self._front.arrived(request, words.DEMO_FEED)
            self._holds.expire(self._vendor.clock.now_ms())
            self._vendor.operations[operation] += 1
            stopped = await self._front.stopped(over, frozenset({operation}))
            if stopped:
                return self._front.dated(stopped)
            try:
                self._check_key(request)
                return self._front.dated(await handler(request))
            except Answer as answer:
                return self._front.dated(_json({"message": str(answer)}, answer.status))

        return served

    def _check_key(self, request: Request) -> None:
        expected = f"Bearer {self._vendor.settings.password.get_secret_value()}"
        if not compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
            raise Answer(401, "the key is missing or wrong")

    async def _search(self, request: Request) -> Response:
        page = int(_number(request, "page", 1))
        size = int(_number(request, "size", 100))
        if page < 1 or not 1 <= size <= SIZE_AT_MOST:
            raise Answer(400, f"page must be at least 1 and size 1 to {SIZE_AT_MOST}")
        found = self._index.find(self._query(request))[(page - 1) * size : page * size]
        rows = self._vendor.served(found.astype(np.int64))
        return _json({"page": page, "size": size, "stones": self._stones(rows)})

    async def _count(self, request: Request) -> Response:
        return _json({"count": self._index.count(self._query(request))})

    async def _by_id(self, request: Request) -> Response:
        return _json(self._stones(np.array([self._row(request.path_params["sku"])]))[0])

    async def _hold(self, request: Request) -> Response:
        row = self._row(str((await _body(request)).get("sku")))
        now_ms = self._vendor.clock.now_ms()
        until_ms = now_ms + int(self._vendor.settings.hold_life_s * 1000)
        denied = self._vendor.faults.hits("hold_denied")
        hold = None if denied else self._holds.take(row, _BUYER, now_ms, until_ms)
        if hold is None:
            raise Answer(409, "the stone is not free")
        return _json({"id": hold.id, "expires_at": _rfc3339(hold.until_ms)}, 201)

    async def _release(self, request: Request) -> Response:
        if self._holds.release(request.path_params["id"], self._vendor.clock.now_ms()) is None:
            raise Answer(404, "no such hold")
        return Response(status_code=204)

    async def _order(self, request: Request) -> Response:
        rows = [self._row(str(sku)) for sku in (await _body(request)).get("skus", [])]
        own = self._holds.of(_BUYER)
        states = self._vendor.demo["availability"]
        if not rows or any(states[row] != words.AVAILABLE and row not in own for row in rows):
            raise Answer(409, "a stone is not free")
        for row in rows:
            self._holds.sell(row, _BUYER, self._vendor.clock.now_ms())
        return _json({"order": self._holds.new_id()}, 201)

    def _row(self, sku: str) -> int:
        row = self._vendor.demo.row_of(sku)
        if row is None:
            raise Answer(404, "no such stone")
        return row

    def _query(self, request: Request) -> Query:
        asked: dict[str, Any] = {
            "sizes": [{"from": _number(request, "carats_from", 0), "to": _number(request, "carats_to", 100)}]
        }
        if request.query_params.get("status", "in_stock") != "all":
            asked["availability"] = ["AVAILABLE"]
        if since := request.query_params.get("changed_since"):
            asked["updated"] = {"from": since}
        low = _number(request, "price_per_carat_from", 0)
        below = _number(request, "price_per_carat_below", float("inf"))
        try:
            query = compile_query(asked, MoneyRules(), omitted_means_both=True)
        except ValueError as error:
            raise Answer(400, f"changed_since: {error}") from error
        return replace(query, per_carat=(low, below, False), key=f"{query.key} {low} {below}")

    def _stones(self, rows: Rows) -> list[dict[str, Any]]:
        batch = Batch(self._vendor.demo, rows, self._holds.of(_BUYER), self._vendor.faults.affects)
        columns = {
            "sku": batch.ids,
            "form": [shape.title() for shape in LEAVES["Certificate.shape"](batch)],
            "weight_ct": LEAVES["Certificate.carats"](batch),
            "colour": LEAVES["Certificate.color"](batch),
            "tint": LEAVES["Certificate.f_color"](batch),
            "purity": batch.words("clarity", words.CLARITIES),
            "make": batch.words("cut", _MAKES),
            "polish": batch.words("polish", _MAKES),
            "symmetry": batch.words("symmetry", _MAKES),
            "glow": batch.words("fluorescence", _GLOW),
            "price_usd": [
                None if cents is None else cents / 100 for cents in LEAVES["DiamondItem.price"](batch)
            ],
            "report": _reports(batch),
            "dimensions_mm": [
                [length / 100, width / 100, depth / 100]
                for length, width, depth in zip(
                    *(batch.column(f"{name}_x100") for name in ("length", "width", "depth")), strict=True
                )
            ],
            "depth_pct": [value / 10 for value in batch.column("depth_percentage_x10")],
            "table_pct": [value / 10 for value in batch.column("table_x10")],
            "origin": ["lab" if labgrown else "mined" for labgrown in batch.column("lab")],
            "status": batch.words("availability", _STATUSES),
            "photo": LEAVES["Diamond.image"](batch),
            "film": LEAVES["Diamond.video"](batch),
            "changed_at": [_rfc3339(updated) for updated in batch.column("updated_ms")],
        }
        if self._vendor.faults.hits("demo_drift"):
            columns["clarity"] = columns.pop("purity")
            columns["weight_ct"] = [{"carats": carats} for carats in columns["weight_ct"]]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _reports(batch: Batch) -> list[dict[str, str] | None]:
    reports = zip(batch.laboratories, batch.certificate_numbers, batch.faults, strict=True)
    return [
        None if fault == "null_certificate" else {"house": lab, "no": number}
        for lab, number, fault in reports
    ]


def _number(request: Request, name: str, default: float) -> float:
    text = request.query_params.get(name)
    try:
        return default if text is None else float(text)
    except ValueError as error:
        raise Answer(400, f"{name} must be a number, not {text!r}") from error


async def _body(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Answer(400, f"the body cannot be read: {error}") from error


def _rfc3339(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")
