from __future__ import annotations

import msgspec
from confluent_kafka import Message, TopicPartition

from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.publisher import Publisher
from runtime.kafka import consumer
from runtime.settings import KafkaSettings
from schemas.dead_letter import MAX_PAYLOAD_BYTES, DeadLetter
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS
from schemas.headers import from_headers
from schemas.seq import make_seq
from schemas.topics import DEAD, MAX_RECORD_BYTES, RAW
from streams.pages import PageReader
from tests.conftest import TopicMaker

PAGE = FactHeaders(
    kind=Kind.PAGE,
    feed="nivoda-labgrown",
    epoch=1,
    seq=make_seq(1, 4),
    run="run",
    partition=3,
    page=9,
    rows=50,
)


def only_message(kafka: KafkaSettings, topic: str) -> Message:
    reader = consumer(kafka, fetch_message_max_bytes=2 * MAX_RECORD_BYTES)
    try:
        reader.assign([TopicPartition(topic, FEEDS[PAGE.feed].slot, 0)])
        (message,) = reader.consume(1, timeout=60)
        assert message.error() is None
        return message
    finally:
        reader.close()


def all_messages(kafka: KafkaSettings, topic: str, many: int) -> list[Message]:
    reader = consumer(kafka, fetch_message_max_bytes=2 * MAX_RECORD_BYTES)
    try:
        reader.assign([TopicPartition(topic, FEEDS[PAGE.feed].slot, 0)])
        found: list[Message] = []
        while len(found) < many and (messages := reader.consume(many, timeout=60)):
            found += messages
        return found
    finally:
        reader.close()


def pairs(message: Message) -> list[tuple[str, bytes]]:
    headers = message.headers()
    assert isinstance(headers, list)
    return [(name, value) for name, value in headers if isinstance(value, bytes)]


async def test_a_fact_lands_in_its_feeds_partition_byte_for_byte(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    raw = make_topic(RAW)
    with Publisher(kafka_settings, raw.name) as publisher:
        await publisher.publish(PAGE, b'{"data": {}}')
    message = only_message(kafka_settings, raw.name)
    assert message.key() == b"nivoda-labgrown/run/3"
    assert message.value() == b'{"data": {}}'
    assert from_headers(pairs(message), FactHeaders) == PAGE


async def test_a_page_over_the_record_limit_is_a_dead_letter_that_says_where_it_was(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    raw, dead = make_topic(RAW), make_topic(DEAD)
    with Publisher(kafka_settings, raw.name, dead.name) as publisher:
        await publisher.publish(PAGE, b"x" * (MAX_RECORD_BYTES + 1))
    message = only_message(kafka_settings, dead.name)
    letter = from_headers(pairs(message), DeadLetter)
    assert (letter.error, letter.stage, letter.seq) == ("page_too_large", "write", PAGE.seq)
    assert letter.size == MAX_RECORD_BYTES + 1
    assert "run run, partition 3, page 9" in letter.reason
    assert message.value() == b"x" * MAX_PAYLOAD_BYTES


async def test_a_page_over_the_record_limit_is_written_in_parts_and_an_item_over_it_is_named(
    kafka_settings: KafkaSettings, make_topic: TopicMaker
) -> None:
    raw, dead = make_topic(RAW), make_topic(DEAD)
    comments = [
        3 * MAX_RECORD_BYTES // 8,
        3 * MAX_RECORD_BYTES // 8,
        3 * MAX_RECORD_BYTES // 8,
        MAX_RECORD_BYTES,
        10,
    ]
    stones = [
        {"id": f"DIAMOND/{n}", "diamond": {"id": str(n), "comment": "x" * size}}
        for n, size in enumerate(comments)
    ]
    body = msgspec.json.encode({"data": {"diamonds_by_query": {"items": stones, "total_count": len(stones)}}})
    with Publisher(kafka_settings, raw.name, dead.name) as publisher:
        assert await publisher.publish(PAGE, body) == 3
    parts = all_messages(kafka_settings, raw.name, 4)
    facts = [from_headers(pairs(part), FactHeaders) for part in parts]
    assert [(fact.page, fact.reread, fact.rows, fact.too_large) for fact in facts] == [
        (9, 0, 2, None),
        (9, 100, 1, None),
        (9, 200, 1, True),
        (9, 300, 1, None),
    ]
    reader = PageReader(NIVODA_FORM)
    brought = [reader.stone(item) for part in parts for item in reader.split(part.value() or b"")]
    assert brought == ["0", "1", "2", "3", "4"]
    message = only_message(kafka_settings, dead.name)
    letter = from_headers(pairs(message), DeadLetter)
    assert (letter.error, letter.stone, letter.index) == ("item_too_large", "nivoda-labgrown:3", 3)
    assert (letter.run, letter.seq, letter.size) == ("run", PAGE.seq, len(msgspec.json.encode(stones[3])))
    assert (message.key(), len(message.value() or b"")) == (b"nivoda-labgrown:3", MAX_PAYLOAD_BYTES)
