"""Records of `diamonds.canonical` folded into what one transaction writes. Pure: no Kafka, no Postgres.

Within a batch the log's order decides: the last record of a key is the stone, be it a version or a null. Price
history is taken from every version before that folding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.log.kernels import NULL
from connectors.log.records import Newest, Records
from connectors.postgres.rows import CAUSES, Made, Rows, Versions, rows_of
from connectors.records.transcode import NO_ROW
from schemas.errors import Invalid
from schemas.sql import BIGINTS
from schemas.stone import Cause, Position, Stone, decode_position

MAX_KEY_BYTES: Final = 1000
"""A longer id does not fit an entry of the primary key's index."""

_BACKGROUND: Final = [CAUSES[Cause.REPRICED], CAUSES[Cause.REMAPPED]]
_NUL_ESCAPED: Final = b"\\u0000"
_COLON: Final = ord(":")

Places = NDArray[np.intp]

# Everything Postgres would refuse is refused here, where one record falls and not the whole transaction. The struct
# lives as long as its transaction: untracked by the garbage collector it decodes twice as fast.
_StoneRow = cast(
    "type[Stone]",
    msgspec.defstruct(
        "_StoneRow",
        [
            (f.name, BIGINTS.get(f.name, f.type), *(() if f.required else (f.default,)))
            for f in msgspec.structs.fields(Stone)
        ],
        frozen=True,
        kw_only=True,
        gc=False,
    ),
)


class Retired(msgspec.Struct, frozen=True, gc=False):
    """A stone whose last record in a batch is a null."""

    stone_id: str
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot become a row, as it is in the log."""

    slot: int
    offset: int
    key: bytes | None
    value: bytes | None
    cause: Invalid


@dataclass(slots=True)
class Batch:
    """What one transaction writes.

    Attributes:
        versions: the last versions of stones.
        retired: the stones whose last record is a null.
        history: price-history rows.
        positions: of feeds, with their offsets.
        refused: what cannot be written.
        next_offsets: to where it brings the sink, by partition.
        records: how many were folded.
        traces: the sampled ones of these records.
    """

    versions: Versions
    retired: list[Retired]
    history: Rows
    positions: list[tuple[Position, int]]
    refused: list[Refused]
    next_offsets: dict[int, int] = field(default_factory=dict)
    records: int = 0
    traces: tuple[bytes, ...] = ()

    @property
    def background(self) -> bool:
        """Whether there is work in it that its owner paces by how far it is written."""
        return bool(np.isin(self.versions.causes, _BACKGROUND).any())


_decode = msgspec.json.Decoder(_StoneRow).decode


def fold(records: Records, topic_id: UUID) -> Batch:
    """Read records of this topic, in log order. Nothing raises: what cannot be used is in `refused`."""
    refused = dict[int, Invalid]()
    lengths = records.keys[1] - records.keys[0]
    keyed = (lengths > 0) & (lengths <= MAX_KEY_BYTES)
    for place in np.flatnonzero(~keyed).tolist():
        refused[place] = _key_refused(int(lengths[place]))
    position, null = records.key_ends_with(_COLON), records.values[0] == NULL
    positions = _positions(records, np.flatnonzero(keyed & position & ~null), refused)
    nulls = _nulls(records, np.flatnonzero(keyed & ~position & null), refused)
    stone = keyed & ~position & ~null
    made = rows_of(records, topic_id)
    _make_the_rest(
        records, np.flatnonzero(stone & (made.versions.rows.spans[0] == NO_ROW)), topic_id, made, refused
    )
    stone[list(refused)] = False
    # Of each stone the last counts, be it a version or a null; price history is of every version before that.
    counts = stone.copy()
    counts[list(nulls)] = True
    places = np.flatnonzero(counts)
    last = places[Newest().of(records, places)]
    # Copied, for what they were made in is much larger, and while it is held the next batch is made in cold memory.
    return Batch(
        versions=made.versions.copied(last[stone[last]]),
        retired=[nulls[place] for place in last[~stone[last]].tolist()],
        history=made.history.copied(np.flatnonzero(stone & (made.history.spans[0] != NO_ROW))),
        positions=positions,
        refused=[_refused(records, place, cause) for place, cause in refused.items()],
        records=len(records),
    )


def _key_refused(length: int) -> Invalid:
    if length <= 0:
        return Invalid("key", "a canonical record has the stone's id as its key", code="no_key")
    return Invalid("key", f"has {length} bytes; at most {MAX_KEY_BYTES} are stored", code="bad_key")


def _positions(records: Records, places: Places, refused: dict[int, Invalid]) -> list[tuple[Position, int]]:
    """The last position of each feed, with its offset."""
    found: dict[bytes, tuple[Position, int]] = {}
    for place in places.tolist():
        try:
            found[records.key(place)] = _position(records.value(place) or b""), int(records.offsets[place])
        except Invalid as cause:
            refused[place] = _bare(cause)
    return list(found.values())


def _nulls(records: Records, places: Places, refused: dict[int, Invalid]) -> dict[int, Retired]:
    found = {}
    for place in places.tolist():
        try:
            stone_id = _text(records.key(place))
        except Invalid as cause:
            refused[place] = _bare(cause)
        else:
            found[place] = Retired(stone_id, int(records.offsets[place]), int(records.times[place]))
    return found


def _make_the_rest(
    records: Records, places: Places, topic_id: UUID, made: Made, refused: dict[int, Invalid]
) -> None:
    """Make the rows of records that are not plain by decoding them."""
    for place in places.tolist():
        try:
            made.put(place, _stone(records.key(place), records.value(place) or b""), topic_id)
        except Invalid as cause:
            refused[place] = _bare(cause)


def _bare(cause: Invalid) -> Invalid:
    """A copy: what was raised holds the frames it went through, and by them the whole batch until the collector looks."""
    return Invalid(cause.field, cause.rule, cause.code)


def _refused(records: Records, place: int, cause: Invalid) -> Refused:
    key = None if records.keys[0, place] == NULL else records.key(place)
    return Refused(int(records.slots[place]), int(records.offsets[place]), key, records.value(place), cause)


def _stone(key: bytes, value: bytes) -> Stone:
    if _NUL_ESCAPED in value:
        raise Invalid(
            "record", "holds the character U+0000, which Postgres cannot store", code="nul_character"
        )
    try:
        stone = _decode(value)
    except msgspec.MsgspecError as error:
        raise Invalid("record", str(error), code="not_a_stone") from error
    if stone.id.encode() != key:
        raise Invalid("id", f"is {stone.id}, but the record's key is {_text(key)}", code="key_differs")
    return stone


def _position(value: bytes) -> Position:
    try:
        return decode_position(value)
    except msgspec.MsgspecError as error:
        raise Invalid("position", str(error), code="not_a_position") from error


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise Invalid("key", "must be UTF-8 text", code="bad_key") from error
