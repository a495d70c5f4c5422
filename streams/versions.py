"""A version of a stone, made of content that is ready to be written. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas.stone import CONTENT_HASH_BYTES, Cause, Content
from streams.memory import Version
from streams.owner import Fact
from streams.pricing import Margin
from streams.records import canonical, content_json


class Ready(NamedTuple):
    """Content with what is needed to write it."""

    content: Content
    json: bytes
    digest: bytes
    margin: Margin
    rating: int | None


def version_of(
    made: Ready,
    fact: Fact,
    *,
    cause: Cause,
    previous_price_cents: int | None,
    price: int,
    updated_ms: int,
    run: str | None,
    run_json: bytes | None = None,
) -> Version:
    """The version that content under a fact's numbers becomes, its record included; times in ms since 1970."""
    body = canonical(
        made.json,
        price_cents=price,
        margin=made.margin,
        rules=fact.rules,
        rating=made.rating,
        updated_ms=updated_ms,
        seq=fact.seq,
        mapper=fact.mapper,
        hash_hex=made.digest.hex(),
        cause=cause,
        previous_price_cents=previous_price_cents,
        run_json=run_json or msgspec.json.encode(run),
        raw_offset=fact.raw_offset,
    )
    content_hash = int.from_bytes(made.digest, "big", signed=True)
    return Version(
        id=made.content.id,
        seq=fact.seq,
        mapper=fact.mapper,
        rules=fact.rules,
        content_hash=content_hash,
        price_cents=price,
        updated_ms=updated_ms,
        raw_offset=fact.raw_offset,
        run=run,
        changed=cause is not Cause.SEEN,
        body=body,
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
    body = canonical(
        content_json(version.body),
        price_cents=given.price_cents,
        margin=given.margin,
        rules=number,
        rating=given.rating,
        updated_ms=updated_ms,
        seq=version.seq,
        mapper=version.mapper,
        hash_hex=version.content_hash.to_bytes(CONTENT_HASH_BYTES, "big", signed=True).hex(),
        cause=Cause.REPRICED,
        previous_price_cents=version.price_cents,
        run_json=msgspec.json.encode(version.run),
        raw_offset=version.raw_offset,
    )
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
