"""A batch of canonical messages folded into what the index applies. Pure: no Kafka, nothing is changed here.

The last record of a key that can be read is the stone, so that the end is the same however the log was cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import structlog

from api.fragments import frame
from api.index import Batch
from api.values import NO_STONES, read
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
    folded = Folded(Batch(NO_STONES, [], [], {}))
    for message in {message.partition(): message for message in messages}.values():
        folded.next_offsets[message.partition() or 0] = (message.offset() or 0) + 1
    known: dict[bytes | None, bytes | None] = {}
    if held is not None and last:
        known = dict(zip(last, held([(key or b"").decode(errors="replace") for key in last]), strict=True))
    waiting = list(last.values())
    while waiting:
        stones, failed = _take_others(waiting, known, folded)
        failed += _take_stones(stones, folded)
        waiting = [before for message in failed if (before := _before(message, messages)) is not None]
    return folded


def _take_others(
    messages: Sequence[Message], known: Mapping[bytes | None, bytes | None], folded: Folded
) -> tuple[list[Message], list[Message]]:
    """Take positions and nulls; the messages that say something new of a stone, and those that cannot be read."""
    stones, failed = [], []
    for message in messages:
        key, value = message.key() or b"", message.value()
        try:
            if is_position(key):
                if value is not None:
                    position = decode_position(value)
                    folded.batch.positions[position.feed] = position.as_of
            elif value is None:
                folded.batch.removed.append(key.decode())
                _note_changes([message], folded)
            elif (content := known.get(key)) is None or not _says_nothing_new(value, content):
                stones.append(message)
        except (msgspec.MsgspecError, ValueError) as error:
            _note_failure(message, error, folded)
            failed.append(message)
    return stones, failed


def _take_stones(messages: Sequence[Message], folded: Folded) -> list[Message]:
    """Take versions of stones; the messages that cannot be read."""
    if not messages:
        return []
    records = [message.value() or b"" for message in messages]
    values, failures = read(records, [message.key() or b"" for message in messages])
    failed = [messages[place] for place in failures]
    if failures:
        for place, error in failures.items():
            _note_failure(messages[place], error, folded)
        good = [place for place in range(len(messages)) if place not in failures]
        values, records = values.part(good), [records[place] for place in good]
        messages = [messages[place] for place in good]
    batch = folded.batch
    batch.stones = batch.stones.beside(values) if len(batch.stones) else values
    batch.records += map(frame, records)
    _note_changes(messages, folded)
    return failed


def _note_changes(messages: Sequence[Message], folded: Folded) -> None:
    changed = folded.changed
    for message in messages:
        slot, offset = message.partition() or 0, message.offset() or 0
        if offset > changed.get(slot, -1):
            changed[slot] = offset


def _note_failure(message: Message, error: Exception, folded: Folded) -> None:
    folded.unreadable += 1
    log.warning("api.record_unreadable", stone=str(message.key()), error=str(error))


def _before(message: Message, messages: Sequence[Message]) -> Message | None:
    """The message of the same key before this one."""
    key, offset = message.key(), message.offset() or 0
    before = [other for other in messages if other.key() == key and (other.offset() or 0) < offset]
    return before[-1] if before else None


def _says_nothing_new(record: bytes, content: bytes) -> bool:
    return record.startswith(content) and record.startswith(_PROVENANCE, len(content))
