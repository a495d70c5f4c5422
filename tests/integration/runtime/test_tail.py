"""The tail against a real log: empty and compacted partitions, a late start, a reader that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Message, TopicPartition

from runtime.kafka import admin, producer
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from tests.conftest import TopicMaker


def fill(kafka: KafkaSettings, topic: str, partition: int, count: int, keys: int = 1_000_000) -> None:
    sender = producer(kafka)
    for number in range(count):
        sender.produce(topic, f"{number}".encode(), f"{number % keys}".encode(), partition)
    assert sender.flush(20) == 0


def test_an_empty_topic_is_caught_up_at_once(kafka_settings: KafkaSettings, make_topic: TopicMaker) -> None:
    seen: list[Message] = []
    tail = Tail(kafka_settings, make_topic(partitions=3).name, seen.extend)
    tail.start()
    assert tail.wait_caught_up(60)
    assert (tail.progress, tail.positions, seen) == (1.0, {0: 0, 1: 0, 2: 0}, [])
    tail.stop()


def test_everything_is_read_in_order_and_what_comes_later_too(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic(partitions=3).name
    fill(kafka_settings, topic, 0, 5_000)
    fill(kafka_settings, topic, 2, 10)
    seen: list[tuple[int | None, int | None]] = []
    tail = Tail(kafka_settings, topic, lambda batch: seen.extend((m.partition(), m.offset()) for m in batch))
    tail.start()
    assert tail.wait_caught_up(60)
    assert tail.positions == {0: 5_000, 1: 0, 2: 10}
    fill(kafka_settings, topic, 1, 3)
    wait_for(lambda: tail.positions[1] == 3)
    tail.stop()
    assert sorted(seen) == [(0, n) for n in range(5_000)] + [(1, n) for n in range(3)] + [
        (2, n) for n in range(10)
    ]
    assert [offset for slot, offset in seen if slot == 0] == list(range(5_000))


def test_a_start_is_kept_and_one_out_of_range_is_mended(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic(partitions=3).name
    for slot in (0, 1, 2):
        fill(kafka_settings, topic, slot, 100)
    client = admin(kafka_settings)
    for future in client.delete_records([TopicPartition(topic, 1, 40)]).values():
        future.result(60)
    seen: list[Message] = []
    tail = Tail(kafka_settings, topic, seen.extend, start={0: 90, 1: 5})
    tail.start()
    assert tail.wait_caught_up(60)
    tail.stop()
    by_slot = {slot: [m.offset() for m in seen if m.partition() == slot] for slot in (0, 1, 2)}
    assert by_slot == {0: list(range(90, 100)), 1: list(range(40, 100)), 2: list(range(100))}


def test_a_compacted_topic_is_caught_up_although_records_are_gone(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic(
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.01",
        delete_retention_ms="100",
        max_compaction_lag_ms="500",
    ).name
    fill(kafka_settings, topic, 0, 500, keys=5)
    sender = producer(kafka_settings)
    for number in range(5):
        time.sleep(0.15)
        sender.produce(topic, None, f"{number}".encode(), 0)
        sender.flush(10)
    deadline = time.monotonic() + 90
    seen: list[Message] = []
    while time.monotonic() < deadline:
        seen = []
        tail = Tail(kafka_settings, topic, seen.extend)
        tail.start()
        assert tail.wait_caught_up(60)
        tail.stop()
        assert tail.positions == {0: 505}
        assert tail.progress == 1.0
        if len(seen) < 100:
            break
        time.sleep(0.5)
    assert len(seen) < 100


def test_what_apply_raises_ends_the_tail_and_is_kept(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic().name
    fill(kafka_settings, topic, 0, 10)

    def fail(_batch: list[Message]) -> None:
        raise ZeroDivisionError

    tail = Tail(kafka_settings, topic, fail)
    tail.start()
    assert not tail.wait_caught_up(60)
    assert isinstance(tail.failure, ZeroDivisionError)
    assert not tail.caught_up
    tail.stop()


def test_a_topic_that_is_missing_is_waited_for(kafka_settings: KafkaSettings) -> None:
    tail = Tail(kafka_settings, "no-such-topic", lambda _batch: None)
    tail.start()
    assert not tail.wait_caught_up(2)
    tail.stop()
    assert tail.progress == 0.0


def wait_for(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.01)
