"""A stone as a search sees it."""

from __future__ import annotations

from datetime import datetime

import msgspec

from schemas.stone import Bigint


class Searchable(msgspec.Struct, frozen=True, gc=False):
    """What a search looks at; a subset of `schemas.stone.Stone`, read from its bytes, and what follows from it."""

    id: str
    feed: str
    shape: str
    carat: float
    lab_grown: bool
    availability: str
    price_cents: Bigint
    updated_at: datetime
    cost_cents: Bigint = 0
    list_discount_bps: Bigint | None = None
    supplier_id: str | None = None
    supplier_name: str | None = None
    supplier_stock_number: str | None = None
    color: str | None = None
    clarity: str | None = None
    cut: str | None = None
    polish: str | None = None
    symmetry: str | None = None
    fluorescence: str | None = None
    fluorescence_color: str | None = None
    lab: str | None = None
    certificate_number: str | None = None
    lab_grown_type: str | None = None
    treated: bool | None = None
    fancy_color: str | None = None
    fancy_intensity: str | None = None
    fancy_overtone: str | None = None
    length_mm: float | None = None
    width_mm: float | None = None
    depth_mm: float | None = None
    depth_percent: float | None = None
    table_percent: float | None = None
    crown_angle: float | None = None
    pavilion_angle: float | None = None
    girdle: str | None = None
    culet: str | None = None
    eye_clean: str | None = None
    milky: str | None = None
    brown: str | None = None
    green: str | None = None
    blue: str | None = None
    gray: str | None = None
    other_tinge: str | None = None
    image_url: str | None = None
    video_url: str | None = None
    origin: str | None = None
    location: str | None = None
    delivery_days_min: Bigint | None = None
    delivery_days_max: Bigint | None = None
    return_window_days: Bigint | None = None
    rating: Bigint | None = None
    first_seen: datetime | None = None

    @property
    def price_per_carat_cents(self) -> int:
        """Our price a carat, integer US cents, half up; the weight counts to a thousandth of a carat."""
        thousandths = max(1, round(self.carat * 1000))
        return (2000 * self.price_cents + thousandths) // (2 * thousandths)

    @property
    def ratio(self) -> float | None:
        """Length to width, two decimals; null when either is unknown."""
        return round(self.length_mm / self.width_mm, 2) if self.length_mm and self.width_mm else None

    @property
    def has_image(self) -> bool:
        """Whether there is an image."""
        return self.image_url is not None

    @property
    def has_video(self) -> bool:
        """Whether there is a video."""
        return self.video_url is not None


decode_searchable = msgspec.json.Decoder(Searchable).decode
