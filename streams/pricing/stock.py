"""The whole stock as columns, for whoever must look at all of it at once: the attributes that were asked for, no more.

It follows the canonical topic on a thread of its own and hands out consistent copies (`streams.pricing.shelf`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from threading import Lock
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from confluent_kafka import Message

from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.columns import Columns
from schemas.errors import Retriable
from schemas.stone import Stone, is_position
from schemas.topics import CANONICAL
from streams.pricing.engine import bucket
from streams.pricing.shelf import BUCKET, PRESENT, REPORTED, Shelf

log = structlog.stdlib.get_logger(__name__)

KEPT_S: Final = 900.0
PATIENCE_S: Final = 15.0
"""How long reading the stock may stand still before Kafka counts as away."""
_POLL_S: Final = 0.02

_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Stone)}


class Stock:
    """Columns of stones by id. Without Kafka in it; `Shelves` feeds one.

    Args:
        attributes: fields of `Stone` to keep, beside what every preview needs.
    """

    def __init__(self, attributes: Collection[str] = ()) -> None:
        self.attributes = frozenset((*attributes, *PRESENT, *REPORTED)) - {"id"}
        names = sorted(self.attributes)
        self._columns = Columns(names, extra=(BUCKET,))
        self._ids: list[str] = []
        self._lock = Lock()
        self._decode = msgspec.json.Decoder(record_of(names)).decode

    def __len__(self) -> int:
        return len(self._columns)

    def apply(self, messages: Iterable[Message]) -> None:
        """Take in records of the canonical topic; the last one of a stone wins."""
        last = {message.key() or b"": message.value() for message in messages}
        stones, gone = [], []
        for key, value in last.items():
            if is_position(key):
                continue
            if value is None:
                gone.append(key.decode(errors="replace"))
                continue
            try:
                stones.append(self._decode(value))
            except msgspec.MsgspecError as error:
                log.warning("stock.record_unreadable", stone=str(key), error=str(error))
        self.put(stones, gone)

    def put(self, stones: list[Any], gone: Iterable[str] = ()) -> None:
        """Insert or overwrite stones, each at most once; forget those that are gone."""
        with self._lock:
            columns = self._columns
            if stones:
                rows = columns.put(stones)
                columns.arrays[BUCKET][rows] = [bucket(stone.id) for stone in stones]
                self._ids.extend([""] * (columns.used - len(self._ids)))
                for row, stone in zip(rows.tolist(), stones, strict=True):
                    self._ids[row] = stone.id
            for stone_id in gone:
                columns.remove(stone_id)

    def shelf(self, attributes: Collection[str] | None = None) -> Shelf:
        """A copy of these columns as they are now; of all without naming any.

        Raises:
            KeyError: an attribute is not kept.
        """
        with self._lock:
            columns = self._columns
            live = np.flatnonzero(columns.live[: columns.used])
            whole = len(live) == columns.used

            def copy(name: str) -> Any:
                return columns[name].copy() if whole else columns[name][live]

            names = self.attributes if attributes is None else attributes
            return Shelf(
                ids=self._ids[: columns.used] if whole else [self._ids[row] for row in live.tolist()],
                arrays={name: copy(name) for name in names},
                texts={name: tuple(columns.codes[name].texts) for name in names if name in columns.codes},
                buckets=copy(BUCKET),
            )


def record_of(names: Collection[str]) -> type[msgspec.Struct]:
    """`Stone` with these fields and its id only, so that decoding a record costs no more than what is kept."""
    fields: list[Any] = [("id", str)]
    for name in names:
        field = _FIELDS[name]
        kind = str if name == "availability" else field.type
        fields.append((name, kind) if field.required else (name, kind, field.default))
    return msgspec.defstruct("Kept", fields, frozen=True, gc=False, kw_only=True)


class Shelves:
    """Hands out copies of the stock. The stock is read when it is first asked for, and let go when nobody asks any more.

    Reading all of it takes seconds: the first preview waits for it, those after it do not.

    Args:
        kafka: where Kafka is.
        topic: the canonical topic.
    """

    def __init__(self, kafka: KafkaSettings, topic: str = CANONICAL.name) -> None:
        self._kafka = kafka
        self._topic = topic
        self._lock = asyncio.Lock()
        self._stock: Stock | None = None
        self._tail: Tail | None = None
        self._asked_at = time.monotonic()

    async def shelf(self, attributes: Collection[str]) -> Shelf:
        """A copy of these columns of the whole stock.

        Raises:
            Retriable: the stock cannot be read: Kafka does not answer.
        """
        async with self._lock:
            self._asked_at = time.monotonic()
            if self._stock is None or not self._stock.attributes >= set(attributes):
                known = self._stock.attributes if self._stock else frozenset[str]()
                await self._let_go()
                self._stock = Stock({*attributes, *known})
                self._tail = Tail(self._kafka, self._topic, self._stock.apply)
                self._tail.start()
            await self._until_read()
            self._asked_at = time.monotonic()
            return await asyncio.to_thread(self._stock.shelf, attributes)

    async def let_go_if_idle(self) -> None:
        """Free the memory when nobody has asked for some minutes."""
        if self._tail is not None and time.monotonic() - self._asked_at > KEPT_S and not self._lock.locked():
            await self.close()

    async def close(self) -> None:
        """Stop reading, forget the stock."""
        async with self._lock:
            await self._let_go()

    async def _until_read(self) -> None:
        tail = self._tail
        assert tail is not None
        moved_at, progress = time.monotonic(), -1.0
        while not tail.caught_up:
            if tail.progress != progress:
                moved_at, progress = time.monotonic(), tail.progress
            if tail.failure is not None or time.monotonic() - moved_at > PATIENCE_S:
                reason = tail.failure or "no answer"
                await self._let_go()
                raise Retriable(f"the stock cannot be read from Kafka: {reason}")
            await asyncio.sleep(_POLL_S)

    async def _let_go(self) -> None:
        tail, self._tail, self._stock = self._tail, None, None
        if tail is not None:
            await asyncio.to_thread(tail.stop)
