"""Many records by one call, on the broker that librdkafka brings along for tests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from numpy.typing import NDArray

from runtime import bulk_producer
from runtime.bulk_producer import BulkProducer
from runtime.kafka import consumer
from runtime.settings import KafkaSettings
from streams.versions import ends_of

TOPIC = "stones"


@pytest.fixture
def kafka() -> Iterator[KafkaSettings]:
    broker = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none:1"})
    (place,) = broker.list_topics(timeout=10).brokers.values()
    yield KafkaSettings(bootstrap=f"{place.host}:{place.port}")
    assert broker.flush(1) == 0


class Told:
    """What was reported, in order."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.errors: list[KafkaError] = []

    def __call__(self, error: KafkaError | None, offsets: NDArray[np.int64]) -> None:
        if error is not None:
            self.errors.append(error)
        else:
            self.offsets += offsets.tolist()


def produce_all(sender: BulkProducer, slot: int, keys: list[bytes], values: list[bytes], told: Told) -> None:
    sender.produce_all(*(TOPIC, slot, b"".join(keys), ends_of(keys), b"".join(values), ends_of(values)), told)


def read(kafka: KafkaSettings, slot: int, count: int) -> list[Message]:
    reader = consumer(kafka, "readers")
    reader.assign([TopicPartition(TOPIC, slot, 0)])
    found = reader.consume(count, timeout=10)
    reader.close()
    return found


def test_records_arrive_whole_and_in_order_with_their_offsets(kafka: KafkaSettings) -> None:
    sender, told, other = BulkProducer(kafka), Told(), Told()
    keys = [b"stone %d" % number for number in range(5_000)]
    values = [b"%d;" % number * (number % 50) or b"nothing" for number in range(5_000)]
    for begin in range(0, 5_000, 500):
        produce_all(sender, begin // 500 % 2, keys[begin : begin + 500], values[begin : begin + 500], told)
    sender.produce(TOPIC, None, b"gone", 3, other, headers=[("seq", b"12"), ("empty", b"")])
    assert sender.flush(10) == 0
    assert sorted(told.offsets) == sorted([*range(2_500)] * 2)
    assert other.offsets == [0]
    assert told.errors == other.errors == []
    for slot in (0, 1):
        expected = [n for n in range(5_000) if n // 500 % 2 == slot]
        found = read(kafka, slot, 2_500)
        assert [message.key() for message in found] == [keys[n] for n in expected]
        assert [message.value() for message in found] == [values[n] for n in expected]
    (null,) = read(kafka, 3, 1)
    assert (null.key(), null.value()) == (b"gone", None)
    assert null.headers() == [("seq", b"12"), ("empty", b"")]


def test_each_is_told_of_its_own_records(kafka: KafkaSettings) -> None:
    sender, first, second = BulkProducer(kafka, linger_ms=100), Told(), Told()
    for number in range(6):
        produce_all(sender, 0, [b"a", b"b"], [b"1", b"2"], (first, second)[number % 2])
        sender.produce(TOPIC, b"x", b"c", 0, (first, second)[number // 3])
    assert sender.flush(10) == 0
    assert first.offsets == [0, 1, 2, 5, 6, 7, 8, 12, 13]
    assert second.offsets == [3, 4, 9, 10, 11, 14, 15, 16, 17]


def test_what_is_not_delivered_is_told() -> None:
    sender, told = BulkProducer(KafkaSettings(bootstrap="127.0.0.1:1"), delivery_timeout_ms=200), Told()
    produce_all(sender, 0, [b"a", b"b"], [b"1", b"2"], told)
    assert sender.flush(10) == 0
    assert [error.code() for error in told.errors] == [KafkaError._MSG_TIMED_OUT]
    assert told.offsets == []


def test_nothing_is_taken_while_too_many_are_under_way(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_producer, "MOST_UNDER_WAY", 3)
    sender, told = BulkProducer(kafka), Told()
    produce_all(sender, 0, [b"a", b"b"], [b"1", b"2"], told)
    with pytest.raises(BufferError):
        produce_all(sender, 0, [b"a", b"b"], [b"1", b"2"], told)
    assert sender.flush(10) == 0
    produce_all(sender, 0, [b"a"] * 9, [b"1"] * 9, told)
    assert sender.flush(10) == 0
    assert told.offsets == [*range(11)]


def test_what_librdkafka_does_not_take_is_raised(kafka: KafkaSettings) -> None:
    with pytest.raises(KafkaException, match="No such configuration property"):
        BulkProducer(kafka, no_such=1)
    sender, told = BulkProducer(kafka, message_max_bytes=1_000), Told()
    with pytest.raises(KafkaException) as large:
        produce_all(sender, 0, [b"a", b"b"], [b"1", b"2" * 2_000], told)
    assert large.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    assert sender.flush(10) == 0
    with pytest.raises(KafkaException) as nowhere:
        sender.produce(TOPIC, b"x", b"a", 99, told)
    assert nowhere.value.args[0].code() == KafkaError._UNKNOWN_PARTITION
    assert told.offsets == [0]
