"""The sink against a real Kafka and a real Postgres."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from time import monotonic, sleep
from typing import Any

import asyncpg
import msgspec
import pytest
from confluent_kafka import TopicPartition
from pydantic import SecretStr

from connectors.postgres.progress import Progress
from connectors.postgres.rows import COPIED
from connectors.postgres.sink import Sink, topic_uuid
from connectors.postgres.store import STATEMENT_TIMEOUT_S, Store, _copy
from runtime.kafka import admin, consumer, ensure_topics, producer
from runtime.postgres import AWAY
from runtime.settings import KafkaSettings, PostgresSettings, Settings
from runtime.shutdown import Shutdown
from schemas.errors import Retriable
from schemas.stone import Cause, Position, Stone, encode, position_key
from schemas.topics import CANONICAL, DEAD, Topic
from tests.conftest import TopicMaker
from tests.unit.connectors_postgres.messages import TOPIC_ID, fold, record
from tests.unit.schemas.stones import make_stone

Keyed = tuple[bytes, bytes | None]


@pytest.fixture
def topic(make_topic: TopicMaker) -> Topic:
    return make_topic(CANONICAL)


@pytest.fixture
def settings(kafka_settings: KafkaSettings, database: str) -> Settings:
    ensure_topics(kafka_settings, [DEAD])
    return Settings(kafka_settings, PostgresSettings(dsn=SecretStr(database)))


def group_of(topic: Topic) -> str:
    return f"sink-{topic.name}"


@contextmanager
def running_sink(settings: Settings, topic: Topic) -> Iterator[Progress]:
    progress, failures = Progress(), []

    def run(shutdown: Shutdown) -> None:
        try:
            Sink(settings, progress, shutdown, topic.name, group_of(topic)).run()
        except Exception as error:
            failures.append(error)
            raise

    # Longer than a test may take: a drain that hangs is then shown with its stacks, not ended together with the run.
    with Shutdown(grace_s=600) as shutdown:
        thread = Thread(target=run, args=(shutdown,))
        thread.start()
        try:
            yield progress
        finally:
            shutdown.request("test is over")
            thread.join()
    assert failures == []


def drained(progress: Progress) -> bool:
    return progress.caught_up and progress.lag == 0 and not progress.unsettled()


def wait_for(reached: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = monotonic() + timeout_s
    while not reached():
        assert monotonic() < deadline, "did not happen in time"
        sleep(0.05)


def sink_to_end(settings: Settings, topic: Topic) -> None:
    with running_sink(settings, topic) as progress:
        wait_for(lambda: drained(progress))


def send(settings: Settings, topic: Topic, records: Iterable[Keyed], slot: int = 0) -> None:
    client = producer(settings.kafka)
    for key, value in records:
        client.produce(topic.name, key=key, value=value, partition=slot)
    assert client.flush(30) == 0


def committed_of(settings: Settings, topic: Topic, slot: int = 0) -> int:
    (place,) = consumer(settings.kafka, group_of(topic)).committed([TopicPartition(topic.name, slot)])
    return place.offset


def members_of(settings: Settings, topic: Topic) -> list[set[int]]:
    """The partitions of each of the group's members."""
    client = admin(settings.kafka)
    (answer,) = client.describe_consumer_groups([group_of(topic)]).values()
    return [
        {place.partition for place in member.assignment.topic_partitions}
        for member in answer.result().members
    ]


def of(stone: Stone) -> Keyed:
    return stone.id.encode(), encode(stone)


def query(dsn: str, sql: str, *arguments: Any) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        link = await asyncpg.connect(dsn)
        try:
            return [dict(row) for row in await link.fetch(sql, *arguments)]
        finally:
            await link.close()

    return asyncio.run(ask())


def some_stones(count: int, **changes: Any) -> list[Stone]:
    return [make_stone(id=f"nivoda-natural:{n}", price_cents=1000 + n, **changes) for n in range(count)]


