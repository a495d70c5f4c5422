"""The canonical topic, Postgres as the sink fills it and an API replica held beside one another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from connectors.postgres.events import list_events
from monitor.nightly import ask_if_due
from operating import stores
from operating.stores import Finding, Store, Topic, compare, in_api, in_postgres
from runtime import jobs
from runtime.kafka import ensure_topics
from runtime.postgres import Database
from runtime.settings import KafkaSettings, PostgresSettings, Settings
from schemas.events import Kind
from schemas.stone import Availability
from schemas.topics import CANONICAL, DEAD
from schemas.topics import Topic as TopicInfo
from tests.conftest import TopicMaker
from tests.integration.sink.test_sink import of, send, sink_to_end
from tests.unit.api.clients import BUYER, StockApp
from tests.unit.schemas.stones import make_stone

FEED = "nivoda-natural"
STONES = [
    make_stone(
        id=f"{FEED}:{number:032x}",
        cost_cents=number,
        price_cents=2 * number,
        availability=list(Availability)[number % 3],
        updated_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(milliseconds=7 * number),
    )
    for number in range(700)
]


@pytest.fixture
def settings(kafka_settings: KafkaSettings, database: str) -> Settings:
    ensure_topics(kafka_settings, [DEAD])
    return Settings(kafka_settings, PostgresSettings(dsn=SecretStr(database)))


@pytest.fixture
def filled(settings: Settings, make_topic: TopicMaker) -> TopicInfo:
    """A topic and a database that hold the same stones; one was sold, one written twice."""
    topic = make_topic(CANONICAL)
    sold = make_stone(id=f"{FEED}:sold")
    send(settings, topic, map(of, [sold, make_stone(id=STONES[0].id, price_cents=9), *STONES]))
    send(settings, topic, [(sold.id.encode(), None)])
    sink_to_end(settings, topic)
    return topic


@asynccontextmanager
async def opened(settings: Settings, topic: TopicInfo) -> AsyncIterator[tuple[Topic, Database]]:
    async with (
        Database(settings.postgres.dsn.get_secret_value(), "test") as database,
        Topic(settings.kafka, topic.name) as told,
    ):
        yield told, database


def of_feed(findings: list[Finding]) -> Finding:
    assert all(finding.agrees for finding in findings if finding.feed != FEED), "the others are empty"
    return next(finding for finding in findings if finding.feed == FEED)


async def test_stores_that_hold_the_same_agree(settings: Settings, filled: TopicInfo) -> None:
    replica = StockApp(STONES)
    async with opened(settings, filled) as (topic, database), replica.client(BUYER) as http:
        for store in (in_postgres(database), in_api("api", http)):
            finding = of_feed(await compare(topic, store))
            assert finding.agrees, finding.text()
            assert finding.held.stones == len(STONES)


async def test_a_row_that_differs_and_one_that_is_missing_are_named(
    settings: Settings, filled: TopicInfo
) -> None:
    async with opened(settings, filled) as (topic, database):
        async with database.link() as link:
            await link.execute(
                "UPDATE diamonds SET price_cents = price_cents + 1 WHERE id = $1", STONES[5].id
            )
            await link.execute("DELETE FROM diamonds WHERE id = $1", STONES[600].id)
        finding = of_feed(await compare(topic, in_postgres(database), pause_s=0))
    assert (finding.agrees, finding.apart) == (False, 2)
    assert finding.named == (STONES[5].id, STONES[600].id)
    assert (finding.topic.stones, finding.held.stones) == (700, 699)


async def test_a_replica_that_lacks_a_change_is_named(settings: Settings, filled: TopicInfo) -> None:
    old = make_stone(id=STONES[3].id, cost_cents=3, price_cents=5)
    async with (
        opened(settings, filled) as (topic, _),
        StockApp([*STONES[:3], old, *STONES[4:]]).client(BUYER) as http,
    ):
        finding = of_feed(await compare(topic, in_api("api", http), pause_s=0))
    assert (finding.agrees, finding.named) == (False, (STONES[3].id,))


async def test_a_stock_that_moves_all_the_while_is_not_judged(settings: Settings, filled: TopicInfo) -> None:
    async with opened(settings, filled) as (topic, database):
        inner, stones = in_postgres(database), iter(STONES)

        async def sums() -> stores.Feeds:
            found = await inner.sums()
            gone = next(stones)
            topic.feeds[FEED].remove(gone.id, topic.terms(FEED, {gone.id[-2:]})[gone.id])
            return found

        moving = Store(inner.name, sums, inner.terms)
        assert of_feed(await compare(topic, moving, pause_s=0)).agrees is None


async def test_people_are_told_of_what_differs_until_it_agrees(settings: Settings, filled: TopicInfo) -> None:
    async with opened(settings, filled) as (topic, database):
        async with database.link() as link:
            await link.execute("UPDATE diamonds SET price_cents = 1 WHERE id = $1", STONES[600].id)
        await stores.tell(database, "test", await compare(topic, in_postgres(database), pause_s=0))
        async with database.link() as link:
            (event,) = await list_events(link, only_open=True)
            assert (event.kind, event.subject) == (Kind.STORES_DISAGREE, f"{FEED} in postgres")
            assert STONES[600].id in event.text
            await link.execute("UPDATE diamonds SET price_cents = 1200 WHERE id = $1", STONES[600].id)
        await stores.tell(database, "test", await compare(topic, in_postgres(database), pause_s=0))
        async with database.link() as link:
            assert await list_events(link, only_open=True) == []


async def test_a_night_is_asked_for_once_and_made_up_for(settings: Settings, database: str) -> None:
    async with Database(database, "test") as opened_database:
        started = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        assert not await ask_if_due(
            opened_database, "04:30", started, datetime(2026, 3, 2, 4, 29, tzinfo=UTC)
        )
        # Two nights were missed: one comparison.
        now = datetime.now(UTC) + timedelta(days=2)
        assert await ask_if_due(opened_database, "04:30", started, now)
        async with opened_database.link() as link:
            (job,) = await jobs.recent(link)
        assert (job.kind, job.actor) == (stores.KIND, "monitor")
        assert not await ask_if_due(opened_database, "04:30", started, job.created_at)
