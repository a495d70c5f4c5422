"""Messages of `diamonds.canonical` folded into what one transaction writes. Pure: no Kafka, no Postgres.

Within a batch the log's order decides: the last record of a key is the stone, be it a version or a null. Price
history is taken from every version before that folding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol, cast

import msgspec
from msgspec import Meta

from connectors.postgres.rows import CAUSES, Made, history_row, marks_of, rows_of, stone_row
from schemas.errors import Invalid
from schemas.sql import STONE_COLUMNS
from schemas.stone import Cause, Position, Stone, decode_position, is_position

MAX_KEY_BYTES: Final = 1000
"""A longer id does not fit an entry of the primary key's index."""

_BACKGROUND: Final = {CAUSES[Cause.REPRICED], CAUSES[Cause.REMAPPED]}
_NUL_ESCAPED: Final = b"\\u0000"


class Message(Protocol):
    """What is read of a `confluent_kafka.Message`."""

    def topic(self) -> str | None:
        """The topic it was read from."""

    def key(self) -> bytes | None:
        """The record's key."""

    def value(self) -> bytes | None:
        """The record's value; None is a null."""

    def partition(self) -> int | None:
        """The feed's slot."""

    def offset(self) -> int | None:
        """The record's place in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Kind of time and milliseconds since 1970."""


_Bigint = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

# Everything Postgres would refuse is refused here, where one record falls and not the whole transaction. The struct
# lives as long as its transaction: untracked by the garbage collector it decodes twice as fast.
_BIGINTS: Final = {
    column.name: _Bigint | None if column.nullable else _Bigint
    for column in STONE_COLUMNS
    if column.sql_type == "bigint"
}
_StoneRow = cast(
    "type[Stone]",
    msgspec.defstruct(
        "_StoneRow",
        [
            (f.name, _BIGINTS.get(f.name, f.type), *(() if f.required else (f.default,)))
            for f in msgspec.structs.fields(Stone)
        ],
        frozen=True,
        kw_only=True,
        gc=False,
    ),
)


class Version(msgspec.Struct, frozen=True, gc=False):
    """The last version of a stone in a batch; `row` is what `rows.stone_row` makes of it, what follows its `rows.Marks`."""

    stone_id: str
    offset: int
    row: bytes
    price_at: int
    hash_at: int
    cause: int


class Retired(msgspec.Struct, frozen=True, gc=False):
    """A stone whose last record in a batch is a null."""

    stone_id: str
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that cannot become a row."""

    message: Message
    cause: Invalid


@dataclass(slots=True)
class Batch:
    """What one transaction writes, the offsets (partition to next offset) it brings the sink to, and its sampled traces."""

    versions: list[Version] = field(default_factory=list)
    retired: list[Retired] = field(default_factory=list)
    history: list[bytes] = field(default_factory=list)
    positions: list[tuple[Position, int]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    next_offsets: dict[int, int] = field(default_factory=dict)
    records: int = 0
    traces: tuple[bytes, ...] = ()

    @property
    def background(self) -> bool:
        """Whether there is work in it that its owner paces by how far it is written."""
        return any(version.cause in _BACKGROUND for version in self.versions)


_decode = msgspec.json.Decoder(_StoneRow).decode


def fold(messages: Sequence[Message]) -> Batch:
    """Read a batch in log order. Nothing raises: what cannot be used is in `refused`."""
    batch = Batch(records=len(messages))
    # Of each record its key, and its place among what has a value; the others' places are below zero.
    order: list[bytes] = []
    places: list[int] = []
    sources: list[Message] = []
    keys: list[bytes] = []
    records: list[bytes] = []
    offsets: list[int] = []
    nulls: list[Retired] = []
    positions: dict[bytes, tuple[Position, int]] = {}
    for message in messages:
        try:
            key, offset = _key_and_offset(message)
            value = message.value()
            if is_position(key):
                if value is not None:
                    positions[key] = (_position(value), offset)
                continue
            if value is None:
                nulls.append(Retired(_text(key), offset, message.timestamp()[1]))
                places.append(-len(nulls))
            else:
                places.append(len(keys))
                sources.append(message)
                keys.append(key)
                records.append(value)
                offsets.append(offset)
            order.append(key)
        except Invalid as cause:
            batch.refused.append(Refused(message, cause))
    rows, marks, history = made = rows_of(records, keys, offsets)
    unusable: set[int] = set()
    if None in rows:
        for place, why in _make_the_rest(records, keys, offsets, made):
            batch.refused.append(Refused(sources[place], why))
            unusable.add(place)
    # Of each stone the last counts, be it a version or a null; price history is of every version before that.
    last = {key: place for key, place in zip(order, places, strict=True) if place not in unusable}
    for key, place in last.items():
        if place < 0:
            batch.retired.append(nulls[-place - 1])
        elif (row := rows[place]) is not None:
            batch.versions.append(Version(key.decode(), offsets[place], row, *marks[place]))
    batch.history = [row for row in history if row is not None]
    batch.next_offsets = _next_offsets(messages)
    batch.positions = list(positions.values())
    return batch


def _make_the_rest(
    records: Sequence[bytes], keys: Sequence[bytes], offsets: Sequence[int], made: Made
) -> Iterator[tuple[int, Invalid]]:
    """Make the rows of records that are not plain by decoding them; gives the places of those that are no stones."""
    rows, marks, history = made
    for place in [place for place, row in enumerate(rows) if row is None]:
        try:
            stone = _stone(keys[place], records[place])
        except Invalid as cause:
            yield place, cause
            continue
        row = stone_row(stone, offsets[place])
        rows[place], marks[place], history[place] = row, marks_of(row, stone.cause), history_row(stone)


def _key_and_offset(message: Message) -> tuple[bytes, int]:
    key, offset = message.key(), message.offset()
    if not key or offset is None:
        raise Invalid("key", "a canonical record has the stone's id as its key", code="no_key")
    if len(key) > MAX_KEY_BYTES:
        raise Invalid("key", f"has {len(key)} bytes; at most {MAX_KEY_BYTES} are stored", code="bad_key")
    return key, offset


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


def _next_offsets(messages: Iterable[Message]) -> dict[int, int]:
    # Within a partition offsets rise, so the last message seen of each is the furthest.
    places = {message.partition(): message.offset() for message in messages}
    return {slot: offset + 1 for slot, offset in places.items() if slot is not None and offset is not None}
