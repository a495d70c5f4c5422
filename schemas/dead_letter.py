"""Dead letters: the bytes we could not use as the record's value, where they came from and why as its headers."""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final

import msgspec
from msgspec import Meta

DEAD_LETTER_VERSION: Final = 1

MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""A larger payload is cut to its head; hash, size and place in raw let it be found whole."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Place and cause of a refusal, one Kafka header a field."""

    topic: str
    partition: int
    offset: int
    index: Annotated[
        int | None, Meta(description="position of the item in its page; null for a whole record")
    ] = None
    stage: Annotated[str, Meta(description="decode, normalise, price or write")]
    error: Annotated[str, Meta(description="stable name of the kind of mistake")]
    field: Annotated[str, Meta(description="path of the field, as the vendor names it")]
    reason: Annotated[str, Meta(description="the rule it broke, for a person")]
    feed: str
    stone: Annotated[str | None, Meta(description="our id of the stone, where it could be told")] = None
    seq: int | None = None
    run: str | None = None
    granted_at: Annotated[
        int | None,
        Meta(description="our clock at the grant, milliseconds since 1970, as the fact's headers told"),
    ] = None
    took_ms: Annotated[int | None, Meta(description="milliseconds spent, for a stone that took too long")] = (
        None
    )
    size: Annotated[
        int | None, Meta(description="bytes of the whole payload, where the value is only its head")
    ] = None
    sha256: Annotated[
        str | None, Meta(description="of the whole payload, where the value is only its head")
    ] = None
    origin: Annotated[
        str | None, Meta(description="place of the first letter, where what was refused is a redriven item")
    ] = None
    redriven: Annotated[int | None, Meta(description="how often it had been redriven; null for never")] = None
    traceparent: Annotated[
        str | None, Meta(description="the W3C trace it belongs to, where it is followed")
    ] = None

    @property
    def place(self) -> str:
        """What the letter is about, the same however often it is read or redriven."""
        return self.origin or f"{self.topic}/{self.partition}/{self.offset}/{self.index}/{self.seq}"

    @property
    def fingerprint(self) -> str:
        """The kind of mistake, 12 hex digits over stage, error and field: letters that one fix may help."""
        return blake2b(f"{self.stage}/{self.error}/{self.field}".encode(), digest_size=6).hexdigest()
