"""`diamonds.dead` into Postgres, in `monitor`.

It is there, and not in the sink, because the sink itself writes dead letters and must not be what hides them; and
because nothing waits for it. It goes on behind the last letter that Postgres has, so a restored database catches up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar
from uuid import UUID

import structlog
from confluent_kafka import Message

from connectors.postgres.sink import topic_uuid
from operating import letters
from operating.letters import Arrival
from runtime.health import Check
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.dead_letter import DeadLetter
from schemas.errors import Invalid, Retriable
from schemas.headers import Headers, from_headers
from schemas.topics import DEAD

log = structlog.stdlib.get_logger(__name__)

_LOOK_EVERY_S: Final = 1.0
_RETRY_S: Final = 2.0

ResultT = TypeVar("ResultT")


class Keeper:
    """Follows the dead letters for as long as `serve` runs.

    Args:
        kafka: where the letters are.
        database: where they go.
        topic: their topic's name.
    """

    def __init__(self, kafka: KafkaSettings, database: Database, topic: str = DEAD.name) -> None:
        self._kafka = kafka
        self._database = database
        self._topic = topic
        self._waiting: str | None = None
        self._stopping = False

    async def serve(self) -> None:
        """Take letters in until cancelled. Raises what ends the reading for good."""
        topic_id = await self._patiently(lambda: asyncio.to_thread(topic_uuid, self._kafka, self._topic))
        start = await self._patiently(lambda: self._positions(topic_id))
        loop = asyncio.get_running_loop()

        def apply(messages: list[Message]) -> None:
            arrivals = [_arrival(message) for message in messages]
            asyncio.run_coroutine_threadsafe(
                self._patiently(lambda: self._keep(topic_id, arrivals)), loop
            ).result()

        tail = Tail(self._kafka, self._topic, apply, start=start)
        tail.start()
        try:
            while True:
                if tail.failure is not None:
                    raise tail.failure
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._stopping = True
            await asyncio.to_thread(tail.stop)

    def check(self) -> Check:
        """Alive: waiting for Postgres or Kafka is said, not punished."""
        return Check(True, self._waiting or "follows")

    async def _positions(self, topic_id: UUID) -> dict[int, int]:
        async with self._database.link() as link:
            return await letters.positions(link, topic_id)

    async def _keep(self, topic_id: UUID, arrivals: list[Arrival]) -> None:
        async with self._database.transaction() as link:
            await letters.keep(link, topic_id, arrivals)
        log.info("letters.kept", letters=len(arrivals))

    async def _patiently(self, work: Callable[[], Awaitable[ResultT]]) -> ResultT:
        while True:
            try:
                result = await work()
            except Retriable as error:
                if self._stopping:
                    raise
                if self._waiting is None:
                    log.warning("letters.wait", reason=str(error))
                self._waiting = str(error)
                await asyncio.sleep(_RETRY_S)
            else:
                self._waiting = None
                return result


def _arrival(message: Message) -> Arrival:
    partition, offset = message.partition() or 0, message.offset() or 0
    try:
        letter = from_headers(_headers(message), DeadLetter)
    except Invalid as error:
        # Not one of ours, and still something an operator must see.
        letter = DeadLetter(
            topic=message.topic() or DEAD.name,
            partition=partition,
            offset=offset,
            stage="headers",
            error=error.code,
            field=error.field,
            reason=error.rule,
            feed="unknown",
        )
    at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
    return Arrival(letter, message.value() or b"", at, partition, offset)


def _headers(message: Message) -> Headers:
    return message.headers() or []  # type: ignore[return-value]
