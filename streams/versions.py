"""A version of a stone, made of content that is ready to be written. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np
from xxhash import xxh3_64_digest

from schemas.stone import Cause
from streams.memory import Version
from streams.pricing import Margin
from streams.records import Frame, Repriced


class Ready(msgspec.Struct, gc=False):
    """Content with what is needed to write it; its hash is signed, 64 bits. Its terms are margin and rating."""

    id: str
    cost_cents: int
    json: bytes | memoryview
    content_hash: int
    terms: tuple[Margin, int | None]


def hash_of(content_json: bytes | memoryview) -> int:
    """The hash of an encoded content as a signed integer; in a record it stands as hex digits."""
    return hashes_of((content_json,))[0]


def hashes_of(contents: Iterable[bytes | memoryview]) -> list[int]:
    """As `hash_of`, of many."""
    hashes: list[int] = np.frombuffer(b"".join(map(xxh3_64_digest, contents)), ">i8").tolist()
    return hashes


def version_of(
    made: Ready,
    frame: Frame,
    cause: Cause,
    previous_price_cents: int | None,
    price: int,
    updated_ms: int,
    first_seen_s: int,
) -> Version:
    """The version that content under a fact's numbers becomes, its record included; times as in `Version`."""
    margin, rating = made.terms
    return Version(
        made.id,
        frame.seq,
        frame.mapper,
        frame.rules,
        made.content_hash,
        price,
        updated_ms,
        frame.raw_offset,
        first_seen_s,
        frame.run,
        cause is not Cause.SEEN,
        frame.record(
            made.json,
            price,
            made.content_hash,
            margin,
            rating,
            first_seen_s,
            updated_ms,
            cause,
            previous_price_cents,
        ),
    )


class Given(NamedTuple):
    """What a rule set gives a stone."""

    price_cents: int
    margin: Margin
    rating: int | None


def repriced(version: Version, given: Given, under: Repriced, now_ms: int) -> Version:
    """A version in stock under a newer rule set; everything but rule and price stays as it is. Time in ms since 1970."""
    assert version.body is not None
    price_cents, margin, rating = given
    updated_ms = now_ms if price_cents != version.price_cents else version.updated_ms
    return Version(
        version.id,
        version.seq,
        version.mapper,
        under.number,
        version.content_hash,
        price_cents,
        updated_ms,
        version.raw_offset,
        version.first_seen_s,
        version.run,
        True,
        under.record(
            *(version.body, price_cents, margin, rating),
            *(version.first_seen_s, updated_ms, version.price_cents),
        ),
    )
