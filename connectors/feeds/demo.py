"""A second vendor, of another shape: REST, pages of a thousand, float dollars, words of its own. All of it is here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import httpx
import msgspec

from connectors.budget import Budget, Grant, Priority
from connectors.feeds.form import Form
from connectors.feeds.http import clock_ms, refuse_trouble, send
from connectors.feeds.nivoda.vocabulary import (
    CLARITY_GRADES,
    COLOR_GRADES,
    FANCY_COLORS,
    FLUORESCENCE_GRADES,
    LABS,
    QUALITY_GRADES,
    SHAPES,
)
from connectors.feeds.protocol import (
    NO_UPPER_END,
    Ambiguous,
    Gone,
    Hold,
    Page,
    Refused,
    Sighting,
    Slice,
)
from connectors.feeds.table import Decimal, Dollars, Flag, Row, Text, Url, Words, absent, word
from runtime.settings import DemoSettings
from schemas.errors import Fatal, Invalid, Retriable
from schemas.feeds import FeedInfo
from schemas.gateway import Finding
from schemas.stone import Availability
from schemas.vendor import Number
from schemas.vendor import Text as VendorText

PAGE_SIZE: Final = 1_000
ITEM_VERSION: Final = 1
MAPPER_VERSION: Final = 1
NO_CAP: Final = 2**31

ItemT = TypeVar("ItemT")
ReplyT = TypeVar("ReplyT")


class Report(msgspec.Struct, frozen=True):
    """A laboratory's report."""

    house: VendorText = None
    no: VendorText = None


class Dimensions(msgspec.Struct, frozen=True, array_like=True):
    """Millimetres, a list of three."""

    length: Number = None
    width: Number = None
    depth: Number = None


class DemoItem(msgspec.Struct, frozen=True):
    """A stone as this vendor spells it."""

    sku: str
    form: VendorText = None
    weight_ct: Number = None
    colour: VendorText = None
    tint: VendorText = None
    purity: VendorText = None
    make: VendorText = None
    polish: VendorText = None
    symmetry: VendorText = None
    glow: VendorText = None
    price_usd: Number = None
    report: Report | None = None
    dimensions_mm: Dimensions | None = None
    depth_pct: Number = None
    table_pct: Number = None
    origin: VendorText = None
    status: VendorText = None
    photo: VendorText = None
    film: VendorText = None


class _Stones(msgspec.Struct, Generic[ItemT]):
    stones: list[ItemT] | None = None


class _Identity(msgspec.Struct):
    sku: str


def _reply(of: Any) -> Any:
    return _Stones[of]


def _items(reply: Any) -> list[Any] | None:
    stones: list[Any] | None = reply.stones
    return stones


def _stone(item: Any) -> str:
    sku: str = item.sku
    return sku


def _around(item: bytes) -> bytes:
    return b'{"stones":[' + item + b"]}"


DEMO_FORM: Final = Form(
    item=DemoItem,
    reply=_reply,
    items=_items,
    place="stones",
    identity=_Identity,
    stone=_stone,
    around=_around,
)

AVAILABILITIES: Final[dict[str, str | None]] = {
    "IN STOCK": Availability.AVAILABLE,
    "RESERVED": Availability.ON_HOLD,
    **dict.fromkeys(("ON MEMO", "CONSIGNED", "SOLD", "GONE"), Availability.UNAVAILABLE),
}
_MAKES: Final = QUALITY_GRADES | {"IDEAL+": "8X"}

