"""The tail by batches against a real log: what stands there from its end on, holes, a late start, a broker that goes away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition

from adamas.embedded.kafka import EmbeddedKafka
from adamas.ports import free_ports
from connectors.log import tail as tailing
from connectors.log.records import Records
from connectors.log.tail import LogTail
from runtime.kafka import admin, ensure_topics, producer
from runtime.settings import KafkaSettings
from runtime.stretches import Stretches
from schemas.topics import Topic
from tests.conftest import TopicMaker

Seen = list[tuple[int, list[int]]]


def fill(kafka: KafkaSettings, topic: str, partition: int, count: int, keys: int = 1_000_000) -> None:
    # Many small batches, each of which has its place in the log.
    sender = producer(kafka, batch_num_messages=50)
    for number in range(count):
        sender.produce(topic, f"{number}".encode(), f"{number % keys}".encode(), partition)
    assert sender.flush(20) == 0


@contextmanager
def following(
    kafka: KafkaSettings,
    topic: str,
    seen: Seen,
    start: dict[int, int] | None = None,
    own: Stretches | None = None,
) -> Iterator[LogTail]:
    def apply(records: Records, _reached: dict[int, int]) -> None:
        for slot in set(records.slots.tolist()):
            seen.append((slot, records.offsets[records.slots == slot].tolist()))

    tail = LogTail(kafka, topic, apply, start=start, own=own)
    tail.start()
    try:
        yield tail
    finally:
        tail.stop()


def wait_for(held: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not held():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def offsets_of(seen: Seen, slot: int) -> list[int]:
    return [offset for place, offsets in seen for offset in offsets if place == slot]


def test_what_stands_there_comes_from_its_end_on_and_then_what_is_new(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "_STRETCH", 700)
    monkeypatch.setattr(tailing, "_LONGEST", 2_000)
    monkeypatch.setattr(tailing, "_PIECE", 100)
    topic, seen = make_topic(partitions=3).name, Seen()
    fill(kafka_settings, topic, 0, 5_000)
    fill(kafka_settings, topic, 2, 10)
    with following(kafka_settings, topic, seen) as tail:
        wait_for(lambda: tail.caught_up)
        assert (tail.positions, tail.progress) == ({0: 5_000, 1: 0, 2: 10}, 1.0)
        pieces = [offsets for slot, offsets in seen if slot == 0]
        assert [offset for piece in reversed(pieces) for offset in piece] == list(range(5_000))
        assert len(pieces) > 10
        assert offsets_of(seen, 2) == list(range(10))
        fill(kafka_settings, topic, 1, 300)
        fill(kafka_settings, topic, 0, 300)
        wait_for(lambda: tail.positions == {0: 5_300, 1: 300, 2: 10})
    assert offsets_of(seen, 1) == list(range(300))
    assert offsets_of(seen, 0)[-300:] == list(range(5_000, 5_300))
    assert tail.failure is None


def test_a_partition_that_finds_no_room_in_an_answer_loses_nothing(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "_FOLLOWED_AT_ONCE", 2_000)
    topic, seen = make_topic(partitions=3).name, Seen()
    for slot in (0, 1, 2):
        fill(kafka_settings, topic, slot, 1_000)
    with following(kafka_settings, topic, seen, {0: 0, 1: 0, 2: 0}) as tail:
        wait_for(lambda: tail.caught_up)
    assert [offsets_of(seen, slot) for slot in (0, 1, 2)] == [list(range(1_000))] * 3


def test_a_start_is_kept_and_one_out_of_range_is_mended(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic, seen = make_topic(partitions=3).name, Seen()
    for slot in (0, 1, 2):
        fill(kafka_settings, topic, slot, 100)
    client = admin(kafka_settings)
    for future in client.delete_records([TopicPartition(topic, 1, 40)]).values():
        future.result(60)
    with following(kafka_settings, topic, seen, {0: 90, 1: 5}) as tail:
        wait_for(lambda: tail.caught_up)
    assert [offsets_of(seen, slot) for slot in (0, 1, 2)] == [
        list(range(90, 100)),
        list(range(40, 100)),
        list(range(100)),
    ]


def test_a_compacted_topic_is_caught_up_although_records_are_gone(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "_STRETCH", 20)
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
    deadline, seen = time.monotonic() + 90, Seen()
    while time.monotonic() < deadline:
        for start in (None, {0: 0}):
            seen = Seen()
            with following(kafka_settings, topic, seen, start) as tail:
                wait_for(lambda tail=tail: tail.caught_up)  # type: ignore[misc]
                assert (tail.positions, tail.progress) == ({0: 505}, 1.0)
        if len(offsets_of(seen, 0)) < 100:
            break
        time.sleep(0.5)
    assert len(offsets_of(seen, 0)) < 100


def test_what_apply_raises_ends_the_tail_and_is_kept(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic().name
    fill(kafka_settings, topic, 0, 10)

    def fail(_records: Records, _reached: dict[int, int]) -> None:
        raise ZeroDivisionError

    tail = LogTail(kafka_settings, topic, fail)
    tail.start()
    wait_for(lambda: tail.failure is not None)
    assert isinstance(tail.failure, ZeroDivisionError)
    assert not tail.caught_up
    tail.stop()


def test_a_topic_that_is_missing_is_waited_for(kafka_settings: KafkaSettings) -> None:
    with following(kafka_settings, "no-such-topic", []) as tail:
        time.sleep(2)
        assert (tail.caught_up, tail.progress, tail.failure) == (False, 0.0, None)


def test_the_reading_goes_on_when_the_broker_is_back(tmp_path: Path) -> None:
    port, controller_port = free_ports(2)
    server = EmbeddedKafka(tmp_path, port, controller_port)
    kafka, topic, seen = KafkaSettings(bootstrap=server.bootstrap), Topic("away", "any", "any", 2), Seen()
    server.prepare()
    server.launch()
    try:
        server.wait_ready()
        ensure_topics(kafka, [topic])
        fill(kafka, topic.name, 0, 100)
        with following(kafka, topic.name, seen) as tail:
            wait_for(lambda: tail.caught_up)
            server.stop()
            time.sleep(2)
            assert tail.failure is None
            server.launch()
            server.wait_ready()
            fill(kafka, topic.name, 1, 100)
            wait_for(lambda: tail.positions == {0: 100, 1: 100})
        assert (offsets_of(seen, 0), offsets_of(seen, 1)) == (list(range(100)), list(range(100)))
    finally:
        server.stop()


def test_own_records_are_skipped_and_what_others_wrote_between_is_read(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic().name
    fill(kafka_settings, topic, 0, 150)
    own = Stretches(clock=lambda: 0.0)
    own.wrote(0, 0, 100)
    seen = Seen()
    with following(kafka_settings, topic, seen, {}, own) as tail:
        wait_for(lambda: tail.positions == {0: 100})
        own.wrote(0, 130, 150)
        wait_for(lambda: tail.caught_up)
        own.forget()
        fill(kafka_settings, topic, 0, 1)
        wait_for(lambda: tail.positions == {0: 151})
    # Records fetched before the partition was left may still arrive; reading one's own is waste, not a fault.
    assert [offset for offset in offsets_of(seen, 0) if 100 <= offset < 130] == list(range(100, 130))
    assert offsets_of(seen, 0)[-1] == 150


def test_in_order_each_record_comes_after_those_before_it(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    topic = make_topic(partitions=2).name
    for partition in range(2):
        fill(kafka_settings, topic, partition, 2_000, keys=7)
    seen = Seen()
    with following(kafka_settings, topic, seen, {}) as tail:
        wait_for(lambda: tail.caught_up)
    for partition in range(2):
        assert offsets_of(seen, partition) == list(range(2_000))
