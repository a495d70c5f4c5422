"""The publisher: facts into `diamonds.raw`, each counted only when Kafka has it.

The producer is idempotent and instrumented with OpenTelemetry, so that a page's trace begins where it was fetched.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from threading import Event, Thread
from types import TracebackType
from typing import Final, Protocol, Self

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec import structs
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor

from connectors.feeds.form import Part
from connectors.feeds.mappings import MAPPINGS
from runtime.kafka import producer
from runtime.metrics import counter
from runtime.settings import KafkaSettings
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.errors import AdamasError, Fatal, Retriable
from schemas.facts import PART_STEP, FactHeaders, Kind, fact_key
from schemas.feeds import FEEDS, stone_id
from schemas.headers import to_headers
from schemas.topics import DEAD, MAX_RECORD_BYTES, RAW

log = structlog.stdlib.get_logger(__name__)

TOO_LARGE: Final = counter("adamas_ingest_pages_too_large_total")
FLUSH_S: Final = 8.0
PART_BYTES: Final = MAX_RECORD_BYTES - 64 * 1024
"""Of a page that is written in parts: the limit, less what headers and the record's frame take."""


class Log(Protocol):
    """Where facts go: the publisher, or a test's memory."""

    async def publish(self, headers: FactHeaders, value: bytes) -> int | None:
        """Return the fact's offset when it is kept; raises `Retriable` when it may not be."""


class Publisher:
    """Use it as a context; leaving it waits for what is under way.

    Args:
        kafka: where Kafka is.
        raw: name of the raw log's topic.
        dead: name of the dead letters' topic.
    """

    def __init__(self, kafka: KafkaSettings, raw: str = RAW.name, dead: str = DEAD.name) -> None:
        self._raw = raw
        self._dead = dead
        plain = producer(kafka, compression_type="zstd", linger_ms=0)
        self._producer: Producer = ConfluentKafkaInstrumentor.instrument_producer(plain)
        self._stop = Event()
        self._thread = Thread(target=self._poll, name="publisher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._producer.flush(FLUSH_S)
        if left:
            log.warning("ingest.undelivered_at_exit", records=left)
        self._stop.set()
        self._thread.join()

    async def publish(self, headers: FactHeaders, value: bytes) -> int | None:
        """Append a fact to its feed's partition of the raw log and wait until Kafka has it.

        A page over the record limit is written in parts, each a read of the page of its own. An item over it goes to
        the dead letters, its head, hash and place in the run; its part of the page only names its stone, which is so
        accounted for, and not for sale.

        Returns:
            Its offset (the last part's) in the raw log; none where it is too large and holds no items.

        Raises:
            Retriable: Kafka did not take it; it may be there all the same.
            Fatal: this producer cannot go on.
        """
        key = fact_key(headers.feed, headers.run, headers.partition)
        try:
            return await self._deliver(self._raw, headers.feed, key, value, to_headers(headers))
        except _TooLarge as error:
            TOO_LARGE.labels(headers.feed).inc()
            log.error("ingest.page_too_large", run=headers.run, page=headers.page, size=len(value))
            if headers.kind in (Kind.PAGE, Kind.ITEM):
                parts = MAPPINGS[headers.feed].form.parts(value, PART_BYTES)
                if parts:
                    return await self._publish_parts(headers, parts)
            await self._write_off(headers, value, str(error))
            return None

    async def _publish_parts(self, headers: FactHeaders, parts: list[Part]) -> int | None:
        offset = None
        for number, part in enumerate(parts):
            reread, nameless = headers.reread + number * PART_STEP, None if number else headers.nameless
            own = structs.replace(headers, rows=part.rows, reread=reread, nameless=nameless)
            if part.too_large is not None:
                # First the letter: what is in the raw log is accounted for.
                reason = f"is over the record limit of {MAX_RECORD_BYTES} bytes"
                await self._write_off(headers, part.too_large, reason, index=part.first, stone=part.stone)
                own = structs.replace(own, too_large=True)
            offset = await self.publish(own, part.body)
        return offset

    async def _write_off(
        self,
        headers: FactHeaders,
        payload: bytes,
        reason: str,
        *,
        index: int | None = None,
        stone: str | None = None,
    ) -> None:
        place = f"run {headers.run}, partition {headers.partition}, page {headers.page}"
        letter = DeadLetter(
            topic=self._raw,
            partition=FEEDS[headers.feed].slot,
            offset=-1,
            index=index,
            stage="write",
            error="page_too_large" if index is None else "item_too_large",
            field="page" if index is None else "items[]",
            reason=f"{reason} ({place})",
            feed=headers.feed,
            stone=stone and stone_id(headers.feed, stone),
            seq=headers.seq,
            run=headers.run,
            granted_at=headers.granted_at,
            size=len(payload),
            sha256=sha256(payload).hexdigest(),
        )
        key = (
            letter.stone.encode() if letter.stone else fact_key(headers.feed, headers.run, headers.partition)
        )
        await self._deliver(self._dead, headers.feed, key, payload[:MAX_PAYLOAD_BYTES], to_headers(letter))

    async def _deliver(
        self, topic: str, feed: str, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
    ) -> int:
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[int] = loop.create_future()

        def settle(error: KafkaError | None, offset: int) -> None:
            if not delivered.done():
                _settle(delivered, error, offset)

        def report(error: KafkaError | None, message: Message) -> None:
            loop.call_soon_threadsafe(settle, error, message.offset() or 0)

        try:
            self._producer.produce(
                topic, value, key=key, partition=FEEDS[feed].slot, headers=[*headers], on_delivery=report
            )
        except BufferError as error:
            raise Retriable("Kafka's queue is full") from error
        except KafkaException as error:
            raise _by_fate(error.args[0]) from error
        return await delivered

    def _poll(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(0.1)


class _TooLarge(AdamasError):
    pass


def _settle(delivered: asyncio.Future[int], error: KafkaError | None, offset: int) -> None:
    if error is None:
        delivered.set_result(offset)
    else:
        delivered.set_exception(_by_fate(error))


def _by_fate(error: KafkaError) -> AdamasError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return _TooLarge(error.str())
    if error.fatal():
        return Fatal(f"Kafka's producer cannot go on: {error.str()}")
    return Retriable(f"Kafka did not take the record: {error.str()}")
