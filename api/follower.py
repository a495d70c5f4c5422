"""Brings the canonical topic into the index: decoded in the tail's thread, applied by the serving thread in slices.

The tail waits until its batch is applied, so that batches never pile up. The last offset of a stone wins; a record that
cannot be read is counted and skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Final

import msgspec
import structlog
from confluent_kafka import Message

from api.fragments import frame
from api.index import Batch, Index, Searchable
from runtime.health import Check
from runtime.metrics import counter, gauge
from runtime.settings import KafkaSettings
from schemas.stone import decode_position, is_position
from schemas.topics import CANONICAL
from streams.tail import Tail

log = structlog.stdlib.get_logger(__name__)

STONES: Final = gauge("adamas_api_stones")
UNREADABLE: Final = counter("adamas_api_unreadable_total")

SLICE: Final = 400
"""Stones applied before the event loop may answer a request: 2 to 4 ms."""

decode_searchable = msgspec.json.Decoder(Searchable).decode


def fold(messages: Sequence[Message]) -> tuple[Batch, int]:
    """The last record of each key, decoded; and how many of them cannot be read."""
    last = {message.key(): message.value() for message in messages}
    batch, unreadable = Batch([], [], [], {}), 0
    for key, value in last.items():
        try:
            _take(key or b"", value, batch)
        # ValueError: bytes without a record's stretches, or a key that is not text.
        except (msgspec.MsgspecError, ValueError) as error:
            unreadable += 1
            log.warning("api.record_unreadable", stone=str(key), error=str(error))
    return batch, unreadable


def _take(key: bytes, value: bytes | None, batch: Batch) -> None:
    if is_position(key):
        if value is not None:
            position = decode_position(value)
            batch.positions[position.feed] = position.as_of
    elif value is None:
        batch.removed.append(key.decode())
    else:
        stone, framed = decode_searchable(value), frame(value)
        batch.stones.append(stone)
        batch.records.append(framed)


class Follower:
    """Keeps an index up to date with a topic. To be made in the thread whose running loop owns the index."""

    def __init__(self, kafka: KafkaSettings, index: Index, topic: str = CANONICAL.name) -> None:
        self._index = index
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(kafka, topic, self._apply)

    def start(self) -> None:
        """Begin to read; returns at once."""
        self._tail.start()

    async def stop(self) -> None:
        """Stop reading, once the batch in flight is applied."""
        # Not in this thread: the tail may be waiting for this very loop.
        await asyncio.to_thread(self._tail.stop)

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to be applied, by partition."""
        return self._tail.positions

    @property
    def failure(self) -> BaseException | None:
        """What ended the reading, if something did."""
        return self._tail.failure

    def check_ready(self) -> Check:
        """Ready once the end offsets taken at start were reached."""
        detail = {
            "percent": round(100 * self._tail.progress, 1),
            "stones": len(self._index),
            "positions": self._tail.positions,
            "as_of_ms": dict(self._index.positions),
        }
        return Check(self._tail.caught_up, detail)

    def check_live(self) -> Check:
        """Alive as long as the reading goes on; Kafka may be away."""
        failure = self._tail.failure
        return Check(failure is None, "reads" if failure is None else type(failure).__name__)

    def _apply(self, messages: list[Message]) -> None:
        batch, unreadable = fold(messages)
        UNREADABLE.inc(unreadable)
        applied = asyncio.run_coroutine_threadsafe(self._apply_in_slices(batch), self._loop)
        try:
            applied.result()
        except CancelledError:
            log.info("api.batch_cancelled")

    async def _apply_in_slices(self, batch: Batch) -> None:
        for start in range(0, len(batch.stones), SLICE):
            end = start + SLICE
            self._index.apply(Batch(batch.stones[start:end], batch.records[start:end], [], {}))
            await asyncio.sleep(0)
        # Positions last: they promise that everything before them is in.
        self._index.apply(Batch([], [], batch.removed, batch.positions))
        STONES.set(len(self._index))
