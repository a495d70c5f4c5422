"""Records as the sink reads them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from connectors.log.records import Records, batch_of, read
from connectors.postgres import fold as folding
from schemas.stone import Stone, encode

TOPIC_ID = UUID(int=7)


@dataclass(frozen=True)
class Record:
    """A record of the canonical topic."""

    key: bytes | None
    value: bytes | None
    offset: int
    slot: int = 0
    at_ms: int = 1_767_323_045_000


def record(stone: Stone, offset: int, **place: Any) -> Record:
    return Record(stone.id.encode(), encode(stone), offset, **place)


def read_of(records: Iterable[Record]) -> Records:
    """As they are read, each in a batch of its own."""
    some = list(records)
    return read(
        [batch_of([(one.key, one.value)], one.slot, one.offset, one.at_ms) for one in some],
        {one.slot: 0 for one in some},
    )


def fold(records: Iterable[Record], topic_id: UUID = TOPIC_ID) -> folding.Batch:
    return folding.fold(read_of(records), topic_id)
