"""Clients and topics against a real broker."""

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from confluent_kafka import Message

from runtime.kafka import TopicDrift, admin, consumer, ensure_topics, producer, topic_id
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.topics import MAX_RECORD_BYTES, RAW, TOPICS, Topic
from tests.conftest import TopicMaker


def test_the_topic_list_can_be_created_and_then_holds(
    kafka_settings: KafkaSettings, topic_name: Callable[[str], str]
) -> None:
    own = [replace(topic, name=topic_name(topic.name)) for topic in TOPICS]
    ensure_topics(kafka_settings, own)
    ensure_topics(kafka_settings, own)
    found = admin(kafka_settings).list_topics(timeout=20).topics
    assert {t.name: len(found[t.name].partitions) for t in own} == {t.name: t.partitions for t in own}


def test_a_changed_setting_is_named(kafka_settings: KafkaSettings, make_topic: TopicMaker) -> None:
    topic = make_topic(retention_ms="1000000")
    with pytest.raises(TopicDrift, match=f"topic {topic.name}: retention.ms is 1000000, must be 2000000"):
        ensure_topics(kafka_settings, [replace(topic, config={"retention.ms": "2000000"})])


def test_a_changed_partition_count_is_refused(kafka_settings: KafkaSettings, make_topic: TopicMaker) -> None:
    topic = make_topic(partitions=2)
    with pytest.raises(TopicDrift, match=f"topic {topic.name} has 2 partitions, must have 3"):
        ensure_topics(kafka_settings, [replace(topic, partitions=3)])


def test_a_topic_made_again_has_another_id(kafka_settings: KafkaSettings, make_topic: TopicMaker) -> None:
    client, topic = admin(kafka_settings), make_topic()
    before = topic_id(client, topic.name)
    assert before == topic_id(client, topic.name)
    client.delete_topics([topic.name])[topic.name].result()
    _create_again(kafka_settings, topic)
    assert topic_id(client, topic.name) != before


def _create_again(settings: KafkaSettings, topic: Topic) -> None:
    deadline = time.monotonic() + 60
    while topic.name in admin(settings).list_topics(timeout=20).topics:
        assert time.monotonic() < deadline
    ensure_topics(settings, [topic])


def test_the_largest_record_goes_through(kafka_settings: KafkaSettings, make_topic: TopicMaker) -> None:
    topic, value = make_topic(RAW, partitions=1), b"x" * (MAX_RECORD_BYTES - 1024)
    out = producer(kafka_settings, compression_type="none")
    out.produce(topic.name, value, key=b"k", partition=0)
    assert out.flush(20) == 0
    assert _read_one(kafka_settings, topic.name).value() == value


def _read_one(settings: KafkaSettings, topic: str) -> Message:
    reader = consumer(settings, group=f"read-{topic}")
    reader.subscribe([topic])
    try:
        (message,) = reader.consume(1, timeout=60)
    finally:
        reader.close()
    return message


def test_a_misspelt_topic_is_an_error_not_a_new_topic(kafka_settings: KafkaSettings) -> None:
    failures: list[str] = []
    out = producer(kafka_settings, delivery_timeout_ms=3000)
    out.produce(
        "no.such.topic",
        b"x",
        on_delivery=lambda error, _message: failures.append(str(error and error.name())),
    )
    out.flush(10)
    assert failures in (["_UNKNOWN_TOPIC"], ["UNKNOWN_TOPIC_OR_PART"], ["_MSG_TIMED_OUT"])
    assert "no.such.topic" not in admin(kafka_settings).list_topics(timeout=20).topics


def test_no_kafka_is_retriable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.kafka.REQUEST_TIMEOUT_S", 0.5)
    with pytest.raises(Retriable, match="Kafka does not answer"):
        ensure_topics(KafkaSettings(bootstrap="127.0.0.1:1"), TOPICS)
