"""Nivoda's item, as its GraphQL API spells it. Types are as wide as what has been seen, not as the vendor's schema says.

Only the envelope is strict: a field of an unexpected type is kept out of the wide union and reported with its path.
The query's selection is derived from these structs (`selection`), so a field is asked for exactly when it is read.
"""

from __future__ import annotations

from typing import Final, get_args, get_type_hints

import msgspec

VENDOR_ITEM_VERSION: Final = 1

Number = int | float | str | None
Text = str | None
Flag = bool | str | None


class Company(msgspec.Struct, frozen=True):
    """A supplier."""

    id: Text = None
    name: Text = None


class V360(msgspec.Struct, frozen=True):
    """A spin video."""

    url: Text = None


class DeliveryTime(msgspec.Struct, frozen=True):
    """Business days until delivery."""

    min_business_days: Number = None
    max_business_days: Number = None


class Certificate(msgspec.Struct, frozen=True):
    """A laboratory's report, and what the supplier added to it."""

    id: Text = None
    lab: Text = None
    certNumber: Text = None
    shape: Text = None
    carats: Number = None
    color: Text = None
    clarity: Text = None
    cut: Text = None
    polish: Text = None
    symmetry: Text = None
    floInt: Text = None
    floCol: Text = None
    f_color: Text = None
    f_intensity: Text = None
    f_overtone: Text = None
    length: Number = None
    width: Number = None
    depth: Number = None
    depthPercentage: Number = None
    table: Number = None
    crownAngle: Number = None
    pavAngle: Number = None
    girdle: Text = None
    culetSize: Text = None
    keyToSymbols: Text = None
    comments: Text = None
    labgrown: Flag = None
    labgrown_type: Text = None
    treated: Flag = None
    pdfUrl: Text = None
    image: Text = None
    v360: V360 | None = None


class Diamond(msgspec.Struct, frozen=True):
    """One supplier's listing of a stone."""

    id: str
    certificate: Certificate | None = None
    availability: Text = None
    supplier: Company | None = None
    supplierStockId: Text = None
    image: Text = None
    video: Text = None
    supplier_video_link: Text = None
    v360: V360 | None = None
    brown: Text = None
    green: Text = None
    blue: Text = None
    gray: Text = None
    other: Text = None
    milky: Text = None
    eyeClean: Text = None
    mine_of_origin: Text = None
    location: Text = None
    delivery_time: DeliveryTime | None = None
    return_window: Number = None


class Item(msgspec.Struct, frozen=True):
    """An offer: a listing with its price in integer US cents."""

    id: str
    diamond: Diamond
    price: int | None = None
    discount: int | None = None


def selection(struct: type[msgspec.Struct] = Item) -> str:
    """The GraphQL selection that asks for exactly the fields of a struct."""
    parts = []
    for name, hint in get_type_hints(struct).items():
        nested = [
            part
            for part in (hint, *get_args(hint))
            if isinstance(part, type) and issubclass(part, msgspec.Struct)
        ]
        parts.append(f"{name} {selection(nested[0])}" if nested else name)
    return "{ " + " ".join(parts) + " }"
