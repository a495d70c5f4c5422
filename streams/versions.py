"""Versions of stones: one as an object, and many in columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT, epoch_ms, epoch_s
from schemas.errors import Invalid
from schemas.stone import Bigint
from streams.pages import UNREADABLE
from streams.transcription.decision import NUMBERS

HASH_TYPE: Final = ">i8"
"""A hash's bytes as a signed integer; in a record it stands as hex digits."""
NO_NUMBER: Final = 2**31 - 1
"""Stands for mapper and rule number of a null: no fact of the same seq is newer than the retirement."""
_numbers_of: Final = attrgetter(*NUMBERS)


class Version(msgspec.Struct, gc=False):
    """One version of one stone; times in milliseconds and seconds since 1970. `body` is null for a retired stone.

    `first_seen_s` is `NULL_INT` where nobody knows it; see `schemas.stone.Stone.first_seen`.
    """

    id: str
    seq: int
    mapper: int
    rules: int
    content_hash: int
    price_cents: int
    updated_ms: int
    raw_offset: int
    first_seen_s: int
    run: str | None
    changed: bool
    body: bytes | None


def version_of(stone: str, numbers: list[int], run: str | None, body: bytes | None) -> Version:
    """A version of its `NUMBERS`, and the rest."""
    named = dict[str, Any](zip(NUMBERS, numbers, strict=True))
    named["changed"] = bool(named["changed"])
    return Version(id=stone, **named, run=run, body=body)


class Sheet(NamedTuple):
    """Versions of different stones, an entry a stone in each column.

    Attributes:
        ids: the stones'.
        numbers: `NUMBERS` of each, a row a stone.
        runs: as `Version.run`.
        records: one behind the other; nothing for a retired stone.
        ends: where each of them ends.
    """

    ids: Sequence[str]
    numbers: NDArray[np.int64]
    runs: Sequence[str | None]
    records: bytes
    ends: NDArray[np.int64]

    def bodies(self) -> list[bytes | None]:
        """The records, each by itself."""
        records = self.records
        return [records[begin:end] or None for begin, end in pairwise([0, *self.ends.tolist()])]

    def keys(self) -> list[bytes]:
        """The keys of the records."""
        return [*map(str.encode, self.ids)]

    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each record; 0 for a retired stone."""
        # `np.diff` with something put before takes four times as long.
        lengths = self.ends.copy()
        lengths[1:] -= self.ends[:-1]
        return lengths

    def version(self, place: int) -> Version:
        """One of them, whole."""
        begin = int(self.ends[place - 1]) if place else 0
        body = self.records[begin : int(self.ends[place])] or None
        return version_of(self.ids[place], self.numbers[place].tolist(), self.runs[place], body)

    def versions(self) -> Iterator[Version]:
        """All of them, whole."""
        return map(self.version, range(len(self.ids)))

    def only(self, places: NDArray[np.intp]) -> Sheet:
        """Some of them."""
        bodies = self.bodies()
        kept = [bodies[place] or b"" for place in places.tolist()]
        return Sheet(
            [self.ids[place] for place in places.tolist()],
            self.numbers[places],
            [self.runs[place] for place in places.tolist()],
            b"".join(kept),
            ends_of(kept),
        )


def ends_of(parts: Sequence[bytes]) -> NDArray[np.int64]:
    """Where each of some bytes ends that lie one behind the other."""
    return np.cumsum([*map(len, parts)], dtype=np.int64)


def numbers_of(versions: Sequence[Version]) -> NDArray[np.int64]:
    """`NUMBERS` of versions, a row each."""
    return np.array([*map(_numbers_of, versions)], np.int64).reshape(-1, len(NUMBERS))


def sheet_of(versions: Sequence[Version]) -> Sheet:
    """Versions of different stones in columns."""
    bodies = [version.body or b"" for version in versions]
    return Sheet(
        [version.id for version in versions],
        numbers_of(versions),
        [version.run for version in versions],
        b"".join(bodies),
        ends_of(bodies),
    )


def signed(content_hash: str) -> int:
    """A content hash as it stands in a record as a signed 64-bit integer."""
    return int.from_bytes(bytes.fromhex(content_hash), "big", signed=True)


def retired(stone_id: str, seq: int) -> Version:
    """The version that a null with this seq makes."""
    return Version(
        *(stone_id, seq, NO_NUMBER, NO_NUMBER),
        content_hash=0,
        price_cents=NULL_INT,
        updated_ms=0,
        raw_offset=NULL_INT,
        first_seen_s=NULL_INT,
        run=None,
        changed=True,
        body=None,
    )


class _Record(msgspec.Struct, gc=False):
    """The part of a canonical record that makes its version; source: `schemas.stone.Stone`."""

    id: str
    seq: Bigint
    mapper_version: Bigint
    rules_version: Bigint
    content_hash: str
    price_cents: Bigint
    updated_at: datetime
    raw_offset: Bigint
    cause: str
    run: str | None = None
    first_seen: datetime | None = None


_decode: Final = msgspec.json.Decoder(_Record).decode


def read_version(body: bytes) -> Version:
    """The version of a canonical record.

    Raises:
        Invalid: the record is not one of ours.
    """
    try:
        record = _decode(body)
    except UNREADABLE as error:
        raise Invalid("record", f"is no canonical stone: {error}", "bad_record") from error
    return Version(
        id=record.id,
        seq=record.seq,
        mapper=record.mapper_version,
        rules=record.rules_version,
        content_hash=signed(record.content_hash),
        price_cents=record.price_cents,
        updated_ms=epoch_ms(record.updated_at),
        raw_offset=record.raw_offset,
        first_seen_s=epoch_s(record.first_seen),
        run=record.run,
        changed=record.cause != "seen",
        body=body,
    )
