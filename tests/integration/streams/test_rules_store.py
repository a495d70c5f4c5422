"""Publishing rule sets: one number each, in Postgres and in Kafka, whichever of them knew more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from confluent_kafka import Message

from runtime import kafka
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.ruleset import BaseMargins, PublishedRuleSet, RuleSet
from schemas.topics import RULESETS
from streams.rules import store as rules_store
from streams.rules.head import RuleHead
from streams.rules.store import ensure_default, publish, sync
from tests.conftest import TopicMaker


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database)
    yield opened
    await opened.close()


@pytest.fixture
def topic(make_topic: TopicMaker) -> str:
    return make_topic(RULESETS).name


def in_kafka(kafka: KafkaSettings, topic: str) -> dict[int, PublishedRuleSet]:
    found: list[Message] = []
    tail = Tail(kafka, topic, found.extend)
    tail.start()
    assert tail.wait_caught_up(20)
    tail.stop()
    read = [PublishedRuleSet.model_validate_json(message.value() or b"") for message in found]
    return {published.number: published for published in read}


def rules(natural_bps: int) -> RuleSet:
    return RuleSet.model_validate(
        {
            "base": {"natural_bps": natural_bps},
            "rules": [
                {
                    "name": "big rounds",
                    "priority": 1,
                    "when": {"shape": ["ROUND"], "carat": {"min": 2, "below": 3.5}, "lab_grown": False},
                    "margin_bps": 3_000,
                }
            ],
        }
    )


async def test_a_published_rule_set_is_in_both_and_becomes_the_head(
    connection: Any, kafka_settings: KafkaSettings, topic: str
) -> None:
    await ensure_default(connection, kafka_settings, topic)
    await ensure_default(connection, kafka_settings, topic)
    published = await publish(
        connection, kafka_settings, rules(5_000), actor="ann", reason="spring", topic=topic
    )
    assert published.number == 2
    read = in_kafka(kafka_settings, topic)
    assert read[2] == published.published
    assert read[1].content == RuleSet()
    row = await connection.fetchrow("SELECT * FROM rulesets WHERE number = 2")
    assert (row["actor"], row["reason"]) == ("ann", "spring")
    assert RuleSet.model_validate_json(row["content"]) == rules(5_000)
    head = RuleHead(kafka_settings, topic)
    head.tail.start()
    assert head.tail.wait_caught_up(20)
    head.tail.stop()
    assert head.book is not None
    assert head.book.number == 2


async def test_publishers_at_once_get_numbers_of_their_own(
    database: str, kafka_settings: KafkaSettings, topic: str
) -> None:
    async def one(margin: int) -> int:
        own = await asyncpg.connect(database)
        try:
            content = RuleSet(base=BaseMargins(natural_bps=margin))
            made = await publish(own, kafka_settings, content, actor="a", reason="r", topic=topic)
            return made.number
        finally:
            await own.close()

    assert sorted(await asyncio.gather(*(one(margin) for margin in range(4)))) == [1, 2, 3, 4]
    assert sorted(in_kafka(kafka_settings, topic)) == [1, 2, 3, 4]


async def test_a_restored_postgres_never_counts_backwards(
    connection: Any, kafka_settings: KafkaSettings, topic: str
) -> None:
    await publish(connection, kafka_settings, rules(1), actor="a", reason="r", topic=topic)
    await publish(connection, kafka_settings, rules(2), actor="a", reason="r", topic=topic)
    await connection.execute("TRUNCATE rulesets")
    made = await publish(connection, kafka_settings, rules(3), actor="a", reason="r", topic=topic)
    assert made.number == 3


async def test_what_kafka_missed_is_reconciled(
    connection: Any, kafka_settings: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure_default(connection, kafka_settings, topic)
    with monkeypatch.context() as away:
        away.setattr(rules_store, "_WAIT_S", 2.0)
        away.setattr(
            kafka,
            "producer",
            lambda _kafka: producer(KafkaSettings(bootstrap="127.0.0.1:9"), message_timeout_ms=500),
        )
        made = await publish(connection, kafka_settings, rules(7), actor="a", reason="r", topic=topic)
        assert (made.number, made.delivered) == (2, False)
    assert sorted(in_kafka(kafka_settings, topic)) == [1]
    assert await sync(connection, kafka_settings, topic) == [2]
    assert await sync(connection, kafka_settings, topic) == []
    assert in_kafka(kafka_settings, topic)[2].content == rules(7)


async def test_a_number_that_kafka_gave_to_another_is_given_anew(
    connection: Any, kafka_settings: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres restored to before 2 and 3, a publish while Kafka is away: no number is lost, none means two things."""
    await ensure_default(connection, kafka_settings, topic)
    for margin in (2, 3):
        await publish(connection, kafka_settings, rules(margin), actor="a", reason=f"{margin}", topic=topic)
    await connection.execute("DELETE FROM rulesets WHERE number > 1")
    with monkeypatch.context() as away:
        away.setattr(rules_store, "_WAIT_S", 0.5)
        nowhere = KafkaSettings(bootstrap="127.0.0.1:9")
        made = await publish(connection, nowhere, rules(4), actor="a", reason="4", topic=topic)
    assert (made.number, made.delivered) == (2, False)
    assert await sync(connection, kafka_settings, topic) == [4]
    told = {number: published.reason for number, published in in_kafka(kafka_settings, topic).items()}
    assert told == {1: "the default base margins", 2: "2", 3: "3", 4: "4"}
    rows = await connection.fetch(
        "SELECT number, reason, record->>'number' AS own FROM rulesets ORDER BY number"
    )
    assert {row["number"]: row["reason"] for row in rows} == told
    assert rows[-1]["own"] == "4"
