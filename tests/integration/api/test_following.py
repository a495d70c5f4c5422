"""The index fed by a real topic, the keys by a real database."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from api.follower import Follower
from api.freshness import Freshness
from api.keyring import Caller, KeyRing
from api.keys import ALL_SCOPES, Scope, create_key, ensure_key, list_keys, new_key, revoke_key
from api.plain_index import PlainIndex
from api.query import Query
from api.snapshot import Manifest, Snapshots
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.stone import Cause, Position, Stone, decode_stone, encode, position_key
from schemas.topics import CANONICAL, Topic
from tests.conftest import TopicMaker
from tests.spans import Spans
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


async def wait_for(reached: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = monotonic() + timeout_s
    while not reached():
        assert monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.02)


async def test_the_index_ends_as_the_topic_does(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex
) -> None:
    stones = [make_stone(id=f"nivoda-natural:{n}", price_cents=n) for n in range(1200)]
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
    follower = Follower(kafka_settings, index, Freshness(["nivoda-natural"]), topic.name)
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


async def test_a_records_trace_goes_on_into_the_memory(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex, spans: Spans
) -> None:
    told = "00-11111111111111111111111111111111-2222222222222222-01"
    follower = Follower(kafka_settings, index, Freshness(["nivoda-natural"]), topic.name)
    follower.start()
    await wait_for(lambda: follower.check_ready().ok)
    client = producer(kafka_settings)
    for number, headers in enumerate(({}, {"traceparent": told})):
        key, value = of(make_stone(id=f"nivoda-natural:{number}"))
        client.produce(topic.name, key=key, value=value, partition=0, headers={**headers})
    assert client.flush(30) == 0
    await wait_for(lambda: record_of(index, "nivoda-natural:1"))
    await follower.stop()
    (span,) = [span for span in spans() if span.name == "api.apply"]
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in told


async def test_the_loop_is_never_blocked_for_long_by_applying(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex
) -> None:
    send(kafka_settings, topic, [of(make_stone(id=f"nivoda-natural:{n}")) for n in range(20_000)])
    follower = Follower(kafka_settings, index, Freshness(["nivoda-natural"]), topic.name)
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


async def follow(follower: Follower) -> None:
    follower.start()
    await wait_for(lambda: follower.check_ready().ok)


async def test_the_end_is_the_same_however_the_log_was_cut_doubled_or_read_again(
    kafka_settings: KafkaSettings, make_topic: TopicMaker, tmp_path: Path
) -> None:
    chance = random.Random(7)
    log = [
        (
            stone_id.encode(),
            chance.choice([b"<html>", None, *[encode(make_stone(id=stone_id, price_cents=n))] * 8]),
        )
        for n in range(3000)
        for stone_id in [f"nivoda-natural:{chance.randrange(400)}"]
    ]
    clean, torn = make_topic(CANONICAL), make_topic(CANONICAL)
    send(kafka_settings, clean, log)
    for start in range(0, len(log), 700):
        # Once more from an older offset, as a producer does that was not told of its delivery.
        send(kafka_settings, torn, log[max(0, start - 250) : start + 700])

    first, second, freshness = PlainIndex(), PlainIndex(tmp_path), Freshness(["nivoda-natural"])
    follower = Follower(kafka_settings, first, freshness, clean.name)
    await follow(follower)
    await follower.stop()

    follower = Follower(kafka_settings, second, freshness, torn.name, Snapshots(tmp_path))
    await follow(follower)
    await follower.stop()
    assert state_of(second) == state_of(first)

    # The next start takes over from the snapshot, and reads some of it again.
    manifest = msgspec.json.decode((tmp_path / "snapshot" / "manifest.json").read_bytes(), type=Manifest)
    early = msgspec.structs.replace(manifest, offsets={0: manifest.offsets[0] - 400})
    (tmp_path / "snapshot" / "manifest.json").write_bytes(msgspec.json.encode(early))
    third = PlainIndex(tmp_path)
    follower = Follower(kafka_settings, third, freshness, torn.name, Snapshots(tmp_path))
    await follow(follower)
    assert state_of(third) == state_of(first)
    await follower.stop()


async def test_the_version_changes_with_what_an_answer_shows_and_with_nothing_else(
    kafka_settings: KafkaSettings, topic: Topic, index: PlainIndex, tmp_path: Path
) -> None:
    stone = make_stone(id="nivoda-natural:1", price_cents=5)
    send(kafka_settings, topic, [of(stone)])
    freshness, other = Freshness(["nivoda-natural"]), Freshness(["nivoda-natural"])
    follower = Follower(kafka_settings, index, freshness, topic.name)
    await follow(follower)
    send(kafka_settings, topic, [of(msgspec.structs.replace(stone, price_cents=6))])
    await wait_for(lambda: 'price_cents":6,' in str(record_of(index, stone.id)))
    version = freshness.version

    seen = msgspec.structs.replace(stone, price_cents=6, seq=stone.seq + 1, cause=Cause.SEEN)
    position = Position(feed="nivoda-natural", as_of=123, run="r", raw_offset=1, seq=1)
    send(kafka_settings, topic, [of(seen), (position_key(position.feed), encode(position))])
    await wait_for(lambda: freshness.as_of_ms == 123)
    assert freshness.version == version

    send(kafka_settings, topic, [of(msgspec.structs.replace(stone, price_cents=7))])
    await wait_for(lambda: freshness.version != version)
    replica = Follower(kafka_settings, PlainIndex(), other, topic.name)
    await follow(replica)
    send(kafka_settings, topic, [(stone.id.encode(), None)])
    await wait_for(lambda: len(index) == 0)
    await wait_for(lambda: freshness.version == other.version)
    await follower.stop()
    await replica.stop()


def state_of(index: PlainIndex) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    query = Query(limit=1000)
    for record in records_of(index, index.search(query)):
        found[decode_stone(record).id] = record
    assert len(found) == len(index)
    return found


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
