"""What is delivered is remembered, and what is not ends everything; which offsets are ours without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from confluent_kafka import KafkaError
from numpy.typing import NDArray

from runtime.bulk_producer import Report
from schemas.headers import Headers
from streams.delivery import Delivery, DeliveryFailed, TopicNames, last_stretch
from streams.outbox import Outbox
from streams.versions import retired
from tests.unit.streams.items import item
from tests.unit.streams.records import STONE, Log, raw_page


@pytest.mark.parametrize(
    ("offsets", "begin"),
    [([5], 5), ([5, 6, 7], 5), ([5, 7], 7), ([5, 6, 9, 10, 11], 9), ([1, 3, 4, 6], 6), ([0, 2, 3], 2)],
)
def test_a_stretch_begins_behind_the_last_gap(offsets: list[int], begin: int) -> None:
    assert last_stretch(np.array(offsets)) == begin


_PLENTY = 1_000


class Kafka:
    """Takes records as `BulkProducer` does, at most `room` unless nothing waits, and reports them when it is flushed."""

    def __init__(self, room: int = _PLENTY) -> None:
        self.taken: list[tuple[str, int, bytes, bytes | None, Headers | None]] = []
        self.waiting: list[tuple[Report, int]] = []
        self.room = room
        self.tell: Callable[[Report, NDArray[np.int64]], None] = lambda report, offsets: report(None, offsets)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes,
        slot: int,
        report: Report,
        *,
        headers: Headers | None = None,
    ) -> None:
        if len(self.waiting) >= self.room:
            raise BufferError
        self.waiting.append((report, len(self.taken)))
        self.taken.append((topic, slot, key, value, headers))

    def produce_all(
        self,
        topic: str,
        slot: int,
        keys: bytes,
        key_ends: NDArray[np.int64],
        values: bytes,
        ends: NDArray[np.int64],
        report: Report,
    ) -> None:
        if self.waiting and len(self.waiting) + len(ends) > self.room:
            raise BufferError
        for key_end, end, key_begin, begin in zip(key_ends, ends, [0, *key_ends], [0, *ends], strict=False):
            self.waiting.append((report, len(self.taken)))
            self.taken.append((topic, slot, keys[key_begin:key_end], values[begin:end], None))

    def poll(self) -> None:
        if self.room < _PLENTY:
            self.flush(0)

    def flush(self, _timeout_s: float) -> int:
        waiting, self.waiting = self.waiting, []
        for report, offset in waiting:
            self.tell(report, np.array([offset]))
        return len(waiting)


def delivery(kafka: Kafka, log: Log) -> Delivery:
    return Delivery(kafka, TopicNames(canonical="c", dead="d", receipts="r"), log.memory)  # type: ignore[arg-type]


def outbox(log: Log, *offsets: int) -> Outbox:
    out = Outbox()
    for offset in offsets:
        pages = item(10 * offset), item(10 * offset + 1), item(10 * offset + 2, price=None)
        log.worker.take(raw_page(*pages, seq=offset, number=offset), log.book, 1, out)
    return out


@pytest.mark.parametrize("room", [1, 2, _PLENTY])
def test_all_of_an_outbox_arrives_and_is_remembered(room: int) -> None:
    log, kafka = Log(), Kafka(room)
    out = outbox(log, 1, 2)
    out.settle()
    stones = [version for _, version in out.versions()]
    out.add_one(0, retired(STONE, 9))
    out.traces = {stones[0].id: b"told"}
    dead, receipts = [*out.dead], [*out.receipts]
    asyncio.run(delivery(kafka, log).send(out))
    records = [taken for taken in kafka.taken if taken[0] == "c"]
    assert [(key, value) for _, _, key, value, _ in records] == [
        *((version.id.encode(), version.body) for version in stones),
        (STONE.encode(), None),
    ]
    headers = [[*(own or ())] for *_, own in records]
    assert headers == [[("traceparent", b"told")], [], [], [], [("seq", b"9")]]
    assert [taken[2:] for taken in kafka.taken if taken[0] == "d"] == [letter[1:] for letter in dead]
    assert [taken[2:] for taken in kafka.taken if taken[0] == "r"] == [letter[1:] for letter in receipts]
    assert [log.memory.latest(version.id) for version in stones] == stones
    assert not out.stones
    assert not out.overlay


def test_a_failed_report_ends_everything_and_nothing_of_it_is_remembered() -> None:
    log, kafka = Log(), Kafka()
    kafka.tell = lambda report, offsets: report(KafkaError(KafkaError._MSG_TIMED_OUT), offsets)
    with pytest.raises(DeliveryFailed, match="timed out"):
        asyncio.run(delivery(kafka, log).send(outbox(log, 1)))
    assert len(log.memory) == 0


@pytest.mark.parametrize("offset", [-1001, 0])
def test_reports_out_of_order_or_without_an_offset_are_failures(offset: int) -> None:
    log, kafka = Log(), Kafka()
    kafka.tell = lambda report, offsets: report(None, np.array([offset]))
    with pytest.raises(DeliveryFailed, match="order"):
        asyncio.run(delivery(kafka, log).send(outbox(log, 1)))
