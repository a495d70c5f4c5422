"""Our lag against Kafka's own tool, per partition, while records flow and while none do."""

import time
from collections.abc import Callable, Iterator
from threading import Event, Thread

import pytest
from confluent_kafka import Consumer, TopicPartition

from monitor.lag import Look, Place
from monitor.positions import Positions
from runtime.kafka import admin, consumer, producer
from runtime.settings import KafkaSettings
from schemas.standing import standing_metadata
from schemas.topics import mark_group
from tests.conftest import TopicMaker
from tests.integration.monitor.conftest import Describe

PARTITIONS = 4


@pytest.fixture
def positions(kafka_settings: KafkaSettings) -> Iterator[Positions]:
    made = Positions(kafka_settings)
    yield made
    made.close()


def write(kafka: KafkaSettings, topic: str, partition: int, count: int, stamp_ms: int = 0) -> None:
    client = producer(kafka)
    for number in range(count):
        client.produce(topic, b"x", str(number).encode(), partition=partition, timestamp=stamp_ms)
    assert client.flush(20) == 0


def commit(kafka: KafkaSettings, group: str, topic: str, offsets: dict[int, int], metadata: str = "") -> None:
    client = consumer(kafka, group)
    places = [TopicPartition(topic, slot, offset, metadata=metadata) for slot, offset in offsets.items()]
    client.commit(offsets=places, asynchronous=False)
    client.close()


def test_without_flow_it_says_what_kafka_says(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
    describe_group: Describe,
) -> None:
    topic, group = make_topic(partitions=PARTITIONS).name, topic_name("group")
    long_ago_ms = int(time.time() * 1000) - 90_000
    for slot, count in enumerate((5, 7, 0, 3)):
        write(kafka_settings, topic, slot, count, long_ago_ms)
    commit(kafka_settings, group, topic, {0: 5, 1: 2, 2: 0})
    look = positions.look([group])
    ours = look.groups[group].partitions
    assert {
        (place.topic, place.partition): (part.committed, part.end, part.lag) for place, part in ours.items()
    } == {key: (row.committed, row.end, row.lag) for key, row in describe_group(group).items()}
    assert ours[Place(topic, 0)].lag_s(look.at_ms) == 0.0
    assert ours[Place(topic, 2)].lag_s(look.at_ms) == 0.0
    assert 90 <= (ours[Place(topic, 1)].lag_s(look.at_ms) or 0) < 150


def test_while_records_flow_kafka_is_between_two_looks_of_ours(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
    describe_group: Describe,
) -> None:
    topic, group = make_topic(partitions=PARTITIONS).name, topic_name("group")
    stop = Event()
    flowing = [
        Thread(target=_flow, args=(kafka_settings, topic, stop)),
        Thread(target=_read, args=(kafka_settings, topic, group, stop)),
    ]
    for thread in flowing:
        thread.start()
    try:
        _until(lambda: _known(positions.look([group]), group) == PARTITIONS)
        before = positions.look([group])
        told = describe_group(group)
        after = positions.look([group])
    finally:
        stop.set()
        for thread in flowing:
            thread.join()
    assert len(told) == PARTITIONS
    moved = 0
    for (name, slot), row in told.items():
        first, last = (_partition(look, group, Place(name, slot)) for look in (before, after))
        assert (first[0] or 0) <= (row.committed or 0) <= (last[0] or 0)
        assert first[1] <= (row.end or 0) <= last[1]
        moved += last[1] - first[1]
    assert moved > 0, "nothing flowed"


def test_a_place_never_committed_has_no_lag_but_shows_what_waits(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
) -> None:
    topic, group = make_topic(partitions=1).name, topic_name("group")
    write(kafka_settings, topic, 0, 4)
    member: Consumer = consumer(kafka_settings, group)
    member.subscribe([topic])
    try:
        _until(lambda: bool(member.poll(0.1) or member.assignment()))
        _until(lambda: group in positions.look([group]).groups)
        look = positions.look([group])
    finally:
        member.close()
    part = look.groups[group].partitions[Place(topic, 0)]
    assert (part.committed, part.lag, part.lag_s(look.at_ms), part.unread) == (None, None, None, 4)
    assert look.groups[group].members == 1


def test_a_reader_without_members_tells_that_it_is_one_until_it_is_gone(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
) -> None:
    topic, group = make_topic(partitions=1).name, topic_name("group")
    now_ms = int(time.time() * 1000)
    commit(kafka_settings, group, topic, {0: 0}, standing_metadata(now_ms))
    found = positions.look([group]).groups[group]
    assert (found.members, found.reported_ms) == (0, now_ms)
    assert not found.gone(now_ms + 10_000)
    assert found.gone(now_ms + 60_000)


def test_compaction_or_retention_at_the_committed_offset_leaves_the_next_record_s_age(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
) -> None:
    topic, group = make_topic(partitions=1).name, topic_name("group")
    write(kafka_settings, topic, 0, 3, int(time.time() * 1000) - 500_000)
    write(kafka_settings, topic, 0, 3, int(time.time() * 1000) - 50_000)
    client = admin(kafka_settings)
    for future in client.delete_records([TopicPartition(topic, 0, 3)]).values():
        future.result(timeout=20)
    commit(kafka_settings, group, topic, {0: 1})
    look = positions.look([group])
    part = look.groups[group].partitions[Place(topic, 0)]
    assert part.lag == 5
    assert 50 <= (part.lag_s(look.at_ms) or 0) < 200


def _partition(look: Look, group: str, place: Place) -> tuple[int | None, int]:
    part = look.groups[group].partitions[place]
    return part.committed, part.end


def _known(look: Look, group: str) -> int:
    return len(look.groups[group].partitions) if group in look.groups else 0


def _flow(kafka: KafkaSettings, topic: str, stop: Event) -> None:
    client = producer(kafka)
    number = 0
    while not stop.wait(0.02):
        for _ in range(100):
            number += 1
            client.produce(topic, b"x" * 500, partition=number % PARTITIONS)
        client.poll(0)
    client.flush(20)


def _read(kafka: KafkaSettings, topic: str, group: str, stop: Event) -> None:
    client = consumer(kafka, group)
    client.subscribe([topic])
    while not stop.is_set():
        if client.consume(50, 0.05):
            client.commit(asynchronous=False)
    client.close()


def _until(done: Callable[[], bool], limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_mark_of_the_workers_is_no_reader(
    kafka_settings: KafkaSettings,
    positions: Positions,
    make_topic: TopicMaker,
    topic_name: Callable[[str], str],
) -> None:
    topic, reader = make_topic(partitions=1).name, topic_name("reader")
    write(kafka_settings, topic, 0, 3)
    commit(kafka_settings, reader, topic, {0: 1})
    commit(kafka_settings, mark_group(), topic, {0: 0}, "the topic's id")
    groups = positions.look().groups
    assert groups[reader].sum_lag == 2
    assert mark_group() not in groups