def test_rows_history_and_positions_come_from_the_log(
    settings: Settings, topic: Topic, database: str
) -> None:
    stones = some_stones(3)
    dearer = make_stone(
        id=stones[1].id, price_cents=9, previous_price_cents=1001, cause=Cause.CHANGED, seq=(1 << 40) + 9
    )
    position = Position(feed="nivoda-natural", as_of=1_767_323_045_000, run="r1", raw_offset=5, seq=6)
    send(
        settings,
        topic,
        [
            *map(of, stones),
            of(dearer),
            (stones[2].id.encode(), None),
            (position_key(position.feed), encode(position)),
        ],
    )
    sink_to_end(settings, topic)

    rows = query(database, "SELECT id, price_cents, canonical_offset, retired_at FROM diamonds ORDER BY id")
    assert [(row["price_cents"], row["canonical_offset"]) for row in rows] == [(1000, 0), (9, 3)]
    history = query(database, "SELECT stone_id, seq, price_cents FROM price_history ORDER BY stone_id, seq")
    assert [row["price_cents"] for row in history] == [1000, 1001, 9, 1002]
    assert len(query(database, "SELECT * FROM available_diamonds")) == 2
    assert [row["change_cents"] for row in query(database, "SELECT * FROM price_changes")] == [9 - 1001]
    (age,) = query(database, "SELECT * FROM feed_ages")
    assert age["as_of"].timestamp() * 1000 == position.as_of
    committed = committed_of(settings, topic)
    assert committed == 6


def test_the_history_of_each_month_is_a_table(settings: Settings, topic: Topic, database: str) -> None:
    moments = [datetime(2031, 12, 31, 23, 59, 59, 999_000, UTC), datetime(2032, 1, 1, tzinfo=UTC)]
    stones = [make_stone(id=f"nivoda-natural:{n}", updated_at=moment) for n, moment in enumerate(moments)]
    # An owner that was killed before its acknowledgement writes the same version again, a moment later.
    twice = make_stone(id=stones[1].id, updated_at=moments[1] + timedelta(seconds=9))
    send(settings, topic, map(of, stones))
    sink_to_end(settings, topic)
    send(settings, topic, [of(twice)])
    sink_to_end(settings, topic)
    rows = query(
        database, "SELECT tableoid::regclass::text AS month, changed_at FROM price_history ORDER BY 2"
    )
    assert [(row["month"], row["changed_at"]) for row in rows] == [
        ("price_history_2031_12", moments[0]),
        ("price_history_2032_01", moments[1]),
    ]


def test_content_is_written_again_only_where_its_hash_is_another(
    settings: Settings, topic: Topic, database: str
) -> None:
    first = make_stone(carat=1.0, content_hash="a" * 16)
    shown = (
        "SELECT carat, content_hash, price_cents, rules_version, canonical_offset, retired_at FROM diamonds"
    )
    for keyed in (of(first), (first.id.encode(), None)):
        send(settings, topic, [keyed])
        sink_to_end(settings, topic)
    versions = [
        # Its content is not what its hash says, which tells that it was not looked at.
        ("a", 2.0, 1.0, Cause.REPRICED),
        ("b", 3.0, 3.0, Cause.CHANGED),
        ("b", 4.0, 3.0, Cause.SEEN),
        # Its cause says that the content is the one that is stored, which its hash does not.
        ("c", 5.0, 5.0, Cause.REPRICED),
    ]
    for number, (digit, carat, stored, cause) in enumerate(versions, 2):
        version = msgspec.structs.replace(
            first, carat=carat, content_hash=digit * 16, price_cents=number, rules_version=number, cause=cause
        )
        send(settings, topic, [of(version)])
        sink_to_end(settings, topic)
        (row,) = query(database, shown)
        assert tuple(row.values()) == (stored, digit * 16, number, number, number, None)
    # A row that is to be mended is written whole.
    query(database, "UPDATE diamonds SET canonical_offset = -1")
    query(database, "UPDATE sink_positions SET next_offset = 4")
    sink_to_end(settings, topic)
    (row,) = query(database, shown)
    assert row["carat"] == 5.0