MAPPING: Final[tuple[Row, ...]] = (
    Row("cost_cents", ("price_usd",), Dollars(1, 10**12), required=True),
    Row("offer_id", ("sku",), Text(200), required=True),
    Row("id", ("sku",), Text(200), required=True),
    Row("feed", ("feed.name",)),
    Row("shape", ("form",), Words(SHAPES), required=True),
    Row("carat", ("weight_ct",), Decimal(0, 1_000, places=3), required=True),
    Row("color", ("colour",), Words(COLOR_GRADES), refuse_unknown=True),
    Row("clarity", ("purity",), Words(CLARITY_GRADES)),
    Row("cut", ("make",), Words(_MAKES)),
    Row("polish", ("polish",), Words(_MAKES)),
    Row("symmetry", ("symmetry",), Words(_MAKES)),
    Row("fluorescence", ("glow",), Words(FLUORESCENCE_GRADES)),
    Row("lab", ("report.house",), Words(LABS)),
    Row("certificate_number", ("report.no",), Text(200)),
    # This vendor mixes both, and says of each stone which it is.
    Row("lab_grown", ("origin",), Flag({"LAB": True, "MINED": False}), required=True),
    Row("fancy_color", ("tint",), Words(FANCY_COLORS)),
    Row("length_mm", ("dimensions_mm.length",), Decimal(0, 200)),
    Row("width_mm", ("dimensions_mm.width",), Decimal(0, 200)),
    Row("depth_mm", ("dimensions_mm.depth",), Decimal(0, 200)),
    Row("depth_percent", ("depth_pct",), Decimal(0, 200)),
    Row("table_percent", ("table_pct",), Decimal(0, 100)),
    Row("image_url", ("photo",), Url()),
    Row("video_url", ("film",), Url()),
    Row(
        "availability",
        ("status",),
        Words(AVAILABILITIES, null=Availability.UNAVAILABLE, fallback=Availability.UNAVAILABLE),
    ),
    *absent("list_discount_bps", "supplier_id", "supplier_name", "supplier_stock_number"),
    *absent("fluorescence_color", "certificate_url", "lab_grown_type", "treated", "fancy_intensity"),
    *absent("fancy_overtone", "crown_angle", "pavilion_angle", "girdle", "culet", "eye_clean", "milky"),
    *absent("brown", "green", "blue", "gray", "other_tinge", "key_to_symbols", "comments", "origin"),
    *absent("location", "delivery_days_min", "delivery_days_max", "return_window_days"),
)


class _Count(msgspec.Struct):
    count: int


class _Listed(msgspec.Struct):
    stones: list[_Identity | None]


class _Shown(msgspec.Struct):
    status: str | None = None


class _NewHold(msgspec.Struct):
    id: str
    expires_at: str | None = None


class _NewOrder(msgspec.Struct):
    order: str


