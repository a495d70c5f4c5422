"""Canonical records, put together from the encoded content and the price, byte for byte as `encode(Stone(...))`.

The content is encoded once, for its hash and for the record; encoding the whole stone again would cost as much as
everything else that is done with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from schemas.stone import Cause, Content
from streams.pricing import Margin

_RECORD: Final = b'%b,"price_cents":%d%b%016x%b'
_BEFORE_HASH: Final = (
    b',"currency":%b,"rule":%b,"rules_version":%d,"rating":%b,"updated_at":%b,"seq":%d,"mapper_version":%d'
    b',"content_hash":"'
)
_AFTER_HASH: Final = (
    b'","cause":"%b","margin_bps":%d,"rate_id":%b,"previous_price_cents":%b,"run":%b,"raw_offset":%d}'
)
_CAUSES: Final = {cause: cause.value.encode() for cause in Cause}
_UNSIGNED: Final = (1 << 64) - 1
_decode_content: Final = msgspec.json.Decoder(Content).decode


def canonical(content_json: bytes, price_cents: int, content_hash: int, around: tuple[bytes, bytes]) -> bytes:
    """The record's bytes. The hash is signed, 64 bits; for `around` see `around_hash`."""
    before, after = around
    return _RECORD % (content_json[:-1], price_cents, before, content_hash & _UNSIGNED, after)


def around_hash(
    margin: Margin,
    rules: int,
    rating: int | None,
    updated_ms: int,
    seq: int,
    mapper: int,
    cause: Cause,
    previous_price_cents: int | None,
    run_json: bytes,
    raw_offset: int,
) -> tuple[bytes, bytes]:
    """What stands before a record's hash, from the currency on, and behind it.

    `run_json` is a JSON text, quotes included.
    """
    before = _BEFORE_HASH % (
        margin.currency_json,
        margin.rule_json,
        rules,
        _optional(rating),
        moment_json(updated_ms),
        seq,
        mapper,
    )
    after = _AFTER_HASH % (
        _CAUSES[cause],
        margin.bps,
        margin.rate_json,
        _optional(previous_price_cents),
        run_json,
        raw_offset,
    )
    return before, after


def _optional(number: int | None) -> bytes:
    return b"null" if number is None else b"%d" % number


@lru_cache(maxsize=4096)
def moment_json(epoch_ms: int) -> bytes:
    """A moment (milliseconds since 1970, UTC) as it stands in a record, quotes included."""
    seconds, ms = divmod(epoch_ms, 1000)
    return msgspec.json.encode(datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000))


def content_of(record: bytes) -> Content:
    """The content in a canonical record.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decode_content(record)


def content_json(record: bytes) -> bytes:
    """The content's own bytes inside a canonical record: a quote within a JSON string is always escaped."""
    return record[: record.rindex(b',"price_cents":')] + b"}"
