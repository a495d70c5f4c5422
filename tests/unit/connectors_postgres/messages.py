"""Records as the sink reads them."""

from dataclasses import dataclass
from typing import Any

from schemas.stone import Stone, encode


@dataclass(frozen=True)
class Record:
    """A message of the canonical topic."""

    key_: bytes | None
    value_: bytes | None
    offset_: int
    partition_: int = 0
    at_ms: int = 1_767_323_045_000

    def topic(self) -> str:
        return "diamonds.canonical"

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def offset(self) -> int:
        return self.offset_

    def partition(self) -> int:
        return self.partition_

    def timestamp(self) -> tuple[int, int]:
        return (1, self.at_ms)


def record(stone: Stone, offset: int, **place: Any) -> Record:
    return Record(stone.id.encode(), encode(stone), offset, **place)
