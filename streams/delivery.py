"""An outbox into Kafka: produced, every report counted, and only then remembered.

`flush()` returning 0 does not mean delivered, and a memory that runs ahead of the log would take a lost record for one
that was written. So each record has its report counted, and any failed one raises.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Final

import numpy as np
from confluent_kafka import KafkaError
from numpy.typing import NDArray

from runtime import tracing
from runtime.bulk_producer import BulkProducer, Report
from runtime.stretches import Stretches
from schemas.errors import Fatal
from schemas.headers import Headers
from schemas.topics import CANONICAL, DEAD, RAW, RECEIPTS, RULESETS
from streams.memory import Memory
from streams.outbox import Outbox
from streams.transcription.decision import SEQ
from streams.versions import Sheet, ends_of

_POLL_S: Final = 0.002
_CHUNK: Final = 200

_Record = tuple[int, bytes, bytes | None, Headers | None]
"""Slot, key, value and headers; as in a `Letter`, but it may be a null."""


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
        self, producer: BulkProducer, topics: TopicNames, memory: Memory, own: Stretches | None = None
    ) -> None:
        self._producer = producer
        self._own = own or Stretches()
        self._topics = topics
        self._memory = memory
        self._sent = 0
        self._reported = 0
        self._failure: KafkaError | None = None
        self._offsets = defaultdict[int, NDArray[np.int64]](lambda: np.empty(0, np.int64))
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
        self._producer.poll()
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
        topic, traces = self._topics.canonical, self._traces
        since = _CHUNK
        for slot, sheet in stones:
            if since >= _CHUNK:
                self._producer.poll()
                await asyncio.sleep(0)
                since = 0
            report = self._reports.get(slot) or self._report_of(slot)
            if sheet.lengths().all() and traces.keys().isdisjoint(sheet.ids):
                await self._produce_all(topic, slot, sheet.keys(), sheet.records, sheet.ends, report)
            else:
                await self._produce(topic, _records(slot, sheet, traces), report)
            since += len(sheet.ids)

    async def _produce(self, topic: str, records: Iterable[_Record], report: Report | None = None) -> None:
        report = report or self._count
        for (slot, plain), group in groupby(records, lambda record: (record[0], record[3] is None)):
            if plain:
                _, keys, values, _ = zip(*group, strict=True)
                await self._produce_all(topic, slot, keys, b"".join(values), ends_of(values), report)
                continue
            for _, key, value, headers in group:
                one = partial(self._producer.produce, topic, value, key, slot, report, headers=headers)
                await self._produced(one, 1)

    async def _produce_all(
        self,
        topic: str,
        slot: int,
        keys: Sequence[bytes],
        values: bytes,
        ends: NDArray[np.int64],
        report: Report,
    ) -> None:
        given = topic, slot, b"".join(keys), ends_of(keys), values, ends, report
        await self._produced(partial(self._producer.produce_all, *given), len(keys))

    async def _produced(self, produce: Callable[[], None], count: int) -> None:
        while True:
            try:
                produce()
                break
            except BufferError:
                await self._make_room()
        self._sent += count

    async def _make_room(self) -> None:
        self._producer.poll()
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

    def _count(self, error: KafkaError | None, offsets: NDArray[np.int64]) -> None:
        self._failure = self._failure or error
        self._reported += len(offsets)

    def _report_of(self, slot: int) -> Report:
        last = -1

        def report(error: KafkaError | None, offsets: NDArray[np.int64]) -> None:
            nonlocal last
            if error is None and (offsets[0] <= last or (np.diff(offsets) <= 0).any()):
                error = KafkaError(
                    KafkaError._FAIL, "reports of a partition came out of order or without offsets"
                )
            if error is not None:
                self._failure = self._failure or error
                return
            last = int(offsets[-1])
            self._reported += len(offsets)
            self._offsets[slot] = np.concatenate([self._offsets[slot], offsets])

        self._reports[slot] = report
        return report

    def _remember(self, out: Outbox) -> None:
        """Hand the delivered beginning of an outbox to the memory."""
        # Reports of a partition come in the order of its records: an idempotent producer never swaps them.
        sheets: list[Sheet] = []
        told: list[NDArray[np.int64]] = []
        written: defaultdict[int, list[NDArray[np.int64]]] = defaultdict(list)
        for slot, sheet in out.stones:
            reported, count = self._offsets[slot], len(sheet.ids)
            if len(reported) < count:
                break
            sheets.append(sheet)
            told.append(reported[:count])
            written[slot].append(reported[:count])
            self._offsets[slot] = reported[count:]
        if sheets:
            self._memory.observe(np.concatenate(told), sheets)
            out.let_go(len(sheets))
            for slot, own in written.items():
                self._own.wrote(slot, last_stretch(np.concatenate(own)), int(own[-1][-1]) + 1)


def last_stretch(offsets: NDArray[np.int64]) -> int:
    """The beginning of the last run of rising offsets without a gap: what lies in a gap, somebody else has written."""
    gaps = np.flatnonzero(np.diff(offsets) != 1)
    return int(offsets[gaps[-1] + 1 if len(gaps) else 0])


def _records(slot: int, sheet: Sheet, traces: Mapping[str, bytes]) -> Iterator[_Record]:
    """The records of a sheet, each by itself, with the headers of a null and of a trace."""
    for place, (stone, body) in enumerate(zip(sheet.ids, sheet.bodies(), strict=True)):
        headers = [] if body is not None else [("seq", b"%d" % sheet.numbers[place, SEQ])]
        if stone in traces:
            headers.append((tracing.HEADER, traces[stone]))
        yield slot, stone.encode(), body, headers
