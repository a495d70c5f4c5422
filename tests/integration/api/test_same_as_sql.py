"""What the API answers from memory, and what Postgres says of the rows that the sink wrote from the same topic."""

import asyncio
from time import monotonic

import asyncpg
import httpx
from pydantic import SecretStr

from api.app import create_app
from api.engine.fast_index import FastIndex
from api.follower import Follower
from api.freshness import Freshness
from api.service import Service
from drills.same_pages import in_sql
from drills.searches import query_strings
from drills.stock import canonical_stock, fill
from runtime.kafka import ensure_topics
from runtime.settings import KafkaSettings, PostgresSettings, Settings
from schemas.feeds import FEEDS
from schemas.topics import CANONICAL, DEAD
from tests.conftest import TopicMaker
from tests.integration.sink.test_sink import sink_to_end
from tests.unit.api.clients import READER, FixedKeys

SEED = 5


def test_every_search_of_the_mix_equals_sql(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, database: str
) -> None:
    ensure_topics(kafka_settings, [DEAD])
    topic = make_topic(CANONICAL)
    fill(kafka_settings, canonical_stock(3_000, SEED, distinct=500), topic.name)
    settings = Settings(kafka_settings, PostgresSettings(dsn=SecretStr(database)))
    sink_to_end(settings, topic)
    asyncio.run(compare(kafka_settings, topic.name, database))


async def compare(kafka_settings: KafkaSettings, topic: str, database: str) -> None:
    index, freshness = FastIndex(), Freshness(tuple(FEEDS))
    follower = Follower(kafka_settings, index, freshness, topic)
    follower.start()
    deadline = monotonic() + 60
    while not follower.caught_up:
        assert monotonic() < deadline, "the index did not catch up"
        await asyncio.sleep(0.02)
    await follower.stop()

    app = create_app(Service(index, FixedKeys(), freshness=freshness))
    transport, headers = httpx.ASGITransport(app), {"X-API-Key": READER}
    link = await asyncpg.connect(database)
    matched = 0
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        for text in query_strings(500, SEED):
            body = (await client.get(f"/v1/diamonds?{text}")).json()
            assert (body["total"], [item["id"] for item in body["items"]]) == await in_sql(link, text), text
            matched += body["total"] > 0
    await link.close()
    # A mix that finds nothing would prove nothing.
    assert matched > 100
