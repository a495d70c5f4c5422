"""Canonical records, put together from the encoded content and the price, byte for byte as `encode(Stone(...))`.

The content is encoded once, for its hash and for the record; encoding the whole stone again would cost as much as
everything else that is done with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from schemas.columns import NULL_INT
from schemas.stone import Cause, Content
from streams.pricing import Margin

_BEFORE_RATING: Final = b',"rules_version":%d,"rating":'
_BEFORE_HASH: Final = b',"seq":%d,"mapper_version":%d,"content_hash":"'
_BEHIND_PRICE: Final = b',"run":%b,"raw_offset":%d}'
_CAUSES: Final = {cause: b'","cause":"%b","margin_bps":' % cause.value.encode() for cause in Cause}
_RATINGS: Final = {
    rating: b'%b,"first_seen":' % msgspec.json.encode(rating) for rating in (None, *range(1, 11))
}
_PRICE: Final = b',"price_cents":'
_MOMENT: Final = b',"updated_at":'
_CAUSE: Final = b'","cause":"'
_RUN: Final = b',"run":'
_UNSIGNED: Final = (1 << 64) - 1
_decode_content: Final = msgspec.json.Decoder(Content).decode


class Frame:
    """What is the same in the records of all stones that one fact is about, ready as bytes.

    Args:
        seq, mapper, rules, raw_offset, run: as they stand in `schemas.stone.Stone`.
    """

    __slots__ = (
        "_before_hash",
        "_before_rating",
        "_behind_price",
        "mapper",
        "raw_offset",
        "rules",
        "run",
        "seq",
    )

    def __init__(self, seq: int, mapper: int, rules: int, raw_offset: int, run: str | None) -> None:
        self.seq, self.mapper, self.rules, self.raw_offset, self.run = seq, mapper, rules, raw_offset, run
        self._before_rating = _BEFORE_RATING % rules
        self._before_hash = _BEFORE_HASH % (seq, mapper)
        self._behind_price = _BEHIND_PRICE % (msgspec.json.encode(run), raw_offset)

    def record(
        self,
        content_json: bytes | memoryview,
        price_cents: int,
        content_hash: int,
        margin: Margin,
        rating: int | None,
        first_seen_s: int,
        updated_ms: int,
        cause: Cause,
        previous_price_cents: int | None,
    ) -> bytes:
        """The record's bytes. The hash is signed, 64 bits; times as in `streams.memory.Version`."""
        return b"".join(
            (
                content_json[:-1],
                b',"price_cents":%d' % price_cents,
                margin.sale_json,
                self._before_rating,
                _RATINGS[rating],
                _first_seen_json(first_seen_s),
                moment_json(updated_ms),
                self._before_hash,
                b"%016x" % (content_hash & _UNSIGNED),
                _CAUSES[cause],
                margin.terms_json,
                b"null" if previous_price_cents is None else b"%d" % previous_price_cents,
                self._behind_price,
            )
        )


class Repriced:
    """Records that stand under a newer rule set, spliced from their own bytes: only price, rule and time are others.

    Args:
        number: the rule set's.
    """

    __slots__ = ("_before_rating", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self._before_rating = _BEFORE_RATING % number

    def record(
        self,
        record: bytes,
        price_cents: int,
        margin: Margin,
        rating: int | None,
        first_seen_s: int,
        updated_ms: int,
        previous_price_cents: int,
    ) -> bytes:
        """The record's bytes. Times as in `streams.memory.Version`.

        Raises:
            ValueError: this is no canonical record.
        """
        # A quote within a JSON string is always escaped, so no name can be found within a value.
        price_at = record.rindex(_PRICE)
        moment_at = record.index(_MOMENT, price_at)
        behind_moment = record.index(b",", moment_at + len(_MOMENT))
        cause_at = record.index(_CAUSE, behind_moment)
        return b"".join(
            (
                record[:price_at],
                b',"price_cents":%d' % price_cents,
                margin.sale_json,
                self._before_rating,
                _RATINGS[rating],
                _first_seen_json(first_seen_s),
                moment_json(updated_ms),
                record[behind_moment:cause_at],
                _CAUSES[Cause.REPRICED],
                margin.terms_json,
                b"%d" % previous_price_cents,
                record[record.rindex(_RUN) :],
            )
        )


# Most of a stock came within so many seconds; one that is not remembered costs a microsecond.
@lru_cache(maxsize=1 << 16)
def _first_seen_json(second: int) -> bytes:
    """What stands in a record behind `"first_seen":`, up to the next value: seconds since 1970, or `NULL_INT`."""
    moment = None if second == NULL_INT else datetime.fromtimestamp(second, UTC)
    return b'%b,"updated_at":' % msgspec.json.encode(moment)


@lru_cache(maxsize=4096)
def moment_json(epoch_ms: int) -> bytes:
    """A moment (milliseconds since 1970, UTC) as it stands in a record, quotes included."""
    seconds, ms = divmod(epoch_ms, 1000)
    return msgspec.json.encode(datetime.fromtimestamp(seconds, UTC).replace(microsecond=ms * 1000))


def content_of(record: bytes | memoryview) -> Content:
    """The content in a canonical record.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decode_content(record)
