"""The stock for those who try a rule set on all of it now and then: read when it is asked for, kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from runtime.settings import KafkaSettings
from runtime.tail import Following
from schemas.errors import Retriable
from schemas.topics import CANONICAL
from streams.pricing.shelf import Shelf

if TYPE_CHECKING:
    from streams.pricing.stock import Stock

KEPT_S: Final = 900.0
PATIENCE_S: Final = 15.0
"""How long reading the stock may stand still before Kafka counts as away."""
_POLL_S: Final = 0.02


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
        self._tail: Following | None = None
        self._asked_at = time.monotonic()

    async def shelf(self, attributes: Collection[str]) -> Shelf:
        """A copy of these columns of the whole stock.

        Raises:
            Retriable: the stock cannot be read: Kafka does not answer.
        """
        async with self._lock:
            self._asked_at = time.monotonic()
            stock = self._stock
            if stock is None or not stock.attributes >= set(attributes):
                known = stock.attributes if stock else frozenset[str]()
                await self._let_go()
                stock = await self._begin({*attributes, *known})
            await self._until_read()
            self._asked_at = time.monotonic()
            return await asyncio.to_thread(stock.shelf, attributes)

    async def let_go_if_idle(self) -> None:
        """Free the memory when nobody has asked for some minutes."""
        if self._tail is not None and time.monotonic() - self._asked_at > KEPT_S and not self._lock.locked():
            await self.close()

    async def close(self) -> None:
        """Stop reading, forget the stock."""
        async with self._lock:
            await self._let_go()

    async def _begin(self, attributes: Collection[str]) -> Stock:
        # What reads a log in machine code is slow to import, and only who tries a rule set needs it.
        from connectors.log.tail import LogTail
        from streams.pricing.stock import Stock, compile_kernels

        await asyncio.to_thread(compile_kernels)
        self._stock = stock = Stock(attributes)
        self._tail = LogTail(self._kafka, self._topic, stock.apply)
        self._tail.start()
        return stock

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