class DemoFeed:
    """The vendor's one feed; a `Feed`.

    Args:
        info: the feed.
        settings: where the vendor is, and our key.
        budget: the probe of `prepare` takes its grant here.
        http: injected for tests; closed by whoever made it.
    """

    page_size = PAGE_SIZE
    offset_cap = NO_CAP
    schema = ITEM_VERSION

    def __init__(
        self, info: FeedInfo, settings: DemoSettings, budget: Budget, http: httpx.AsyncClient
    ) -> None:
        self.name = info.name
        self._base = (settings.url or "").rstrip("/")
        key = settings.key.get_secret_value() if settings.key else ""
        self._headers = {"Authorization": f"Bearer {key}"}
        self._budget = budget
        self._http = http

    async def prepare(self, priority: Priority) -> int:
        """Read the vendor's clock."""
        with await self._budget.grant(priority) as grant:
            reply = await self._send(grant, "count", "GET", "/stones/count")
        found = clock_ms(reply)
        if found is None:
            raise Retriable("the vendor's reply has no Date header to tell its clock by")
        return found

    async def count(self, part: Slice, grant: Grant) -> int:
        """Stones in a slice."""
        reply = await self._send(grant, "count", "GET", "/stones/count", params=_filter(part))
        return _read(_Count, reply).count

    async def search(self, part: Slice, page: int, grant: Grant) -> Page:
        """One page of a slice, in the order in which stones were listed."""
        params = _filter(part) | {"page": page + 1, "size": PAGE_SIZE}
        reply = await self._send(grant, "search", "GET", "/stones", params=params)
        stones = _read(_Listed, reply).stones
        return Page(reply.content, tuple(stone.sku if stone else None for stone in stones))

    async def by_id(self, stone: str, grant: Grant) -> Sighting:
        """One stone as it is now."""
        reply = await self._send(grant, "by_id", "GET", f"/stones/{stone}")
        if reply.status_code == HTTPStatus.NOT_FOUND:
            raise Gone(stone)
        status = AVAILABILITIES.get(word(_read(_Shown, reply).status or ""))
        # A stone alone comes bare; in the log it stands as a page of one.
        return Sighting(_around(reply.content), Availability(status or Availability.UNAVAILABLE))

    async def hold(self, stone: str, grant: Grant) -> Hold:
        """Have a stone kept for us."""
        reply = await self._change(grant, "hold", "POST", "/holds", {"sku": stone}, stone)
        held = _read(_NewHold, reply)
        return Hold(held.id, _moment_ms(held.expires_at))

    async def release(self, hold: str, grant: Grant) -> None:
        """End a hold."""
        with suppress(Gone):
            await self._change(grant, "release", "DELETE", f"/holds/{hold}", None, hold)

    async def order(self, stones: Sequence[str], reference: str, grant: Grant) -> str:
        """Buy stones. This vendor takes no reference of ours: an order without an answer is found by its stones."""
        reply = await self._change(
            grant, "order", "POST", "/orders", {"skus": list(stones)}, ", ".join(stones)
        )
        return _read(_NewOrder, reply).order

    async def probe(self, priority: Priority) -> list[Finding]:
        """Nothing: this vendor's documentation says it all."""
        return []

    async def _change(
        self, grant: Grant, operation: str, method: str, path: str, body: object, stone: str
    ) -> httpx.Response:
        try:
            reply = await self._send(grant, operation, method, path, json=body)
        except Retriable as error:
            if grant.sent and type(error) is Retriable:
                raise Ambiguous(str(error)) from error
            raise
        if reply.status_code == HTTPStatus.NOT_FOUND:
            raise Gone(stone)
        if reply.status_code == HTTPStatus.CONFLICT:
            raise Refused(_message(reply))
        return reply

    async def _send(
        self, grant: Grant, operation: str, method: str, path: str, **parts: Any
    ) -> httpx.Response:
        url = f"{self._base}{path}"
        reply = await send(self._http, grant, operation, method, url, headers=self._headers, **parts)
        if reply.status_code != HTTPStatus.NO_CONTENT:
            refuse_trouble(reply, grant)
        grant.succeeded()
        if reply.status_code == HTTPStatus.UNAUTHORIZED:
            raise Fatal(f"the vendor of {self.name} refuses our key")
        if reply.status_code == HTTPStatus.BAD_REQUEST:
            raise Invalid("query", f"the vendor refuses it: {_message(reply)}", "refused_query")
        return reply


def _filter(part: Slice) -> dict[str, Any]:
    if part.shapes is not None or part.gone:
        raise Invalid("slice", "this vendor filters neither by shape nor for what is gone", "refused_query")
    low, high = part.dollars_per_carat
    # Half-open at this vendor: [10, 19] whole dollars are 10 to below 20.
    params: dict[str, Any] = {"price_per_carat_from": low}
    if high < NO_UPPER_END:
        params["price_per_carat_below"] = high + 1
    if part.carats:
        params |= {"carats_from": part.carats[0], "carats_to": part.carats[1]}
    if part.updated_from_ms is not None:
        params["changed_since"] = datetime.fromtimestamp(part.updated_from_ms / 1000, UTC).isoformat()
    return params


def _read(shape: type[ReplyT], reply: httpx.Response) -> ReplyT:
    try:
        return msgspec.json.decode(reply.content, type=shape)
    except msgspec.DecodeError as error:
        raise Retriable(f"the vendor's reply is not what was asked for ({error})") from error


def _message(reply: httpx.Response) -> str:
    with suppress(msgspec.DecodeError):
        return str(msgspec.json.decode(reply.content, type=dict[str, Any]).get("message", ""))
    return f"it answers {reply.status_code}"


def _moment_ms(text: str | None) -> int | None:
    with suppress(ValueError):
        return int(datetime.fromisoformat(text or "").timestamp() * 1000)
    return None
