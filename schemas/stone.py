"""The canonical stone: one field list from which the SQL table, the JSON Schema and the API's item are derived.

The order of the fields is part of the format. A canonical record is one JSON object in three stretches:

    {"cost_cents":…,"supplier_name":…,   "id":…,"shape":…,"price_cents":…,"updated_at":…,   "seq":…,"cause":…}
     private: for those with the scope    public: what a storefront sees                      provenance

so that the public item is a slice of the record's bytes (`public_part`) and costs no decoding.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from xxhash import xxh3_64_hexdigest

Bigint = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""An integer that Postgres and our arrays can hold. Whoever decodes a record refuses any other, where one record falls."""

STONE_VERSION: Final = 3
POSITION_VERSION: Final = 1

CONTENT_HASH_BYTES: Final = 8


class Availability(StrEnum):
    """Whether a stone can be sold now."""

    AVAILABLE = "available"
    ON_HOLD = "on_hold"
    UNAVAILABLE = "unavailable"


class Cause(StrEnum):
    """Why a version of a stone was written."""

    NEW = "new"
    CHANGED = "changed"
    REPRICED = "repriced"
    SEEN = "seen"
    REMAPPED = "remapped"
    NOT_UNDERSTOOD = "not_understood"
    REPAIRED = "repaired"
    RESTORED = "restored"

    __hash__ = str.__hash__


Cents = Annotated[int, Meta(description="integer US cents")]
OptText = str | None
Millimetres = Annotated[float | None, Meta(description="millimetres; null when unknown")]
Percent = Annotated[float | None, Meta(description="percent; null when unknown")]
Degrees = Annotated[float | None, Meta(description="degrees; null when unknown")]
Tinge = Annotated[
    str | None, Meta(description="the vendor's words, lower case; `none` when it says no; null when unknown")
]


