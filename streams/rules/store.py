"""Numbers of rule sets: Postgres decides them and keeps who, when and why; Kafka carries them to the workers.

A rule set is published whole, under 1 + the highest number that Postgres or Kafka knows, so that a restored store never
counts backwards. A number that Kafka could not be given at that moment stays marked, and `sync` brings it there; what
only Kafka knows, `sync` brings back to Postgres. No number is sent before Kafka's own were looked at.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from confluent_kafka import Message

from runtime.kafka import produce_all
from runtime.postgres import Link
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.errors import Invalid, Retriable
from schemas.rule_changes import diff
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.topics import RULESETS

log = structlog.stdlib.get_logger(__name__)

_WAIT_S: Final = 10.0
_MAX_RECORD: Final = 7 * 1024 * 1024

Make = Callable[[int, int, PublishedRuleSet | None], PublishedRuleSet]
"""Number, moment (ms since 1970) and the present head to the record that shall be published."""

_ROWS: Final = "SELECT number, published_at, actor, reason, content, record, delivered_at FROM rulesets"
_INSERT: Final = """
INSERT INTO rulesets (number, published_at, actor, reason, content, record, cause, base, draft, diff, report,
                      override_reason, delivered_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"""


class StaleBase(Invalid):
    """The rule set was made from a number that is not the present one any more."""

    def __init__(self, base: int, head: int) -> None:
        rule = f"{base} is not the present number any more: {head} is; look at what it changed and try again"
        super().__init__("base", rule, code="stale_base")
        self.more["head"] = head


@dataclass(frozen=True, slots=True)
class Story:
    """What is kept of a publish beside its record.

    Attributes:
        base: the number it was made from, which must still be the head; null where that does not matter.
        draft: the draft it was.
        report: what the preview said.
        override: the reason for which broken guardrails were overridden.
    """

    base: int | None = None
    draft: int | None = None
    report: Mapping[str, Any] | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class Publication:
    """A published number, and whether Kafka has it already; if not, the keeper brings it there."""

    published: PublishedRuleSet
    delivered: bool

    @property
    def number(self) -> int:
        """The number."""
        return self.published.number


async def publish(
    link: Link,
    kafka: KafkaSettings,
    content: RuleSet,
    *,
    actor: str,
    reason: str,
    topic: str = RULESETS.name,
) -> Publication:
    """Publish a rule set in the home currency as it is, without a look at what it does."""

    def make(number: int, now_ms: int, _head: PublishedRuleSet | None) -> PublishedRuleSet:
        return PublishedRuleSet(
            number=number, published_at=now_ms, actor=actor, reason=reason, content=content
        )

    return await append(link, kafka, make, topic=topic)


async def append(
    link: Link, kafka: KafkaSettings, make: Make, story: Story | None = None, *, topic: str = RULESETS.name
) -> Publication:
    """Give a record the next number and bring it to Kafka.

    Raises:
        StaleBase: the story's base is not the present number.
        Invalid: the record is too large for the topic.
    """
    story = story or Story()
    away: Retriable | None = None
    try:
        await sync(link, kafka, topic)
    except Retriable as error:
        away = error
    published = await _insert(link, make, story)
    log.info("rules.published", number=published.number, cause=published.cause, actor=published.actor)
    if away is None:
        try:
            await sync(link, kafka, topic)
        except Retriable as error:
            away = error
    if away is not None:
        log.warning("rules.not_delivered", number=published.number, reason=str(away))
    return Publication(published, delivered=away is None)


async def ensure_default(link: Link, kafka: KafkaSettings, topic: str = RULESETS.name) -> None:
    """Bring both stores together; where neither knows a rule set, publish the default base margins."""
    await sync(link, kafka, topic)
    if await link.fetchval("SELECT max(number) FROM rulesets") is None:
        await publish(link, kafka, RuleSet(), actor="adamas", reason="the default base margins", topic=topic)


async def sync(link: Link, kafka: KafkaSettings, topic: str = RULESETS.name) -> list[int]:
    """Bring to Kafka what it has not got, and to Postgres what only Kafka knows; the numbers that were sent.

    Raises:
        Retriable: Kafka does not answer; whatever is missing stays marked.
    """
    in_kafka = await asyncio.to_thread(_read_topic, kafka, topic)
    async with link.transaction():
        await link.execute("LOCK TABLE rulesets IN EXCLUSIVE MODE")
        await _take_over(link, in_kafka)
    waiting = [load(row) for row in await link.fetch(f"{_ROWS} WHERE delivered_at IS NULL ORDER BY number")]
    for published in waiting:
        await asyncio.to_thread(_send, kafka, topic, published)
        await link.execute("UPDATE rulesets SET delivered_at = now() WHERE number = $1", published.number)
        log.info("rules.delivered", number=published.number)
    return [published.number for published in waiting]


async def head(link: Link) -> PublishedRuleSet | None:
    """The highest number, or null where nothing was published."""
    row = await link.fetchrow(f"{_ROWS} ORDER BY number DESC LIMIT 1")
    return None if row is None else await asyncio.to_thread(load, row)


async def get(link: Link, number: int) -> PublishedRuleSet:
    """One number. Raises `Invalid` when there is none such."""
    row = await link.fetchrow(f"{_ROWS} WHERE number = $1", number)
    if row is None:
        raise Invalid("number", f"there is no rule set {number}", code="unknown")
    return await asyncio.to_thread(load, row)


def load(row: Any) -> PublishedRuleSet:
    """A row of `rulesets` as the record it stands for."""
    if row["record"] is not None:
        return PublishedRuleSet.model_validate_json(row["record"])
    return PublishedRuleSet(
        number=row["number"],
        published_at=int(row["published_at"].timestamp() * 1000),
        actor=row["actor"],
        reason=row["reason"],
        content=RuleSet.model_validate_json(row["content"]),
    )


def dump(published: PublishedRuleSet) -> bytes:
    """The record as it stands in Kafka."""
    return published.model_dump_json(exclude_none=True).encode()


async def _insert(link: Link, make: Make, story: Story) -> PublishedRuleSet:
    async with link.transaction():
        # Two publishers must not read the same highest number.
        await link.execute("LOCK TABLE rulesets IN EXCLUSIVE MODE")
        present = await head(link)
        if story.base is not None and (present is None or present.number != story.base):
            raise StaleBase(story.base, present.number if present else 0)
        number = 1 if present is None else present.number + 1
        published = make(number, int(time.time() * 1000), present)
        if len(record := dump(published)) > _MAX_RECORD:
            raise Invalid(
                "file", f"takes {len(record)} bytes; a record holds {_MAX_RECORD}", code="too_large"
            )
        await _write(link, published, present, story, delivered=False)
        if story.draft is not None:
            await link.execute(
                "UPDATE rule_drafts SET state = 'published', number = $2, ended_at = now(), ended_by = $3"
                " WHERE id = $1",
                story.draft,
                published.number,
                published.actor,
            )
    return published


async def _write(
    link: Link,
    published: PublishedRuleSet,
    present: PublishedRuleSet | None,
    story: Story,
    *,
    delivered: bool,
) -> None:
    moment = datetime.fromtimestamp(published.published_at / 1000, UTC)
    await link.execute(
        _INSERT,
        published.number,
        moment,
        published.actor,
        published.reason,
        published.content.model_dump_json(exclude_none=True),
        dump(published).decode(),
        published.cause,
        present.number if present else None,
        story.draft,
        json.dumps(diff(present, published)),
        None if story.report is None else json.dumps(story.report),
        story.override,
        moment if delivered else None,
    )


async def _take_over(link: Link, in_kafka: Mapping[int, bytes]) -> None:
    """Numbers that only Kafka knows become rows; a row whose number Kafka gave to another gets a new one."""
    rows = {row["number"]: row for row in await link.fetch("SELECT number, delivered_at FROM rulesets")}
    highest = max((*rows, *in_kafka), default=0)
    for number, row in rows.items():
        if row["delivered_at"] is None and number in in_kafka:
            own = await get(link, number)
            if _same(own, PublishedRuleSet.model_validate_json(in_kafka[number])):
                await link.execute("UPDATE rulesets SET delivered_at = now() WHERE number = $1", number)
                continue
            highest += 1
            moved = own.model_copy(update={"number": highest})
            await link.execute(
                "UPDATE rulesets SET number = $2, record = $3 WHERE number = $1",
                number,
                highest,
                dump(moved).decode(),
            )
            log.warning("rules.renumbered", before=number, number=highest)
            del rows[number]
            break
    else:
        await _import(link, {number: value for number, value in in_kafka.items() if number not in rows})
        return
    await _take_over(link, in_kafka)


async def _import(link: Link, missing: Mapping[int, bytes]) -> None:
    for number in sorted(missing):
        published = PublishedRuleSet.model_validate_json(missing[number])
        before = await link.fetchrow(f"{_ROWS} WHERE number < $1 ORDER BY number DESC LIMIT 1", number)
        await _write(link, published, before and load(before), Story(), delivered=True)
        log.warning("rules.taken_over", number=number)


def _same(one: PublishedRuleSet, other: PublishedRuleSet) -> bool:
    return (one.published_at, one.actor, one.reason) == (other.published_at, other.actor, other.reason)


def _read_topic(kafka: KafkaSettings, topic: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}

    def note(messages: list[Message]) -> None:
        for message in messages:
            key, value = message.key(), message.value()
            if key is not None and value is not None:
                found[int(key)] = value

    tail = Tail(kafka, topic, note)
    tail.start()
    read = tail.wait_caught_up(_WAIT_S)
    tail.stop()
    if not read:
        raise Retriable(f"Kafka did not give {topic} within {_WAIT_S:g} s ({tail.failure or 'no answer'})")
    return found


def _send(kafka: KafkaSettings, topic: str, published: PublishedRuleSet) -> None:
    number = published.number
    try:
        produce_all(kafka, topic, {str(number).encode(): dump(published)}, timeout_s=_WAIT_S)
    except Retriable as error:
        raise Retriable(f"rule set {number} is in Postgres and not in Kafka yet: {error}") from error
