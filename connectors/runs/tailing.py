"""Keeps the tables abreast of the raw log while ingest holds the lease, and lets others wait until a fact was told."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Self

from confluent_kafka import Message

from connectors.runs.projection import Projection, Told, to_told
from runtime.kafka import admin, topic_id
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.errors import Fatal
from schemas.feeds import FEEDS


class LogReader:
    """Reads the raw log from where Postgres stands. Use it as a context, in the loop that owns the database.

    Args:
        kafka: where Kafka is.
        database: where the rows go.
        topic: the raw log's name.
    """

    def __init__(self, kafka: KafkaSettings, database: Database, topic: str) -> None:
        self._kafka = kafka
        self._database = database
        self._topic = topic
        self._told = asyncio.Condition()

    async def __aenter__(self) -> Self:
        identity = await asyncio.to_thread(lambda: topic_id(admin(self._kafka), self._topic))
        self._projection = Projection(self._database, self._topic, identity)
        slots = sorted({feed.slot for feed in FEEDS.values()})
        starts = await self._projection.open(slots)
        self._loop = asyncio.get_running_loop()
        self._tail = Tail(self._kafka, self._topic, self._apply, start=starts)
        self._tail.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not in this thread: the tail may be waiting for this very loop.
        await asyncio.to_thread(self._tail.stop)

    async def until(self, feed: str, offset: int | None) -> None:
        """Wait until the fact at this offset of a feed's partition is told; none is told already."""
        if offset is None:
            return
        slot = FEEDS[feed].slot
        async with self._told:
            await self._told.wait_for(lambda: self._reached(slot) > offset)

    async def watch(self) -> None:
        """Run until the reading has failed.

        Raises:
            Fatal: it has.
        """
        while self._tail.failure is None:  # noqa: ASYNC110 (the tail is a thread)
            await asyncio.sleep(0.5)
        raise Fatal(f"reading {self._topic} stopped: {self._tail.failure}") from self._tail.failure

    def _reached(self, slot: int) -> int:
        position = self._projection.positions.get(slot)
        return position.next_offset if position else 0

    def _apply(self, messages: list[Message]) -> None:
        facts: defaultdict[int, list[Told]] = defaultdict(list)
        for message in messages:
            fact = to_told(message)
            if fact is not None:
                facts[message.partition() or 0].append(fact)
        asyncio.run_coroutine_threadsafe(self._take(facts), self._loop).result()

    async def _take(self, facts: dict[int, list[Told]]) -> None:
        await self._projection.take(facts)
        async with self._told:
            self._told.notify_all()
