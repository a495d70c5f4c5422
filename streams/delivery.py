"""An outbox into Kafka: produced, every report counted, and only then remembered.

`flush()` returning 0 does not mean delivered, and a memory that runs ahead of the log would take a lost record for one
that was written. So each record has its report counted, and any failed one raises.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from runtime import tracing
from runtime.stretches import Stretches
from schemas.errors import Fatal
from schemas.topics import CANONICAL, DEAD, RAW, RECEIPTS, RULESETS
from streams.memory import Memory
from streams.outbox import Letter, Outbox
from streams.transcription.decision import SEQ
from streams.versions import Sheet

_POLL_S: Final = 0.002
_CHUNK: Final = 200

Report = Callable[[KafkaError | None, Message], None]


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The topics a worker reads and writes; tests give them names of their own."""

    raw: str = RAW.name
    canonical: str = CANONICAL.name
    dead: str = DEAD.name
    receipts: str = RECEIPTS.name
    rulesets: str = RULESETS.name


class DeliveryFailed(Fatal):
    """A record was not delivered: nothing that came before it may be acknowledged."""


class Delivery:
    """Sends outboxes, one at a time.

    Args:
        producer: idempotent; nobody else may poll it.
        topics: where to.
        memory: learns of each stone once its record is delivered.
        own: learns which offsets of the canonical topic are ours.
    """

    def __init__(
        self, producer: Producer, topics: TopicNames, memory: Memory, own: Stretches | None = None
    ) -> None:
        self._producer = producer
        self._own = own or Stretches()
        self._topics = topics
        self._memory = memory
        self._sent = 0
        self._reported = 0
        self._failure: KafkaError | None = None
        self._offsets: defaultdict[int, list[int]] = defaultdict(list)
        self._reports: dict[int, Report] = {}
        self._traces: dict[str, bytes] = {}

    async def feed(self, out: Outbox) -> None:
        """Produce what was added since the last call and remember what has been delivered meanwhile.

        The client compresses and sends on threads of its own, so that the rest of a batch is decided while its
        beginning travels; and what has been remembered is let go, which keeps the work within the processor's caches.
        """
        out.settle()
        self._memory.expect(out.held)
        self._traces = out.traces
        await self._produce_stones(out.stones[out.fed :])
        out.fed = len(out.stones)
        self._producer.poll(0)
        self._raise_failure()
        self._remember(out)

    async def send(self, out: Outbox) -> None:
        """Produce everything and wait for it; afterwards the memory knows of it.

        Raises:
            DeliveryFailed: a record was refused, or not taken within the delivery time-out.
        """
        await self.feed(out)
        await self._produce(self._topics.dead, out.dead)
        await self._produce(self._topics.receipts, out.receipts)
        await self._delivered()
        self._remember(out)
        self._memory.expect(None)
        # A position says that everything before it has been delivered: so it is sent only now.
        await self._produce(self._topics.canonical, out.positions)
        await self._delivered()

    async def _produce_stones(self, stones: list[tuple[int, Sheet]]) -> None:
        produce, topic, traces = self._producer.produce, self._topics.canonical, self._traces
        since = _CHUNK
        for slot, sheet in stones:
            if since >= _CHUNK:
                self._producer.poll(0)
                await asyncio.sleep(0)
                since = 0
            report = self._reports.get(slot) or self._report_of(slot)
            for place, (key, body) in enumerate(zip(sheet.ids, sheet.bodies(), strict=True)):
                headers = None if body is not None else _null_headers(sheet, place)
                if traces and (told := traces.get(key)):
                    headers = [*(headers or ()), (tracing.HEADER, told)]
                while True:
                    try:
                        produce(topic, body, key, slot, report, headers=headers)
                        break
                    except BufferError:
                        await self._make_room()
                self._sent += 1
            since += len(sheet.ids)

    async def _produce(self, topic: str, letters: list[Letter]) -> None:
        for slot, key, value, headers in letters:
            while True:
                try:
                    self._producer.produce(topic, value, key, slot, self._count, headers=headers)  # type: ignore[arg-type]
                    break
                except BufferError:
                    await self._make_room()
            self._sent += 1

    async def _make_room(self) -> None:
        self._producer.poll(0)
        self._raise_failure()
        await asyncio.sleep(_POLL_S)

    async def _delivered(self) -> None:
        while True:
            # What lingers to become a larger request is sent at once: from here on everybody waits for it.
            self._producer.flush(_POLL_S)
            self._raise_failure()
            if self._reported == self._sent:
                return
            await asyncio.sleep(0)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise DeliveryFailed(f"a record was not delivered: {self._failure.str()}")

    def _count(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error
        self._reported += 1

    def _report_of(self, slot: int) -> Report:
        offsets = self._offsets[slot]
        last = -1

        def report(error: KafkaError | None, message: Message) -> None:
            nonlocal last
            offset = message.offset()
            if error is not None or offset is None:
                self._failure = error or KafkaError(KafkaError._FAIL)
                return
            if offset <= last:
                self._failure = KafkaError(KafkaError._FAIL, "reports of one partition came out of order")
            last = offset
            self._reported += 1
            offsets.append(offset)

        self._reports[slot] = report
        return report

    def _remember(self, out: Outbox) -> None:
        """Hand the delivered beginning of an outbox to the memory."""
        # Reports of a partition come in the order of its records: an idempotent producer never swaps them.
        sheets, offsets = list[Sheet](), list[int]()
        written: defaultdict[int, list[int]] = defaultdict(list)
        for slot, sheet in out.stones:
            reported, count = self._offsets[slot], len(sheet.ids)
            if len(reported) < count:
                break
            sheets.append(sheet)
            offsets += reported[:count]
            written[slot] += reported[:count]
            del reported[:count]
        if sheets:
            self._memory.observe(np.array(offsets, np.int64), sheets)
            out.let_go(len(sheets))
            for slot, own in written.items():
                self._own.wrote(slot, last_stretch(own), own[-1] + 1)


def last_stretch(offsets: list[int]) -> int:
    """The beginning of the last run of rising offsets without a gap: what lies in a gap, somebody else has written."""
    place = len(offsets) - 1
    if offsets[-1] - offsets[0] == place:
        return offsets[0]
    while offsets[place - 1] == offsets[place] - 1:
        place -= 1
    return offsets[place]


def _null_headers(sheet: Sheet, place: int) -> list[tuple[str, str | bytes | None]]:
    return [("seq", b"%d" % sheet.numbers[place, SEQ])]