def test_a_retired_row_stays_marked_and_revives(settings: Settings, topic: Topic, database: str) -> None:
    stone = make_stone()
    send(settings, topic, [of(stone)])
    sink_to_end(settings, topic)
    send(settings, topic, [(stone.id.encode(), None)])
    sink_to_end(settings, topic)
    assert query(database, "SELECT id FROM retired_diamonds") == [{"id": stone.id}]
    send(settings, topic, [of(stone)])
    sink_to_end(settings, topic)
    assert query(database, "SELECT id FROM available_diamonds") == [{"id": stone.id}]


def test_reading_again_changes_nothing(settings: Settings, topic: Topic, database: str) -> None:
    stones = some_stones(20)
    dearer = [
        make_stone(
            id=s.id, price_cents=7, previous_price_cents=s.price_cents, cause=Cause.REPRICED, rules_version=2
        )
        for s in stones[:10]
    ]
    send(settings, topic, [*map(of, stones), *map(of, dearer), (stones[11].id.encode(), None)])
    sink_to_end(settings, topic)
    all_rows, all_history = (
        "SELECT * FROM diamonds ORDER BY id",
        "SELECT * FROM price_history ORDER BY 1, 2, 3, 4",
    )
    before = query(database, all_rows), query(database, all_history)

    query(database, "UPDATE sink_positions SET next_offset = 3")
    sink_to_end(settings, topic)
    assert (query(database, all_rows), query(database, all_history)) == before
    assert query(database, "SELECT next_offset FROM sink_positions WHERE kafka_partition = 0") == [
        {"next_offset": 31}
    ]


def test_a_database_restored_from_an_older_state_catches_up(
    settings: Settings, topic: Topic, database: str
) -> None:
    send(settings, topic, map(of, some_stones(10)))
    sink_to_end(settings, topic)
    # Kafka still has the group's committed offset of 10.
    query(database, "DELETE FROM diamonds")
    query(database, "DELETE FROM sink_positions")
    sink_to_end(settings, topic)
    assert query(database, "SELECT count(*) AS n FROM diamonds") == [{"n": 10}]


def test_offsets_that_kafka_lost_and_gives_again_are_written(
    settings: Settings, topic: Topic, database: str
) -> None:
    send(settings, topic, map(of, some_stones(4)))
    sink_to_end(settings, topic)
    # What a Kafka that lost its last hundred records looks like from here.
    query(database, "UPDATE sink_positions SET next_offset = 104")
    query(database, "UPDATE diamonds SET canonical_offset = canonical_offset + 100, price_cents = 1")
    sink_to_end(settings, topic)
    rows = query(database, "SELECT canonical_offset, price_cents FROM diamonds ORDER BY id")
    assert [(row["canonical_offset"], row["price_cents"]) for row in rows] == [
        (n, 1000 + n) for n in range(4)
    ]


def test_what_is_no_stone_goes_to_the_dead_letters(settings: Settings, topic: Topic, database: str) -> None:
    stone = make_stone(id="nivoda-natural:fine")
    send(settings, topic, [(b"nivoda-natural:html", b"<html>"), of(stone)])
    sink_to_end(settings, topic)
    assert query(database, "SELECT id FROM diamonds") == [{"id": stone.id}]

    reader = consumer(settings.kafka)
    reader.assign([TopicPartition(DEAD.name, 0, 0)])
    letters = [message for message in reader.consume(100, 5) if message.value() == b"<html>"]
    reader.close()
    headers = [dict(letter.headers() or []) for letter in letters]
    assert [h["offset"] for h in headers if h["topic"] == topic.name.encode()] == [b"0"]
    assert {h["stage"] for h in headers} == {b"write"}