class PrivateContent(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor says of a stone that no shopper sees."""

    cost_cents: Annotated[int, Meta(description="what the vendor asks, integer US cents", ge=0)]
    offer_id: Annotated[str, Meta(description="the vendor's id for ordering")]
    list_discount_bps: Annotated[
        int | None, Meta(description="discount to the list price, basis points, as the vendor signs it")
    ] = None
    supplier_id: OptText = None
    supplier_name: OptText = None
    supplier_stock_number: OptText = None


class Content(PrivateContent, frozen=True, kw_only=True):
    """What the vendor says of a stone: normalise makes it, price reads it."""

    id: Annotated[str, Meta(description="feed:vendor's stone id")]
    feed: str
    shape: Annotated[
        str, Meta(description="upper case, e.g. ROUND, OVAL, CUSHION; the vendor's duplicates joined")
    ]
    carat: Annotated[float, Meta(description="carats, at most three decimals", gt=0)]
    color: Annotated[
        str | None, Meta(description="D to Z and ranges such as O-P; FANCY for fancy colors")
    ] = None
    clarity: Annotated[str | None, Meta(description="FL IF VVS1 VVS2 VS1 VS2 SI1 SI2 SI3 I1 I2 I3")] = None
    cut: Annotated[
        str | None, Meta(description="8X ID EX VG G F P, best first; null where a shape has no cut grade")
    ] = None
    polish: OptText = None
    symmetry: OptText = None
    fluorescence: Annotated[
        str | None, Meta(description="NONE VERY_SLIGHT SLIGHT FAINT MEDIUM STRONG VERY_STRONG")
    ] = None
    fluorescence_color: OptText = None
    lab: Annotated[str | None, Meta(description="who graded it; null for an uncertified stone")] = None
    certificate_number: OptText = None
    certificate_url: OptText = None
    lab_grown: bool
    lab_grown_type: Annotated[str | None, Meta(description="HPHT, CVD or IIA")] = None
    treated: bool | None = None
    fancy_color: OptText = None
    fancy_intensity: OptText = None
    fancy_overtone: OptText = None
    length_mm: Millimetres = None
    width_mm: Millimetres = None
    depth_mm: Millimetres = None
    depth_percent: Percent = None
    table_percent: Percent = None
    crown_angle: Degrees = None
    pavilion_angle: Degrees = None
    girdle: OptText = None
    culet: OptText = None
    eye_clean: Annotated[
        str | None, Meta(description="yes, no, borderline, or the vendor's percentage such as 90%")
    ] = None
    milky: Tinge = None
    brown: Tinge = None
    green: Tinge = None
    blue: Tinge = None
    gray: Tinge = None
    other_tinge: Tinge = None
    key_to_symbols: OptText = None
    comments: OptText = None
    image_url: OptText = None
    video_url: OptText = None
    origin: Annotated[str | None, Meta(description="mine or country the stone comes from")] = None
    location: OptText = None
    delivery_days_min: Annotated[int | None, Meta(description="business days")] = None
    delivery_days_max: Annotated[int | None, Meta(description="business days")] = None
    return_window_days: int | None = None
    availability: Availability


class Stone(Content, frozen=True, kw_only=True):
    """A canonical record: content, price and where both came from."""

    price_cents: Annotated[int, Meta(description="what we ask, integer minor units of `currency`", ge=0)]
    currency: str = "USD"
    rule: Annotated[
        str, Meta(description="name of the rule that gave the margin; `base:…` for a base margin")
    ]
    rules_version: Annotated[int, Meta(description="number of the published rule set")]
    rating: Annotated[
        int | None,
        Meta(description="how good the offer is, 1 to 10, by the rule set; null without", extra={"since": 2}),
    ] = None
    first_seen: Annotated[
        datetime | None,
        Meta(
            description="when the fact that brought it into stock was written, UTC, whole seconds; null for one that "
            "has been in stock since before version 3",
            extra={"since": 3},
        ),
    ] = None
    updated_at: Annotated[datetime, Meta(description="when content or price last changed, UTC")]
    seq: Annotated[int, Meta(description="when the fact's request was granted (schemas.seq)")]
    mapper_version: Annotated[int, Meta(description="version of the code and tables that normalised it")]
    content_hash: Annotated[str, Meta(description="16 hex digits over the content")]
    cause: Cause
    margin_bps: Annotated[int, Meta(description="basis points on top of the cost")]
    rate_id: Annotated[
        str | None,
        Meta(
            description="the exchange rate the price was made with; null for US dollars", extra={"since": 2}
        ),
    ] = None
    previous_price_cents: Annotated[
        int | None, Meta(description="the price before this version; null for a new stone")
    ] = None
    run: Annotated[str | None, Meta(description="the run that last saw it")] = None
    raw_offset: Annotated[
        int, Meta(description="offset of its page in diamonds.raw; its partition is the feed's slot")
    ]


class StoneVersion(msgspec.Struct, frozen=True):
    """What an owner must know of a stone to compare a new fact with it; a subset of `Stone`, read from its bytes."""

    seq: int
    mapper_version: int
    rules_version: int
    content_hash: str
    price_cents: int
    run: str | None = None


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far a feed has been read. Key `feed:`, header `kind=position`; readers of stones skip it."""

    feed: str
    as_of: Annotated[
        int, Meta(description="the vendor's clock, ms since 1970: every change until then has been delivered")
    ]
    run: str
    raw_offset: int
    seq: int


PUBLIC_FIELDS: Final = tuple(
    name
    for name in Stone.__struct_fields__
    if name not in PrivateContent.__struct_fields__
    and Stone.__struct_fields__.index(name) <= Stone.__struct_fields__.index("updated_at")
)
"""What a storefront sees, in order."""

encode = msgspec.json.Encoder().encode
decode_stone = msgspec.json.Decoder(Stone).decode
decode_version = msgspec.json.Decoder(StoneVersion).decode
decode_position = msgspec.json.Decoder(Position).decode


def content_hash(content_json: bytes) -> str:
    """Hash of an encoded `Content`, 16 hex digits: XXH3, which finds what changed, and proves nothing against a forger."""
    return xxh3_64_hexdigest(content_json)


def public_borders(record: bytes) -> tuple[int, int]:
    """Where the public stretch of a canonical record begins and ends, in bytes.

    A quote inside a JSON string is always escaped, so neither marker can occur within a value.

    Raises:
        ValueError: it has none, and therefore is no canonical record.
    """
    return record.index(b'"id":"'), record.rindex(b',"seq":')


def public_part(record: bytes) -> bytes:
    """The public item inside a canonical record's bytes, itself a JSON object."""
    begin, end = public_borders(record)
    return b"{" + record[begin:end] + b"}"


def position_key(feed: str) -> bytes:
    """Key of a feed's position in the canonical topic."""
    return f"{feed}:".encode()


def is_position(key: bytes) -> bool:
    """Whether a canonical record's key is a feed's position rather than a stone's."""
    return key.endswith(b":")
