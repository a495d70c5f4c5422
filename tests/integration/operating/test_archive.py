"""The raw log in files: whole, once, found again by place and fact, and brought back as old facts."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from confluent_kafka import TopicPartition

from operating.archive import Folder, Pairs, archive, find, restore
from runtime.kafka import admin, producer
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind, fact_key
from schemas.headers import from_headers, to_headers
from schemas.seq import make_seq
from schemas.topics import RAW
from streams.ranges import Range
from tests.conftest import TopicMaker

FEED = "nivoda-natural"


def write(kafka: KafkaSettings, topic: str, first: int, count: int) -> None:
    sender = producer(kafka)
    for number in range(first, first + count):
        kind = Kind.EMPTY if number % 10 == 9 else Kind.PAGE
        facts = FactHeaders(kind=kind, feed=FEED, epoch=1, seq=make_seq(1, number), run="run-1", page=number)
        sender.produce(
            topic,
            b"page %d " % number * 100,
            fact_key(FEED, "run-1", 0),
            0,
            headers=list(to_headers(facts)),
        )
    assert sender.flush(20) == 0


def test_a_log_is_kept_beyond_its_days_and_pages_come_back(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operating.archive._AT_ONCE", 7)
    topic, files = make_topic(RAW).name, Folder(tmp_path)
    write(kafka_settings, topic, 0, 30)
    assert list(archive(kafka_settings, files, topic)) == [(0, 0, 30, 0)]
    assert list(archive(kafka_settings, files, topic)) == [(0, 30, 30, 0)]
    write(kafka_settings, topic, 30, 5)
    client = admin(kafka_settings)
    for future in client.delete_records([TopicPartition(topic, 0, 32)]).values():
        future.result()
    assert list(archive(kafka_settings, files, topic)) == [(0, 32, 35, 2)]
    for number in (0, 6, 7, 29, 32, 34):
        found = find(files, 0, number, make_seq(1, number), topic)
        assert found is not None
        assert found.value == b"page %d " % number * 100
        assert (found.offset, found.fact.page, found.key) == (number, number, fact_key(FEED, "run-1", 0))
    # Never archived, and another fact of a topic that was made anew.
    assert find(files, 0, 31, make_seq(1, 31), topic) is None
    assert find(files, 0, 5, make_seq(2, 5), topic) is None
    before = find(files, 0, 8, make_seq(1, 8), topic)
    assert before is not None
    places = restore(kafka_settings, files, FEED, 5, 12, topic)
    assert [offset for _, offset in places] == [35, 36, 37, 38, 39, 40]
    with Range(kafka_settings, topic, 0, 35, 41) as raw:
        back = []
        while more := raw.next(100):
            back += more
    facts = [from_headers(cast(Pairs, message.headers()), FactHeaders) for message in back]
    assert [fact.page for fact in facts] == [5, 6, 7, 8, 10, 11]
    assert facts[3].granted_at == before.written_ms
    assert facts[3].seq == make_seq(1, 8)
    assert back[3].value() == before.value
    with pytest.raises(Invalid, match="no page of nivoda-natural is archived"):
        restore(kafka_settings, files, FEED, 30, 32, topic)
    with pytest.raises(Invalid, match="no feed"):
        restore(kafka_settings, files, "x", 0, 9, topic)
