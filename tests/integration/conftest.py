"""What several folders of integration tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from runtime.kafka import ensure_topics
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.topics import CANONICAL, DEAD, RATES, RULESETS
from streams.rules.store import ensure_default
from tests.conftest import TopicMaker
from tests.integration.shop import Shop


@pytest.fixture
async def shop(database: str, kafka_settings: KafkaSettings, make_topic: TopicMaker) -> AsyncIterator[Shop]:
    ensure_topics(kafka_settings, (RATES, DEAD))
    async with Database(database, "test") as own:
        made = Shop(own, kafka_settings, make_topic(CANONICAL).name, make_topic(RULESETS).name)
        made.write()
        async with own.link() as link:
            await ensure_default(link, kafka_settings, made.desk.topic)
        yield made
        await made.desk.shelves.close()
