"""A batch of canonical messages folded into what the index applies. Pure: no Kafka, nothing is changed here.

The last record of a key that can be read is the stone, so that the end is the same however the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import structlog

from api.fragments import frame
from api.index import Batch, decode_searchable
from schemas.errors import Invalid
from schemas.stone import decode_position, is_position

log = structlog.stdlib.get_logger(__name__)

_PROVENANCE: Final = b',"seq":'


class Message(Protocol):
    """What is read of a `confluent_kafka.Message`."""

    def key(self) -> bytes | None:
        """The stone's id, or a feed's position."""

    def value(self) -> bytes | None:
        """The record; None is a null."""

    def partition(self) -> int | None:
        """The feed's slot."""

    def offset(self) -> int | None:
        """The record's place in the partition."""


Contents = Callable[[Sequence[str]], Sequence[bytes | None]]
"""Stones' records as they are held, up to their provenance; None of a stone that is not held."""


@dataclass(slots=True)
class Folded:
    """A batch, and what else is known of its messages.

    Attributes:
        batch: what is to be applied.
        unreadable: records that were skipped.
        next_offsets: the offset behind the last message, by partition.
        changed: the offset of the last message that changes what an answer could show, by partition.
    """

    batch: Batch
    unreadable: int = 0
    next_offsets: dict[int, int] = field(default_factory=dict)
    changed: dict[int, int] = field(default_factory=dict)


def fold(messages: Sequence[Message], held: Contents | None = None) -> Folded:
    """Fold messages by key.

    Args:
        messages: in log order within each partition, without errors.
        held: tells what the index holds; records that say nothing new are then left out.
    """
    last = {message.key(): message for message in messages}
    folded = Folded(Batch([], [], [], {}))
    for message in {message.partition(): message for message in messages}.values():
        folded.next_offsets[message.partition() or 0] = (message.offset() or 0) + 1
    keys = [(key or b"").decode(errors="replace") for key in last]
    contents = held(keys) if held is not None and keys else [None] * len(keys)
    for message, content in zip(last.values(), contents, strict=True):
        _take_readable(message, messages, folded, content)
    return folded


def _take_readable(
    message: Message, messages: Sequence[Message], folded: Folded, content: bytes | None
) -> None:
    try:
        _take(message, folded, content)
        return
    except (msgspec.MsgspecError, ValueError, Invalid) as error:
        folded.unreadable += 1
        log.warning("api.record_unreadable", stone=str(message.key()), error=str(error))
    key, offset = message.key(), message.offset() or 0
    before = [m for m in messages if m.key() == key and (m.offset() or 0) < offset]
    if before:
        _take_readable(before[-1], messages, folded, content)


def _take(message: Message, folded: Folded, content: bytes | None) -> None:
    key, value, batch = message.key() or b"", message.value(), folded.batch
    if is_position(key):
        if value is not None:
            position = decode_position(value)
            batch.positions[position.feed] = position.as_of
        return
    stone_id = key.decode()
    if value is None:
        batch.removed.append(stone_id)
    elif _says_nothing_new(value, content):
        return
    else:
        stone, framed = decode_searchable(value), frame(value)
        if stone.id != stone_id:
            raise Invalid("id", f"is {stone.id}, not the record's key", "other_key")
        batch.stones.append(stone)
        batch.records.append(framed)
    slot, offset = message.partition() or 0, message.offset() or 0
    folded.changed[slot] = max(offset, folded.changed.get(slot, -1))


def _says_nothing_new(record: bytes, content: bytes | None) -> bool:
    return content is not None and record.startswith(content) and record.startswith(_PROVENANCE, len(content))
