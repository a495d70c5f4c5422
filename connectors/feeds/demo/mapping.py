"""The form of this vendor's replies, and how its items become stones."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from connectors.feeds.form import Form
from connectors.feeds.nivoda.vocabulary import (
    CLARITY_GRADES,
    COLOR_GRADES,
    FANCY_COLORS,
    FLUORESCENCE_GRADES,
    LABS,
    QUALITY_GRADES,
    SHAPES,
)
from connectors.feeds.table import Decimal, Dollars, Flag, Row, Text, Url, Words, absent
from schemas.stone import Availability
from schemas.vendor import Number
from schemas.vendor import Text as VendorText

ITEM_VERSION: Final = 1
MAPPER_VERSION: Final = 1

ItemT = TypeVar("ItemT")


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


class Identity(msgspec.Struct):
    """What tells a stone from all others."""

    sku: str


def _reply(of: Any) -> Any:
    return _Stones[of]


def _items(reply: Any) -> list[Any] | None:
    stones: list[Any] | None = reply.stones
    return stones


def _stone(item: Any) -> str:
    sku: str = item.sku
    return sku


def around(item: bytes) -> bytes:
    """A lone item as a page of one."""
    return b'{"stones":[' + item + b"]}"


DEMO_FORM: Final = Form(
    item=DemoItem,
    reply=_reply,
    items=_items,
    place="stones",
    identity=Identity,
    stone=_stone,
    around=around,
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
