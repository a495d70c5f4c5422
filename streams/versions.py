"""A version of a stone, made of content that is ready to be written. Pure."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from schemas.stone import CONTENT_HASH_BYTES, Cause
from streams.memory import Version
from streams.owner import Fact
from streams.pricing import Margin
from streams.records import around_hash, canonical, content_json

_around_page: Final = lru_cache(maxsize=256)(around_hash)
"""It is the same for most new stones of a page."""


class Ready(NamedTuple):
    """Content with what is needed to write it; its hash is signed, 64 bits."""

    id: str
    cost_cents: int
    json: bytes
    content_hash: int
    margin: Margin
    rating: int | None


def hash_of(content_json: bytes) -> int:
    """The hash of an encoded content as a signed integer; in a record it stands as hex digits."""
    return int.from_bytes(blake2b(content_json, digest_size=CONTENT_HASH_BYTES).digest(), "big", signed=True)


def version_of(
    made: Ready,
    fact: Fact,
    cause: Cause,
    previous_price_cents: int | None,
    price: int,
    updated_ms: int,
    run: str | None,
    run_json: bytes | None = None,
) -> Version:
    """The version that content under a fact's numbers becomes, its record included; times in ms since 1970."""
    seq, mapper, rules, raw_offset, *_ = fact
    around = _around_page(
        made.margin,
        rules,
        made.rating,
        updated_ms,
        seq,
        mapper,
        cause,
        previous_price_cents,
        run_json or msgspec.json.encode(run),
        raw_offset,
    )
    return Version(
        made.id,
        seq,
        mapper,
        rules,
        made.content_hash,
        price,
        updated_ms,
        raw_offset,
        run,
        cause is not Cause.SEEN,
        canonical(made.json, price, made.content_hash, around),
    )


class Given(NamedTuple):
    """What a rule set gives a stone."""

    price_cents: int
    margin: Margin
    rating: int | None


def repriced(version: Version, given: Given, number: int, now_ms: int) -> Version:
    """A version in stock under a newer rule set; everything but rule and price stays as it is. Time in ms since 1970."""
    assert version.body is not None
    updated_ms = now_ms if given.price_cents != version.price_cents else version.updated_ms
    around = around_hash(
        given.margin,
        number,
        given.rating,
        updated_ms,
        version.seq,
        version.mapper,
        Cause.REPRICED,
        version.price_cents,
        msgspec.json.encode(version.run),
        version.raw_offset,
    )
    body = canonical(content_json(version.body), given.price_cents, version.content_hash, around)
    return Version(
        version.id,
        version.seq,
        version.mapper,
        number,
        version.content_hash,
        given.price_cents,
        updated_ms,
        version.raw_offset,
        version.run,
        True,
        body,
    )
