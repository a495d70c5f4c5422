"""What each field of an item is: `Type.field` to a function that gives the field for a whole page at once.

Both ways of answering (the page renderer and plain GraphQL execution) read this table, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from . import vocabulary as words
from .batch import Batch
from .columns import CERTIFICATE_IMAGE, IMAGE, V360, VIDEO
from .hashing import certificate_id
from .minor import CERTIFICATE, LISTING

Leaf = Callable[[Batch], list[Any]]

_HIDDEN: Final = {
    *(
        "express",
        "min_days",
        "extra_days",
        "frame_count",
        "availability_case",
        "supplier_missing",
        "stock_missing",
    ),
    *("crown_angle_x10", "crown_height_x10", "pavilion_angle_x10", "pavilion_depth_x10", "star_length"),
    *("lower_girdle", "pdf_missing", "number_style", "cut_case", "decimals"),
}
_SUPPLIER_STEMS: Final = (
    "Shree",
    "Kiran",
    "Nova",
    "Antwerp",
    "Ratna",
    "Blue Star",
    "Hari",
    "Lumen",
    "Orion",
    "Venus",
)
_SUPPLIER_TAILS: Final = (
    "Diamonds",
    "Gems",
    "Exports",
    "Impex",
    "Jewels",
    "Brilliants",
    "Star",
    "BVBA",
    "LLC",
)
_MEDIA_HOSTS: Final = (
    "v360.in/diamonds",
    "d360.tech/view",
    "videos.gem360.in/stone",
    "assets-images-saas.nivoda.com",
)


def _constant(value: Any) -> Leaf:
    return lambda batch: [value] * len(batch.rows)


def _listing(name: str) -> Leaf:
    return lambda batch: batch.listing(name)


def _report(name: str) -> Leaf:
    return lambda batch: batch.certificate(name)


def _words(name: str, vocabulary: tuple[str, ...]) -> Leaf:
    return lambda batch: batch.words(name, vocabulary)


def _prices(batch: Batch) -> list[int | None]:
    prices = batch.column("price_cents")
    return [
        None if fault == "null_price" else price for price, fault in zip(prices, batch.faults, strict=True)
    ]


def _discounts(batch: Batch) -> list[int]:
    return [-(digits % 6_535) + 250 for digits in batch.digits]


def _availabilities(batch: Batch) -> list[str]:
    styles = batch.listing("availability_case")
    names = batch.words("availability", words.AVAILABILITIES)
    return [
        style if style and name == "AVAILABLE" else name for style, name in zip(styles, names, strict=True)
    ]


def _shapes(batch: Batch) -> list[str]:
    shapes = batch.words("shape", words.SHAPES)
    return [
        words.UNKNOWN_SHAPE if fault == "unknown_shape" else shape
        for shape, fault in zip(shapes, batch.faults, strict=True)
    ]


def _carats(batch: Batch) -> list[float]:
    carats = batch.column("carat_x100")
    return [
        0.0 if fault == "no_carats" else carat / 100
        for carat, fault in zip(carats, batch.faults, strict=True)
    ]


def _colors(batch: Batch) -> list[str]:
    colors = batch.words("color", words.COLORS)
    return [
        words.BAD_COLOR if fault == "bad_enum" else color
        for color, fault in zip(colors, batch.faults, strict=True)
    ]


def _cuts(batch: Batch) -> list[str | None]:
    cuts = batch.words("cut", words.QUALITIES)
    return [
        cut.lower() if cut and low else cut
        for cut, low in zip(cuts, batch.certificate("cut_case"), strict=True)
    ]


def _comments(batch: Batch) -> list[str | None]:
    return [
        "x" * words.HUGE_COMMENT_CHARS if fault == "huge_comment" else comment
        for comment, fault in zip(batch.certificate("comments"), batch.faults, strict=True)
    ]


def _certificate_ids(batch: Batch) -> list[str]:
    return [certificate_id(*pair) for pair in zip(batch.laboratories, batch.certificate_numbers, strict=True)]


def _measure(name: str, scale: int) -> Leaf:
    """Lengths and percentages are text with as many decimals as the supplier felt like; "0" is unknown."""

    def leaf(batch: Batch) -> list[str]:
        values = zip(batch.column(name), batch.certificate("decimals"), strict=True)
        return [f"{value / scale:.{decimals}f}" if value else "0" for value, decimals in values]

    return leaf


def _tenths(name: str) -> Leaf:
    return lambda batch: [None if value is None else f"{value / 10:.1f}" for value in batch.certificate(name)]


def _text(name: str) -> Leaf:
    return lambda batch: [None if value is None else str(value) for value in batch.certificate(name)]


def _hold_ids(batch: Batch) -> list[str | None]:
    return [batch.holds.get(row) for row in batch.rows.tolist()]


def _stock_ids(batch: Batch) -> list[str | None]:
    pairs = zip(batch.listing("stock_missing"), batch.column("supplier"), batch.digits, strict=True)
    return [None if missing else f"S{supplier}-{digits % 100_000}" for missing, supplier, digits in pairs]


def _images(batch: Batch) -> list[str | None]:
    return [
        f"https://nivoda-images.nivodaapi.net/{stone}.jpg?w=500" if media & IMAGE and not withheld else None
        for stone, media, withheld in zip(batch.ids, batch.column("media"), batch.without_image, strict=True)
    ]


def _certificate_images(batch: Batch) -> list[str | None]:
    numbers = zip(batch.certificate_numbers, batch.column("media"), batch.without_image, strict=True)
    return [
        f"https://assets-images-saas.nivoda.com/{number}.jpg"
        if media & CERTIFICATE_IMAGE and not withheld
        else None
        for number, media, withheld in numbers
    ]


def _videos(batch: Batch) -> list[str | None]:
    numbers = zip(batch.certificate_numbers, batch.column("media"), batch.without_video, strict=True)
    return [
        f"https://loupe360.com/diamond/{number}/video/500/500" if media & VIDEO and not withheld else None
        for number, media, withheld in numbers
    ]


def _supplier_videos(batch: Batch) -> list[str | None]:
    numbers = zip(batch.certificate_numbers, batch.digits, batch.without_video, strict=True)
    return [
        None if withheld or digits % 3 else f"https://{_MEDIA_HOSTS[digits % len(_MEDIA_HOSTS)]}/{number}"
        for number, digits, withheld in numbers
    ]


def _spins(batch: Batch) -> list[bool]:
    pairs = zip(batch.column("media"), batch.without_video, strict=True)
    return [bool(media & V360) and not withheld for media, withheld in pairs]


def _spin_urls(batch: Batch) -> list[str]:
    return [f"https://loupe360.com/diamond/{number}/video/500/500" for number in batch.certificate_numbers]


def _pdf_urls(batch: Batch) -> list[str | None]:
    numbers = zip(batch.certificate_numbers, batch.certificate("pdf_missing"), strict=True)
    return [
        None if missing else f"https://nivoda-certificates.nivodaapi.net/{number}.pdf"
        for number, missing in numbers
    ]


def _supplier_names(batch: Batch) -> list[str]:
    stems, tails = len(_SUPPLIER_STEMS), len(_SUPPLIER_TAILS)
    return [
        f"{_SUPPLIER_STEMS[supplier % stems]} {_SUPPLIER_TAILS[supplier // stems % tails]} {supplier // (stems * tails)}"
        for supplier in batch.column("supplier")
    ]


def _supplier_ids(batch: Batch) -> list[str]:
    return [f"5e0c7a11-0000-4000-8000-{supplier:012x}" for supplier in batch.column("supplier")]


def _longest_days(batch: Batch) -> list[int]:
    pairs = zip(batch.listing("min_days"), batch.listing("extra_days"), strict=True)
    return [least + extra for least, extra in pairs]


OBJECTS: Final[dict[str, tuple[str, Callable[[Batch], list[bool]]]]] = {
    "DiamondItem.diamond": ("Diamond", _constant(True)),
    "Diamond.certificate": (
        "Certificate",
        lambda batch: [fault != "null_certificate" for fault in batch.faults],
    ),
    "Diamond.supplier": (
        "Company",
        lambda batch: [not missing for missing in batch.listing("supplier_missing")],
    ),
    "Diamond.v360": ("V360Info", _spins),
    "Diamond.delivery_time": ("DeliveryTime", _constant(True)),
    "Certificate.v360": ("V360Info", _spins),
}
"""Fields that are objects: their type, and which stones have one."""

LEAVES: Final[dict[str, Leaf]] = {
    **{f"Diamond.{name}": _listing(name) for name in LISTING if name not in _HIDDEN},
    **{f"Certificate.{name}": _report(name) for name in CERTIFICATE if name not in _HIDDEN},
    **{
        f"Certificate.{name}": _listing(name)
        for name in ("brown", "green", "blue", "gray", "milky", "bowtie", "canada_mark_eligible")
    },
    "DiamondItem.id": lambda batch: [f"DIAMOND/{stone}" for stone in batch.ids],
    "DiamondItem.price": _prices,
    "DiamondItem.markup_price": _prices,
    "DiamondItem.diamond_price": _prices,
    "DiamondItem.discount": _discounts,
    "DiamondItem.markup_discount": _discounts,
    "Diamond.id": lambda batch: batch.ids,
    "Diamond.availability": _availabilities,
    "Diamond.supplierStockId": _stock_ids,
    "Diamond.NivodaStockId": _constant(None),
    "Diamond.image": _images,
    "Diamond.video": _videos,
    "Diamond.supplier_video_link": _supplier_videos,
    "Diamond.CertificateType": lambda batch: ["Lab" if lab else "Natural" for lab in batch.column("lab")],
    "Diamond.HoldId": _hold_ids,
    "Diamond.OrderItemId": _constant(None),
    "Diamond.inclusions": _constant([]),
    "Diamond.scs_certificate": _constant(None),
    "Certificate.id": _certificate_ids,
    "Certificate.lab": lambda batch: batch.laboratories,
    "Certificate.certNumber": lambda batch: batch.certificate_numbers,
    "Certificate.shape": _shapes,
    "Certificate.fullShape": _shapes,
    "Certificate.carats": _carats,
    "Certificate.color": _colors,
    "Certificate.clarity": _words("clarity", words.CLARITIES),
    "Certificate.cut": _cuts,
    "Certificate.polish": _words("polish", words.QUALITIES),
    "Certificate.symmetry": _words("symmetry", words.QUALITIES),
    "Certificate.floInt": _words("fluorescence", words.FLUORESCENCES),
    "Certificate.f_color": _words("fancy_color", words.FANCY_COLORS),
    "Certificate.f_intensity": _words("fancy_intensity", words.FANCY_INTENSITIES),
    "Certificate.f_overtone": _words("fancy_overtone", words.FANCY_OVERTONES),
    "Certificate.length": _measure("length_x100", 100),
    "Certificate.width": _measure("width_x100", 100),
    "Certificate.depth": _measure("depth_x100", 100),
    "Certificate.depthPercentage": _measure("depth_percentage_x10", 10),
    "Certificate.table": _measure("table_x10", 10),
    "Certificate.crownAngle": _tenths("crown_angle_x10"),
    "Certificate.crownHeight": _tenths("crown_height_x10"),
    "Certificate.pavAngle": _tenths("pavilion_angle_x10"),
    "Certificate.pavHeight": _tenths("pavilion_depth_x10"),
    "Certificate.pavDepth": _tenths("pavilion_depth_x10"),
    "Certificate.starLength": _text("star_length"),
    "Certificate.lowerGirdle": _text("lower_girdle"),
    "Certificate.comments": _comments,
    "Certificate.pdfUrl": _pdf_urls,
    "Certificate.masked_pdf_url": _constant(None),
    "Certificate.image": _certificate_images,
    "Certificate.video": _constant(None),
    "Certificate.labgrown": lambda batch: batch.claims,
    "Certificate.labgrown_type": _words("labgrown_type", words.LABGROWN_TYPES),
    "Certificate.eyeclean": _listing("eyeClean"),
    "Certificate.inclusions": _constant([]),
    "Certificate.product_images": _constant([]),
    "Certificate.product_videos": _constant([]),
    "Company.id": _supplier_ids,
    "Company.name": _supplier_names,
    "Company.legal_name": _supplier_names,
    "V360Info.id": lambda batch: batch.certificate_numbers,
    "V360Info.url": _spin_urls,
    "V360Info.frame_count": _listing("frame_count"),
    "V360Info.renumbered": _constant(None),
    "V360Info.top_index": _constant(0),
    "V360Info.dl_link": _constant(None),
    "DeliveryTime.express_timeline_applicable": _listing("express"),
    "DeliveryTime.min_business_days": _listing("min_days"),
    "DeliveryTime.max_business_days": _longest_days,
}
"""Fields that are values."""
