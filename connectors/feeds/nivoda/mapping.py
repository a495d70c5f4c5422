"""Where each field of a stone stands in Nivoda's item and how it is read: the table that `streams.normalise` compiles.

Raise `MAPPER_VERSION` with every change here or in `vocabulary` that changes what a stone becomes: a replay then
writes the stones that changed, and without it none.
"""

from __future__ import annotations

from typing import Final

from connectors.feeds.nivoda.vocabulary import (
    AVAILABILITIES,
    CLARITY_GRADES,
    COLOR_GRADES,
    CULETS,
    EYE_CLEAN,
    FANCY_COLORS,
    FANCY_OVERTONES,
    FLUORESCENCE_COLORS,
    FLUORESCENCE_GRADES,
    INTENSITIES,
    LAB_GROWN_KINDS,
    LABS,
    NO_TINGE,
    ORIGINS,
    QUALITY_GRADES,
    SHAPES,
    YES_NO,
)
from connectors.feeds.table import Decimal, EyeClean, Flag, Integer, Row, Text, Tinge, Url, Words
from schemas.stone import Availability

MAPPER_VERSION: Final = 1

MAX_CARAT: Final = 1_000
"""The largest cut diamond has 546 carats; above this somebody meant milligrams."""

MAX_COST_CENTS: Final = 10**12
MAX_COMMENT: Final = 10_000


def _text(field: str, path: str, limit: int = 200, *, required: bool = False, memo: bool = False) -> Row:
    return Row(field, (path,), Text(limit, memo=memo), required)


def _words(field: str, path: str, table: dict[str, str | None], *, required: bool = False) -> Row:
    return Row(field, (path,), Words(table), required)


def _decimal(field: str, name: str, up_to: float) -> Row:
    return Row(field, (f"diamond.certificate.{name}",), Decimal(0, up_to))


def _tinge(field: str, name: str) -> Row:
    return Row(field, (f"diamond.{name}",), Tinge(NO_TINGE))


def _urls(field: str, *paths: str) -> Row:
    return Row(field, paths, Url())


MAPPING: Final[tuple[Row, ...]] = (
    Row("cost_cents", ("price",), Integer(1, MAX_COST_CENTS, memo=False), required=True),
    _text("offer_id", "id", required=True),
    Row("list_discount_bps", ("discount",), Integer(-1_000_000, 1_000_000)),
    _text("supplier_id", "diamond.supplier.id", memo=True),
    _text("supplier_name", "diamond.supplier.name", memo=True),
    _text("supplier_stock_number", "diamond.supplierStockId"),
    _text("id", "diamond.id", required=True),
    Row("feed", ("feed.name",)),
    _words("shape", "diamond.certificate.shape", SHAPES, required=True),
    Row("carat", ("diamond.certificate.carats",), Decimal(0, MAX_CARAT, places=3), required=True),
    # A stone of an unknown color cannot be priced by color; one whose color is not given can, by its other rules.
    Row("color", ("diamond.certificate.color",), Words(COLOR_GRADES), refuse_unknown=True),
    _words("clarity", "diamond.certificate.clarity", CLARITY_GRADES),
    _words("cut", "diamond.certificate.cut", QUALITY_GRADES),
    _words("polish", "diamond.certificate.polish", QUALITY_GRADES),
    _words("symmetry", "diamond.certificate.symmetry", QUALITY_GRADES),
    _words("fluorescence", "diamond.certificate.floInt", FLUORESCENCE_GRADES),
    _words("fluorescence_color", "diamond.certificate.floCol", FLUORESCENCE_COLORS),
    _words("lab", "diamond.certificate.lab", LABS),
    _text("certificate_number", "diamond.certificate.certNumber"),
    _urls("certificate_url", "diamond.certificate.pdfUrl"),
    # The item's own claim is null on many lab-grown stones and disputed on others: what was asked for decides.
    Row("lab_grown", ("feed.lab_grown",)),
    _words("lab_grown_type", "diamond.certificate.labgrown_type", LAB_GROWN_KINDS),
    Row("treated", ("diamond.certificate.treated",), Flag(YES_NO)),
    _words("fancy_color", "diamond.certificate.f_color", FANCY_COLORS),
    _words("fancy_intensity", "diamond.certificate.f_intensity", INTENSITIES),
    _words("fancy_overtone", "diamond.certificate.f_overtone", FANCY_OVERTONES),
    _decimal("length_mm", "length", 200),
    _decimal("width_mm", "width", 200),
    _decimal("depth_mm", "depth", 200),
    _decimal("depth_percent", "depthPercentage", 200),
    _decimal("table_percent", "table", 100),
    _decimal("crown_angle", "crownAngle", 90),
    _decimal("pavilion_angle", "pavAngle", 90),
    _text("girdle", "diamond.certificate.girdle", memo=True),
    Row("culet", ("diamond.certificate.culetSize",), Words(CULETS, keep_unknown=True)),
    Row("eye_clean", ("diamond.eyeClean",), EyeClean(EYE_CLEAN)),
    _tinge("milky", "milky"),
    _tinge("brown", "brown"),
    _tinge("green", "green"),
    _tinge("blue", "blue"),
    _tinge("gray", "gray"),
    _tinge("other_tinge", "other"),
    _text("key_to_symbols", "diamond.certificate.keyToSymbols", 2_000),
    _text("comments", "diamond.certificate.comments", MAX_COMMENT),
    _urls("image_url", "diamond.image", "diamond.certificate.image"),
    _urls(
        "video_url",
        *("diamond.video", "diamond.v360.url", "diamond.certificate.v360.url", "diamond.supplier_video_link"),
    ),
    Row("origin", ("diamond.mine_of_origin",), Words(ORIGINS, keep_unknown=True)),
    _text("location", "diamond.location", memo=True),
    Row("delivery_days_min", ("diamond.delivery_time.min_business_days",), Integer(0, 1_000)),
    Row("delivery_days_max", ("diamond.delivery_time.max_business_days",), Integer(0, 1_000)),
    Row("return_window_days", ("diamond.return_window",), Integer(0, 10_000)),
    Row(
        "availability",
        ("diamond.availability",),
        Words(AVAILABILITIES, null=Availability.UNAVAILABLE, fallback=Availability.UNAVAILABLE),
    ),
)
