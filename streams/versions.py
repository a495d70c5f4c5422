"""A version of a stone, made of content that is ready to be written. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from schemas.stone import Cause, Content
from streams.memory import Version
from streams.owner import Fact
from streams.pricing import Margin
from streams.records import canonical


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
