"""The index fed by a real topic, the keys by a real database."""

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from api.follower import SLICE, Follower
from api.keyring import Caller, KeyRing
from api.keys import ALL_SCOPES, Scope, create_key, ensure_key, list_keys, new_key, revoke_key
from api.plain_index import PlainIndex
from api.query import Query
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.stone import Position, Stone, decode_stone, encode, position_key
from schemas.topics import CANONICAL, Topic
from tests.conftest import TopicMaker
from tests.unit.api.stock import record_of, records_of
from tests.unit.schemas.stones import make_stone


@pytest.fixture
def topic(make_topic: TopicMaker) -> Topic:
    return make_topic(CANONICAL)


@pytest.fixture
def index() -> PlainIndex:
    return PlainIndex()


def send(kafka: KafkaSettings, topic: Topic, records: list[tuple[bytes, bytes | None]]) -> None:
    client = producer(kafka)
    for key, value in records:
        client.produce(topic.name, key=key, value=value, partition=0)
    assert client.flush(30) == 0


def of(stone: Stone) -> tuple[bytes, bytes]:
    return stone.id.encode(), encode(stone)


async def wait_for(reached: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = monotonic() + timeout_s
    while not reached():
        assert monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


async def test_the_index_ends_as_the_topic_does(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex
) -> None:
    stones = [make_stone(id=f"nivoda-natural:{n}", price_cents=n) for n in range(3 * SLICE)]
    position = Position(feed="nivoda-natural", as_of=123, run="r", raw_offset=1, seq=1)
    dearer = make_stone(id=stones[5].id, price_cents=99_999)
    send(
        kafka_settings,
        topic,
        [
            *map(of, stones),
            of(dearer),
            (stones[6].id.encode(), None),
            (stones[7].id.encode(), b"<html>"),
            (position_key(position.feed), encode(position)),
        ],
    )
    follower = Follower(kafka_settings, index, topic.name)
    assert not follower.check_ready().ok
    follower.start()
    await wait_for(lambda: follower.check_ready().ok)
    # One was retired, and the one that cannot be read keeps its former record if that came in an earlier batch.
    assert len(index) in (len(stones) - 2, len(stones) - 1)
    changed = record_of(index, dearer.id)
    assert changed is not None
    assert decode_stone(changed).price_cents == 99_999
    assert record_of(index, stones[6].id) is None
    assert index.positions == {"nivoda-natural": 123}

    send(kafka_settings, topic, [of(make_stone(id="nivoda-natural:late", price_cents=0))])
    await wait_for(lambda: record_of(index, "nivoda-natural:late"))
    assert records_of(index, index.search(Query(limit=1)))[0] in (
        encode(stones[0]),
        encode(make_stone(id="nivoda-natural:late", price_cents=0)),
    )
    await follower.stop()
    assert follower.check_live().ok


async def test_the_loop_is_never_blocked_for_long_by_applying(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex
) -> None:
    send(kafka_settings, topic, [of(make_stone(id=f"nivoda-natural:{n}")) for n in range(20_000)])
    follower = Follower(kafka_settings, index, topic.name)
    follower.start()
    pauses: list[float] = []
    while not follower.check_ready().ok:
        before = monotonic()
        await asyncio.sleep(0)
        pauses.append(monotonic() - before)
    await follower.stop()
    assert len(index) == 20_000
    # 4 ms on a quiet machine; what it must never be is a whole batch or more.
    assert sorted(pauses)[int(0.99 * len(pauses))] < 0.05


async def test_keys_come_from_postgres_and_stay_when_it_is_away(database: str) -> None:
    key = await asyncio.to_thread(create_key, database, "shop", [Scope.READ_DIAMONDS], "tester")
    ring = KeyRing(database)
    assert not ring.loaded
    caller = await ring.find(key)
    assert caller is not None
    assert caller == Caller("shop", frozenset({Scope.READ_DIAMONDS}))
    assert await ring.find(new_key()) is None
    assert await ring.find("not a key") is None

    ring._dsn = "postgresql://nobody@127.0.0.1:1/none"
    assert ring._link is not None
    ring._link.terminate()
    await ring.refresh()
    assert await ring.find(key) == caller
    assert ring.check().ok
    assert "answers" not in ring.check().detail["postgres"]
    await ring.close()


async def test_a_revoked_key_ends_with_the_next_refresh(database: str) -> None:
    key = await asyncio.to_thread(create_key, database, "shop", ALL_SCOPES, "tester")
    ring = KeyRing(database)
    assert await ring.find(key)
    await asyncio.to_thread(revoke_key, database, "shop", "tester")
    await ring.refresh()
    assert await ring.find(key) is None
    await ring.close()
    (info,) = await asyncio.to_thread(list_keys, database)
    assert info.revoked_at is not None
    with pytest.raises(Invalid, match="could be revoked"):
        await asyncio.to_thread(revoke_key, database, "shop", "tester")


async def test_the_same_key_can_be_ensured_again_and_again(database: str) -> None:
    key = new_key()
    for _ in range(2):
        await asyncio.to_thread(ensure_key, database, "demo", ALL_SCOPES, key)
    ring = KeyRing(database)
    assert await ring.find(key)
    await ring.close()
    with pytest.raises(Invalid, match="already"):
        await asyncio.to_thread(create_key, database, "demo", ALL_SCOPES, "tester")
    with pytest.raises(Invalid, match="does not exist"):
        await asyncio.to_thread(create_key, database, "other", ["everything"], "tester")
