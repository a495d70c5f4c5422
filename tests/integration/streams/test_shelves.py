"""The stock that a rule set is tried on, against a real log: read when asked for, followed, kept for a while, and never made up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from threading import Event

import pytest

from runtime import tail
from runtime.kafka import admin, ensure_topics, producer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.stone import encode, position_key
from schemas.topics import CANONICAL, Topic
from streams.pricing import shelves as kept
from streams.pricing.shelf import Shelf
from streams.pricing.shelves import Shelves
from tests.conftest import TopicMaker
from tests.unit.schemas.stones import make_stone


@pytest.fixture
def topic(make_topic: TopicMaker) -> Topic:
    return make_topic(CANONICAL)


@pytest.fixture
async def shelves(kafka_settings: KafkaSettings, topic: Topic) -> AsyncIterator[Shelves]:
    made = Shelves(kafka_settings, topic.name)
    yield made
    await made.close()


def write(kafka: KafkaSettings, topic: Topic, prices: dict[int, int | None]) -> None:
    """Stones at these prices, those without one retired; and a position behind them."""
    sender = producer(kafka)
    for number, price in prices.items():
        stone = make_stone(id=f"nivoda-natural:{number}", price_cents=price or 0, girdle="dünn")
        sender.produce(topic.name, encode(stone) if price else None, stone.id.encode(), number % 8)
    sender.produce(topic.name, b"{}", position_key("nivoda-natural"), 0)
    assert sender.flush(20) == 0


def prices(shelf: Shelf) -> dict[int, int]:
    numbers = [int(stone.rpartition(":")[2]) for stone in shelf.ids]
    return dict(zip(numbers, shelf.arrays["price_cents"].tolist(), strict=True))


async def until_it_says(shelves: Shelves, wanted: dict[int, int]) -> None:
    deadline = time.monotonic() + 60
    while prices(await shelves.shelf({"price_cents"})) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_it_is_read_whole_and_followed(
    kafka_settings: KafkaSettings, topic: Topic, shelves: Shelves
) -> None:
    write(kafka_settings, topic, {number: 1 + number for number in range(500)})
    write(kafka_settings, topic, {1: 1_000, 2: None, 3: None})
    write(kafka_settings, topic, {3: 3_000})
    wanted = {number: 1 + number for number in range(500)} | {1: 1_000, 3: 3_000}
    del wanted[2]
    first = await shelves.shelf({"price_cents"})
    assert prices(first) == wanted
    write(kafka_settings, topic, {2: 2_000, 3: None, 600: 6_000})
    await until_it_says(
        shelves, {number: price for number, price in wanted.items() if number != 3} | {2: 2_000, 600: 6_000}
    )
    assert prices(first) == wanted


async def test_what_was_not_kept_is_read_anew(
    kafka_settings: KafkaSettings, topic: Topic, shelves: Shelves
) -> None:
    write(kafka_settings, topic, {1: 5})
    await shelves.shelf({"price_cents"})
    shelf = await shelves.shelf({"girdle"})
    assert shelf.texts["girdle"][int(shelf.arrays["girdle"][0])] == "dünn"
    assert prices(await shelves.shelf({"price_cents"})) == {1: 5}


async def test_it_is_let_go_when_nobody_asks_any_more(
    kafka_settings: KafkaSettings, topic: Topic, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kafka_settings, topic, {1: 5})
    await shelves.shelf({"price_cents"})
    await shelves.let_go_if_idle()
    assert shelves._stock is not None
    monkeypatch.setattr(kept, "KEPT_S", 0.0)
    await shelves.let_go_if_idle()
    assert shelves._tail is None
    assert prices(await shelves.shelf({"price_cents"})) == {1: 5}


async def test_an_empty_topic_is_an_empty_stock(
    kafka_settings: KafkaSettings, topic: Topic, shelves: Shelves
) -> None:
    assert prices(await shelves.shelf({"price_cents"})) == {}
    write(kafka_settings, topic, {1: 5})
    await until_it_says(shelves, {1: 5})


async def test_kafka_away_is_said_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "PATIENCE_S", 1.0)
    away = Shelves(KafkaSettings(bootstrap="127.0.0.1:9"))
    with pytest.raises(Retriable, match="the stock cannot be read from Kafka: no answer"):
        await away.shelf({"price_cents"})
    assert away._tail is None


async def test_a_topic_created_anew_is_read_anew(
    kafka_settings: KafkaSettings, topic: Topic, shelves: Shelves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_LOOK_EVERY_S", 0.2)
    looked, look = Event(), tail.SameTopic.refuse_another

    def noted(same: tail.SameTopic) -> None:
        look(same)
        looked.set()

    monkeypatch.setattr(tail.SameTopic, "refuse_another", noted)
    write(kafka_settings, topic, {1: 5, 2: 6})
    await shelves.shelf({"price_cents"})
    assert await asyncio.to_thread(looked.wait, 60)
    client = admin(kafka_settings)  # named: its futures die with it
    for deletion in client.delete_topics([topic.name]).values():
        deletion.result()
    await asyncio.sleep(0.5)
    ensure_topics(kafka_settings, [topic])
    write(kafka_settings, topic, {3: 7})
    assert "created anew" in await refusal(shelves)
    assert prices(await shelves.shelf({"price_cents"})) == {3: 7}


async def refusal(shelves: Shelves) -> str:
    """What is said when the stock cannot be read any more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            await shelves.shelf({"price_cents"})
        except Retriable as error:
            return str(error)
        await asyncio.sleep(0.05)
    return ""
