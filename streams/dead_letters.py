"""Refusals and the dead letters they become. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.errors import Invalid
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.topics import RAW
from streams.outbox import Letter


class Refusal(NamedTuple):
    """Why an item goes no further."""

    stage: str
    error: Invalid
    took_ms: int | None = None


class Source(NamedTuple):
    """Where a refused payload came from. `partition` is Kafka's."""

    feed: str
    partition: int
    offset: int
    key: bytes
    seq: int | None = None
    run: str | None = None
    origin: str | None = None
    redriven: int | None = None
    granted_at: int | None = None


def dead_letter(
    source: Source, refusal: Refusal, payload: bytes, *, index: int | None = None, stone: str | None = None
) -> Letter:
    """The letter: the original bytes (only their head where they are too many) under the stone's key."""
    is_cut = len(payload) > MAX_PAYLOAD_BYTES
    headers = DeadLetter(
        topic=RAW.name,
        partition=source.partition,
        offset=source.offset,
        index=index,
        stage=refusal.stage,
        error=refusal.error.code,
        field=refusal.error.field,
        reason=refusal.error.rule,
        feed=source.feed,
        stone=stone,
        seq=source.seq,
        run=source.run,
        took_ms=refusal.took_ms,
        size=len(payload) if is_cut else None,
        sha256=sha256(payload).hexdigest() if is_cut else None,
        origin=source.origin,
        redriven=source.redriven,
        granted_at=source.granted_at,
    )
    slot = FEEDS[source.feed].slot if source.feed in FEEDS else source.partition
    key = source.key if stone is None else stone.encode()
    return Letter(slot, key, payload[:MAX_PAYLOAD_BYTES], to_headers(headers))