def test_rows_of_a_former_topic_are_retired_once_the_new_one_is_read(
    settings: Settings, topic: Topic, make_topic: TopicMaker, database: str
) -> None:
    stones = some_stones(5)
    send(settings, topic, map(of, stones))
    sink_to_end(settings, topic)
    anew = make_topic(CANONICAL)
    send(settings, anew, [of(stones[0]), of(stones[3])])
    sink_to_end(settings, anew)

    assert [row["id"] for row in query(database, "SELECT id FROM available_diamonds ORDER BY id")] == [
        stones[0].id,
        stones[3].id,
    ]
    topics = query(database, "SELECT DISTINCT settled_topic_id AS topic FROM sink_positions")
    assert [row["topic"] for row in topics] == [topic_uuid(settings.kafka, anew.name)]


def test_a_topic_created_anew_under_the_reader_stops_it(
    settings: Settings, topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.postgres.sink._REPORT_EVERY_S", 0.2)
    # Longer than a test may take: a drain that hangs is then shown with its stacks, not ended together with the run.
    with Shutdown(grace_s=600) as shutdown:
        sink = Sink(settings, Progress(), shutdown, topic.name, group_of(topic))
        client = admin(settings.kafka)  # named: its futures die with it
        for deletion in client.delete_topics([topic.name]).values():
            deletion.result()
        sleep(0.5)
        ensure_topics(settings.kafka, [topic])
        with pytest.raises(Exception, match="created anew"):
            sink.run()


def test_members_share_the_partitions_and_one_takes_over_what_another_leaves(
    settings: Settings, topic: Topic, database: str
) -> None:
    slots = range(topic.partitions)

    def written() -> int:
        return int(query(database, "SELECT count(*) AS n FROM diamonds")[0]["n"])

    def send_to_all(name: str) -> None:
        for slot in slots:
            send(settings, topic, [of(make_stone(id=f"nivoda-natural:{name}-{slot}"))], slot)

    with running_sink(settings, topic) as first:
        wait_for(lambda: members_of(settings, topic) == [set(slots)])
        send_to_all("alone")
        wait_for(lambda: written() == len(slots) and drained(first))
        with running_sink(settings, topic) as second:
            wait_for(lambda: sorted(map(len, members_of(settings, topic))) == [4, 4])
            wait_for(lambda: drained(first) and drained(second))
            send_to_all("shared")
            wait_for(lambda: written() == 2 * len(slots))
            wait_for(lambda: drained(first) and drained(second))
        wait_for(lambda: members_of(settings, topic) == [set(slots)])
        send_to_all("left")
        wait_for(lambda: written() == 3 * len(slots) and drained(first))
    assert members_of(settings, topic) == []
    assert [committed_of(settings, topic, slot) for slot in slots] == [3] * len(slots)


def test_a_pause_empties_the_group_and_what_came_meanwhile_is_written_after_it(
    settings: Settings, topic: Topic, database: str
) -> None:
    pausing = "INSERT INTO pauses (what, subject, reason, actor) VALUES ('group', $1, 'a replay', 'ann')"
    send(settings, topic, map(of, some_stones(3)))
    with running_sink(settings, topic) as progress:
        wait_for(lambda: drained(progress))
        query(database, pausing, group_of(topic))
        wait_for(lambda: members_of(settings, topic) == [])
        assert committed_of(settings, topic) == 3
        query(database, "UPDATE sink_positions SET next_offset = 1")
        send(settings, topic, map(of, some_stones(7)[3:]))
        sleep(1)
        assert query(database, "SELECT count(*) AS n FROM diamonds") == [{"n": 3}]
        query(database, "DELETE FROM pauses")
        wait_for(lambda: query(database, "SELECT count(*) AS n FROM diamonds") == [{"n": 7}])
        wait_for(lambda: drained(progress))
    assert committed_of(settings, topic) == 7


def test_a_lost_connection_loses_nothing(settings: Settings, topic: Topic, database: str) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'adamas-sink'"
    with running_sink(settings, topic) as progress:
        wait_for(lambda: progress.caught_up)
        for round_ in range(4):
            send(settings, topic, [of(make_stone(id=f"nivoda-natural:{round_}-{n}")) for n in range(500)])
            query(database, kill)
        # A statement that never hears of the cut ends by its own time-out.
        written = "SELECT count(*) AS n FROM diamonds"
        wait_for(lambda: query(database, written) == [{"n": 2000}], STATEMENT_TIMEOUT_S + 30)
    assert query(database, "SELECT count(*) AS n FROM price_history") == [{"n": 2000}]


async def test_a_copy_that_waits_for_room_in_its_socket_hears_that_its_connection_is_cut(
    database: str,
) -> None:
    link, other = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        async with other.transaction():
            # Behind this lock Postgres reads nothing, and more than sockets hold can be waiting.
            await other.execute("LOCK TABLE diamonds IN ACCESS EXCLUSIVE MODE")
            copying = asyncio.create_task(_copy(link, "diamonds", COPIED, bytes(64 * 2**20)))
            await asyncio.sleep(1)
            assert not copying.done()
            await other.execute("SELECT pg_terminate_backend($1)", link.get_server_pid())
            await asyncio.wait({copying}, timeout=10)
            assert copying.done()
            with pytest.raises(AWAY):
                await copying
    finally:
        link.terminate()
        await other.close()


async def test_what_a_version_says_of_itself_is_looked_up_where_it_does_not_fit(database: str) -> None:
    known, other, unknown, new = (
        make_stone(id=f"nivoda-natural:{n}", carat=1.0, content_hash="a" * 16) for n in range(4)
    )
    batch = [
        msgspec.structs.replace(other, price_cents=2, cause=Cause.REPRICED),
        msgspec.structs.replace(unknown, price_cents=3, cause=Cause.REPRICED),
        msgspec.structs.replace(known, price_cents=4, carat=4.0, content_hash="b" * 16),
        msgspec.structs.replace(new, price_cents=5),
    ]
    store, link = Store(database, TOPIC_ID), await asyncpg.connect(database)
    try:
        assert await store.write(fold([record(known, 0), record(other, 1)])) == 2
        for written in (4, 0):
            assert (
                await store.write(fold([record(stone, at) for at, stone in enumerate(batch, 2)])) == written
            )
            rows = await link.fetch("SELECT price_cents, carat, canonical_offset FROM diamonds ORDER BY id")
            assert [tuple(row) for row in rows] == [(4, 4.0, 4), (2, 1.0, 2), (3, 1.0, 3), (5, 1.0, 5)]
    finally:
        await store.close()
        await link.close()


async def test_a_content_that_another_sink_has_written_meanwhile_does_not_stay_under_our_price(
    database: str,
) -> None:
    first = make_stone(carat=1.0, content_hash="a" * 16)
    back = msgspec.structs.replace(first, price_cents=3, cause=Cause.CHANGED)
    store, other = Store(database, TOPIC_ID), await asyncpg.connect(database)
    try:
        await store.write(fold([record(first, 0)]))
        async with other.transaction():
            await other.execute(
                "UPDATE diamonds SET carat = 2, content_hash = $1, canonical_offset = 1", "b" * 16
            )
            writing = asyncio.create_task(store.write(fold([record(back, 2)])))
            await asyncio.sleep(1)
            assert not writing.done()
        with pytest.raises(Retriable):
            await writing
        await store.write(fold([record(back, 2)]))
        (row,) = await other.fetch("SELECT carat, price_cents, canonical_offset FROM diamonds")
        assert tuple(row) == (1.0, 3, 2)
    finally:
        await store.close()
        await other.close()
