"""The simulator's own door, `/_sim/...`: what really is, and the switches. Nothing here counts as a vendor request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import numpy as np
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from schemas.wording import rule_of

from . import vocabulary as words
from .batch import Batch
from .faults import UnknownSetting
from .inventory import Inventory, Rows
from .life import LifeRates
from .scenarios import ClockSetting, Player, SellOff, UnknownScenario, load
from .vendor import Vendor

STONES_AT_ONCE: Final = 2_000
_SHOWN_VIOLATIONS: Final = 100

Endpoint = Callable[[Request], Awaitable[Response]]
_encoder: Final = msgspec.json.Encoder()


class BadRequest(Exception):
    """The door answers 422 with the message."""


class Door:
    """The routes of one vendor's door."""

    def __init__(self, vendor: Vendor, look: Callable[[], None], players: list[Player]) -> None:
        self._vendor = vendor
        self._look = look
        self._players = players

    def routes(self) -> list[Route]:
        """All routes."""
        return [
            Route("/_sim/stats", self._guarded(self._stats), methods=["GET"]),
            Route("/_sim/stones", self._guarded(self._stones), methods=["GET"]),
            Route("/_sim/faults", self._guarded(self._list_faults), methods=["GET"]),
            Route("/_sim/faults", self._guarded(self._set_faults), methods=["POST"]),
            Route("/_sim/life", self._guarded(self._get_life), methods=["GET"]),
            Route("/_sim/life", self._guarded(self._set_life), methods=["POST"]),
            Route("/_sim/sell-off", self._guarded(self._sell_off), methods=["POST"]),
            Route("/_sim/restock", self._guarded(self._restock), methods=["POST"]),
            Route("/_sim/clock", self._guarded(self._get_clock), methods=["GET"]),
            Route("/_sim/clock", self._guarded(self._set_clock), methods=["POST"]),
            Route("/_sim/scenario", self._guarded(self._play), methods=["POST"]),
            Route("/_sim/reset_stats", self._guarded(self._reset_stats), methods=["POST"]),
        ]

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Let what is due happen first, and answer 422 with a sentence to what cannot be read."""

        async def guarded(request: Request) -> Response:
            self._look()
            self._vendor.faults.operations = frozenset()
            try:
                return await endpoint(request)
            except (BadRequest, UnknownSetting, UnknownScenario) as error:
                return _json({"error": str(error)}, 422)
            except ValidationError as error:
                return _json({"error": _sentence(error)}, 422)

        return guarded

    async def _stats(self, _request: Request) -> Response:
        witness = self._vendor.witness
        return _json(
            {
                "feeds": self._feeds(),
                "available": self._available(),
                "requests": witness.requests,
                "most_in_a_second": witness.most_in_a_second,
                "violations": witness.violation_count,
                "violation_log": [
                    {
                        "at": _rfc3339(seen.at_s),
                        "credential": seen.credential,
                        "in_that_second": seen.in_that_second,
                    }
                    for seen in witness.violations[:_SHOWN_VIOLATIONS]
                ],
                "operations": dict(self._vendor.operations),
                "life": self._vendor.life.done,
                "orders": len(self._vendor.orders),
                "now": self._vendor.now_text(),
            }
        )

    def _feeds(self) -> dict[str, int]:
        """Stones in the index of each feed that is served, sold ones too."""
        demo = {words.DEMO_FEED: self._vendor.demo.rows} if self._vendor.demo.rows else {}
        return self._vendor.inventory.feed_sizes() | demo

    def _available(self) -> dict[str, int]:
        inventory = self._vendor.inventory
        sellable = inventory["availability"] == words.AVAILABLE
        labgrown = int(np.count_nonzero(sellable & inventory["lab"]))
        demo = int(np.count_nonzero(self._vendor.demo["availability"] == words.AVAILABLE))
        counts = {
            words.NATURAL_FEED: int(np.count_nonzero(sellable)) - labgrown,
            words.LABGROWN_FEED: labgrown,
        }
        return counts | ({words.DEMO_FEED: demo} if self._vendor.demo.rows else {})

    async def _stones(self, request: Request) -> Response:
        """NDJSON; `from` counts the feed's stones (all stones without `feed`) in the order the vendor got them."""
        feed = request.query_params.get("feed")
        inventory = self._vendor.demo if feed == words.DEMO_FEED else self._vendor.inventory
        rows = _rows_of(inventory, feed)
        start = _number(request, "from", 0)
        limit = _number(request, "limit", len(rows))
        lines = self._lines(inventory, rows[start : start + limit])
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(self, inventory: Inventory, rows: Rows) -> AsyncIterator[bytes]:
        for start in range(0, len(rows), STONES_AT_ONCE):
            await asyncio.sleep(0)  # a listing of a million stones must not keep the vendor's buyers waiting
            yield _encoder.encode_lines(self._truths(inventory, rows[start : start + STONES_AT_ONCE]))

    def _truths(self, inventory: Inventory, rows: Rows) -> list[dict[str, Any]]:
        batch = Batch(inventory, rows, affects=self._vendor.faults.affects)
        columns = {
            "feed": [self._feed(inventory, labgrown) for labgrown in batch.column("lab")],
            "id": batch.ids,
            "cost_cents": [
                None if fault == "null_price" else price
                for price, fault in zip(batch.column("price_cents"), batch.faults, strict=True)
            ],
            "available": [code == words.AVAILABLE for code in batch.column("availability")],
            "fault": batch.faults,
            "availability": batch.words("availability", words.AVAILABILITIES),
            "shape": batch.words("shape", words.SHAPES),
            "carats": [carat / 100 for carat in batch.column("carat_x100")],
            "color": batch.words("color", words.COLORS),
            "clarity": batch.words("clarity", words.CLARITIES),
            "cut": batch.words("cut", words.QUALITIES),
            "polish": batch.words("polish", words.QUALITIES),
            "symmetry": batch.words("symmetry", words.QUALITIES),
            "fluorescence": batch.words("fluorescence", words.FLUORESCENCES),
            "lab": batch.laboratories,
            "certificate_number": batch.certificate_numbers,
            "lab_grown": batch.column("lab"),
            "updated_at": [_rfc3339(updated / 1000) for updated in batch.column("updated_ms")],
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _feed(self, inventory: Inventory, labgrown: bool) -> str:
        if inventory is self._vendor.demo:
            return words.DEMO_FEED
        return words.LABGROWN_FEED if labgrown else words.NATURAL_FEED

    async def _list_faults(self, _request: Request) -> Response:
        return _json(self._vendor.faults.listed())

    async def _set_faults(self, request: Request) -> Response:
        self._vendor.faults.set(await _body(request))
        return _json({name: shown for name, shown in self._vendor.faults.listed().items() if shown["active"]})

    async def _get_life(self, _request: Request) -> Response:
        return _json({"rates": self._vendor.life.rates.model_dump(), "done": self._vendor.life.done})

    async def _set_life(self, request: Request) -> Response:
        self._vendor.life.set(LifeRates.model_validate(await _body(request)))
        return await self._get_life(request)

    async def _sell_off(self, request: Request) -> Response:
        asked = SellOff.model_validate(await _body(request))
        return _json(
            {"sold": self._vendor.life.sell_share(asked.share, asked.seed, self._vendor.clock.now_ms())}
        )

    async def _restock(self, request: Request) -> Response:
        asked = SellOff.model_validate(await _body(request))
        return _json(
            {"back": self._vendor.life.restock(asked.share, asked.seed, self._vendor.clock.now_ms())}
        )

    async def _get_clock(self, _request: Request) -> Response:
        clock = self._vendor.clock
        setting = {"offset_s": clock.offset_s, "rate": clock.rate, "freeze": clock.frozen}
        return _json({"now": self._vendor.now_text(), "now_ms": clock.now_ms(), **setting})

    async def _set_clock(self, request: Request) -> Response:
        asked = ClockSetting.model_validate(await _body(request))
        self._vendor.clock.adjust(asked.offset_s, asked.rate, asked.freeze)
        return await self._get_clock(request)

    async def _play(self, request: Request) -> Response:
        """Start a scenario; its times count from now."""
        name = (await _body(request)).get("name")
        if not isinstance(name, str):
            raise BadRequest("name: a scenario's name is missing")
        self._players.append(Player(self._vendor, load(name)))
        self._look()
        return _json({"playing": name})

    async def _reset_stats(self, _request: Request) -> Response:
        self._vendor.witness.reset()
        self._vendor.operations.clear()
        return _json({"reset": True})


def _rows_of(inventory: Inventory, feed: str | None) -> Rows:
    labgrown = inventory["lab"]
    if feed is None or feed == words.DEMO_FEED:
        return np.arange(len(labgrown))
    if feed not in words.FEEDS:
        raise BadRequest(f"unknown feed {feed!r}; known: {', '.join(words.FEEDS)}")
    return np.flatnonzero(labgrown == (feed == words.LABGROWN_FEED))


def _json(body: Any, status: int = 200) -> Response:
    return Response(_encoder.encode(body), status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(await request.body() or b"{}")
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequest("the body must be an object")
    return body


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isdigit():
        raise BadRequest(f"{name}: must be a whole number, not {text!r}")
    return int(text)


def _sentence(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, detail['loc']))}: {rule_of(detail)}" for detail in error.errors())


def _rfc3339(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")
