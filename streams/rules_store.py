"""Publishing rule sets: Postgres decides the number and keeps who, when and why; Kafka carries it to the workers.

A rule set is published whole, under 1 + the highest number that Postgres or Kafka knows, so that a restored store never
counts backwards. Where Kafka is away at that moment, the row stands, and `reconcile` brings it to Kafka later.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog
from confluent_kafka import KafkaError, KafkaException, Message

from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.topics import RULESETS
from streams.tail import Tail

log = structlog.stdlib.get_logger(__name__)

_WAIT_S: Final = 30.0


async def publish(
    database: asyncpg.Connection[asyncpg.Record],
    kafka: KafkaSettings,
    content: RuleSet,
    *,
    actor: str,
    reason: str,
    topic: str = RULESETS.name,
) -> PublishedRuleSet:
    """Publish a rule set; returns it under its number once Kafka has it.

    Raises:
        Retriable: Kafka did not answer. Before a number was given nothing happened; after it, the rule set is
            published, and `reconcile` completes it.
    """
    in_kafka = max(await _published_numbers(kafka, topic), default=0)
    published = await _number(database, content, actor, reason, in_kafka)
    await asyncio.to_thread(_send, kafka, topic, published)
    log.info("rules.published", number=published.number, rules=len(content.rules), actor=actor)
    return published


async def ensure_default(
    database: asyncpg.Connection[asyncpg.Record], kafka: KafkaSettings, topic: str = RULESETS.name
) -> None:
    """Bring to Kafka what Postgres published; where neither knows a rule set, publish the default base margins."""
    await reconcile(database, kafka, topic)
    if not await _published_numbers(kafka, topic):
        await publish(
            database, kafka, RuleSet(), actor="adamas", reason="the default base margins", topic=topic
        )


async def reconcile(
    database: asyncpg.Connection[asyncpg.Record], kafka: KafkaSettings, topic: str = RULESETS.name
) -> bool:
    """Publish the highest rule set of Postgres if Kafka has only lower ones; whether it had to."""
    row = await database.fetchrow("SELECT * FROM rulesets ORDER BY number DESC LIMIT 1")
    if row is None or row["number"] <= max(await _published_numbers(kafka, topic), default=0):
        return False
    published = PublishedRuleSet(
        number=row["number"],
        published_at=int(row["published_at"].timestamp() * 1000),
        actor=row["actor"],
        reason=row["reason"],
        content=RuleSet.model_validate_json(row["content"]),
    )
    await asyncio.to_thread(_send, kafka, topic, published)
    log.info("rules.reconciled", number=published.number)
    return True


async def _number(
    database: asyncpg.Connection[asyncpg.Record], content: RuleSet, actor: str, reason: str, in_kafka: int
) -> PublishedRuleSet:
    published_at = int(time.time() * 1000)
    async with database.transaction():
        # Two publishers must not read the same highest number.
        await database.execute("LOCK TABLE rulesets IN EXCLUSIVE MODE")
        highest = await database.fetchval("SELECT coalesce(max(number), 0) FROM rulesets")
        published = PublishedRuleSet(
            number=1 + max(highest, in_kafka),
            published_at=published_at,
            actor=actor,
            reason=reason,
            content=content,
        )
        await database.execute(
            "INSERT INTO rulesets (number, published_at, actor, reason, content) VALUES ($1, $2, $3, $4, $5)",
            published.number,
            datetime.fromtimestamp(published_at / 1000, UTC),
            actor,
            reason,
            content.model_dump_json(exclude_none=True),
        )
    return published


async def _published_numbers(kafka: KafkaSettings, topic: str) -> list[int]:
    return await asyncio.to_thread(_read_numbers, kafka, topic)


def _read_numbers(kafka: KafkaSettings, topic: str) -> list[int]:
    numbers: list[int] = []

    def note(messages: list[Message]) -> None:
        numbers.extend(int(key) for message in messages if (key := message.key()) is not None)

    tail = Tail(kafka, topic, note)
    tail.start()
    read = tail.wait_caught_up(_WAIT_S)
    tail.stop()
    if not read:
        raise Retriable(f"Kafka did not give {topic} within {_WAIT_S:g} s ({tail.failure or 'no answer'})")
    return numbers


def _send(kafka: KafkaSettings, topic: str, published: PublishedRuleSet) -> None:
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    sender = producer(kafka)
    value = published.model_dump_json(exclude_none=True).encode()
    try:
        sender.produce(topic, value, str(published.number).encode(), on_delivery=report)
        left = sender.flush(_WAIT_S)
    except (KafkaException, BufferError) as error:
        raise Retriable(
            f"rule set {published.number} is in Postgres and not in Kafka yet: {error}"
        ) from error
    if left or failures:
        cause = failures[0].str() if failures else "no answer"
        raise Retriable(f"rule set {published.number} is in Postgres and not in Kafka yet: {cause}")
