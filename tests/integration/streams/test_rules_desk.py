"""The life of rule sets on a real stock: guardrails, one truth for two operators, shares, rollback, and the keeper."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.errors import Invalid, Retriable
from schemas.ruleset import Rate, RuleSet, TrialLimits
from streams.pricing.engine import PriceBook, bucket, in_share
from streams.pricing.guards import Guards
from streams.rules import history as rules_history
from streams.rules import keeper as rules_keeper
from streams.rules import rates
from streams.rules import store as rules_store
from streams.rules.desk import GuardsBroken, Intent, RuleDesk
from streams.rules.keeper import Keeper
from streams.rules.store import StaleBase, head
from tests.integration.shop import STONES, Shop

WHY = Intent("ann", "spring")


def rules(natural_bps: int = 4_000, **more: Any) -> RuleSet:
    return RuleSet.model_validate({"base": {"natural_bps": natural_bps}, **more})


async def story(shop: Shop, number: int) -> dict[str, Any]:
    async with shop.desk.database.link() as link:
        return await rules_history.number(link, number)


async def until(holds: Callable[[], Any], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not await holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_what_is_previewed_is_what_publishing_does(shop: Shop) -> None:
    content = rules(rules=[{"name": "a", "priority": 1, "when": {"id": [f"nivoda-natural:{n}" for n in range(9)]},
                            "margin_bps": 5_000, "rounding": {"to_cents": 1_000, "ending_cents": 990}}])  # fmt: skip
    before = shop.prices()
    report = await shop.desk.preview(content)
    told = {change.id: change.after_cents for change in await shop.desk.changes(content)}
    shop.reprice((await shop.desk.publish(content, WHY)).published)
    moved = {stone: price for stone, price in shop.prices().items() if price != before[stone]}
    assert moved == told
    assert (report.stones, report.changed) == (STONES, 9)


async def test_a_price_below_cost_needs_a_reason_that_history_keeps(shop: Shop) -> None:
    cheap = rules(-100)
    with pytest.raises(
        GuardsBroken, match=r"below_cost: 300 stones priced below their cost, the worst by 10\.00 USD"
    ) as caught:
        await shop.desk.publish(cheap, WHY)
    assert {one["guard"] for one in caught.value.more["breaks"]} == {"below_cost", "max_changed"}
    assert (await shop.desk.head()).number == 1
    with pytest.raises(Invalid, match="override: says nothing"):
        await shop.desk.publish(cheap, Intent("ann", "sale", override=" "))
    made = await shop.desk.publish(cheap, Intent("ann", "sale", override="clearing stock, agreed with Bo"))
    kept = await story(shop, made.number)
    assert (kept["actor"], kept["reason"]) == ("ann", "sale")
    assert kept["override_reason"] == "clearing stock, agreed with Bo"
    assert kept["report"]["breaks"][0]["guard"] == "below_cost"
    assert kept["diff"][0] == {"what": "base", "field": "natural_bps", "before": 4_000, "after": -100}


async def test_two_operators_at_once_get_one_number(shop: Shop) -> None:
    async def one(margin: int) -> Any:
        try:
            return await shop.desk.publish(
                rules(margin), Intent(f"op-{margin}", "r", base=1, override="test")
            )
        except StaleBase as error:
            return error

    results = await asyncio.gather(one(4_100), one(4_200), one(4_300))
    assert sorted(type(result).__name__ for result in results) == ["Publication", "StaleBase", "StaleBase"]
    assert (await shop.desk.head()).number == 2


async def test_a_draft_lives_until_it_is_published_and_can_be_undone(shop: Shop) -> None:
    desk = shop.desk
    draft = await desk.draft(rules(4_010), actor="ann", note="a bit more")
    assert (await desk.preview_draft(draft)).changed == STONES
    with pytest.raises(GuardsBroken):
        await desk.publish_draft(draft, WHY)
    made = await desk.publish_draft(draft, Intent("bo", "spring", override="all of them, yes"))
    with pytest.raises(Invalid, match="published already"):
        await desk.publish_draft(draft, WHY)
    back = await desk.rollback(1, Intent("ann", "too much"))
    assert (made.number, back.number) == (2, 3)
    assert (back.published.content, back.published.reason) == (RuleSet(), "back to 1: too much")
    async with desk.database.link() as link:
        kept = await rules_history.draft(link, draft)
        causes = [row["cause"] for row in await rules_history.numbers(link)]
    assert (kept["state"], kept["number"], kept["ended_by"]) == ("published", 2, "bo")
    assert causes == ["rollback", "publish", "publish"]


async def test_a_share_goes_first_and_grows_or_goes_back(shop: Shop) -> None:
    desk = shop.desk
    first = await desk.publish(rules(4_500), WHY, share_bps=1_000)
    shop.reprice(first.published)
    for stone, price in shop.prices().items():
        assert price == (145_000 if in_share(stone, 1_000) else 140_000)
    with pytest.raises(Invalid, match="under way"):
        await desk.publish(rules(4_600), WHY)
    wider = await desk.widen(5_000, WHY)
    shop.reprice(wider.published)
    assert sum(price == 145_000 for price in shop.prices().values()) == sum(
        bucket(stone) < 5_000 for stone in shop.stones
    )
    # All the others at once: more than the guardrail lets a first publish change.
    await desk.widen(9_950, WHY)
    gone = await desk.take_back(Intent("bo", "no"))
    shop.reprice(gone.published)
    assert set(shop.prices().values()) == {140_000}
    assert (gone.published.cause, gone.published.rest, gone.number) == ("return", None, 5)
    with pytest.raises(Invalid, match="no gradual publish"):
        await desk.widen(10_000, WHY)


async def test_a_trial_that_goes_wrong_is_taken_back_with_its_reason(shop: Shop) -> None:
    keeper = Keeper(shop.desk, tick_s=0.2)
    intent = Intent("ann", "try", limits=TrialLimits(mean_move_bps=100), override="it is a trial")
    made = await shop.desk.publish(rules(4_500), intent, share_bps=2_000)
    work = asyncio.create_task(keeper.run())
    try:
        shop.reprice(made.published)

        async def told() -> bool:
            async with shop.desk.database.link() as link:
                return bool(await link.fetchval("SELECT count(*) FROM events"))

        await until(told)
    finally:
        work.cancel()
    kept = await story(shop, 3)
    assert kept["actor"] == "keeper"
    assert "mean move of 357 bps is over the limit of 100" in kept["reason"]
    async with shop.desk.database.link() as link:
        events = await link.fetch("SELECT kind, subject, text, actor FROM events")
        due = await link.fetchval("SELECT count(*) FROM notices WHERE state = 'waiting'")
    assert [tuple(row) for row in events] == [("TrialTakenBack", "rule set 2", kept["reason"], "keeper")]
    assert due == 1
    assert kept["content"] == (await story(shop, 1))["content"]


async def test_kafka_away_at_a_publish_is_made_good_by_the_keeper(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = shop.desk
    draft = await desk.draft(rules(4_010), actor="ann", note="")
    await desk.preview_draft(draft)
    away = RuleDesk(
        desk.database, KafkaSettings(bootstrap="127.0.0.1:9"), desk.guards, desk.shelves, desk.topic
    )
    with monkeypatch.context() as patience:
        patience.setattr(rules_store, "_WAIT_S", 0.5)
        made = await away.publish_draft(draft, Intent("ann", "r", override="all"))
    assert (made.number, made.delivered) == (2, False)
    work = asyncio.create_task(Keeper(desk, tick_s=0.2).run())

    async def delivered() -> bool:
        return (await story(shop, 2))["delivered_at"] is not None

    try:
        await until(delivered)
    finally:
        work.cancel()
    assert 2 in await asyncio.to_thread(rules_store._read_topic, shop.kafka, desk.topic)


async def test_dates_and_rates_become_numbers_by_themselves(shop: Shop) -> None:
    desk = shop.desk
    soon = datetime.now(UTC) + timedelta(seconds=2)
    row = {"name": "from soon on", "priority": 1, "when": {"type": "natural"}, "margin_bps": 4_100,
           "valid_from": soon.isoformat()}  # fmt: skip
    with pytest.raises(Invalid, match="no rate of EUR"):
        await desk.preview(rules(currency="EUR"))
    async with desk.database.link() as link:
        await rates.record(link, Rate(id="r1", currency="EUR", ppm=900_000, at=1, source="t"), actor="ann")
    made = await desk.publish(rules(currency="EUR", rules=[row]), Intent("ann", "euros", override="all"))
    assert made.published.rate is not None
    stone = shop.stones["nivoda-natural:0"]
    assert PriceBook(made.published).price(stone) == (126_000, "base:natural", 4_000)
    work = asyncio.create_task(Keeper(desk, tick_s=0.2).run())

    async def present(cause: str) -> bool:
        return (await desk.head()).cause == cause

    async def number(wanted: int) -> bool:
        return (await desk.head()).number == wanted

    try:
        await until(lambda: present("dates"))
        dated = await desk.head()
        assert 0 <= dated.published_at - soon.timestamp() * 1000 < 5_000
        assert PriceBook(dated).price(stone) == (126_900, "from soon on", 4_100)
        async with desk.database.link() as link:
            await rates.record(
                link, Rate(id="r2", currency="EUR", ppm=910_000, at=2, source="t"), actor="ann"
            )
        await until(lambda: present("rate"))
        rated = await desk.head()
        assert rated.reason == "r2: 910000 ppm, was 900000"
        assert rated.rate is not None
        assert (rated.number, rated.rate.id) == (dated.number + 1, "r2")
        assert PriceBook(rated).price(stone).price_cents == 128_310
        async with desk.database.link() as link:
            leap = Rate(id="r3", currency="EUR", ppm=1_100_000, at=3, source="t")
            await rates.record(link, leap, actor="ann", reason="the euro fell")
        await until(lambda: number(rated.number + 1))
        assert (await desk.head()).reason == "r3: 1100000 ppm, was 910000; ann: the euro fell"
    finally:
        work.cancel()


async def test_a_day_that_begins_becomes_a_number_where_rows_ask_for_an_age(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_keeper, "_DAY_MS", 2_000)
    row = {"name": "old", "priority": 1, "when": {"age": {"min": 30}}, "margin_bps": 3_000}
    made = await shop.desk.publish(rules(rules=[row]), Intent("ann", "the old ones cheaper"))
    work = asyncio.create_task(Keeper(shop.desk, tick_s=0.2).run())

    async def renewed() -> bool:
        return (await shop.desk.head()).number > made.number

    try:
        await until(renewed)
    finally:
        work.cancel()
    present = await shop.desk.head()
    assert (present.cause, present.actor, present.content) == ("dates", "keeper", made.published.content)
    assert present.counted_at // 2_000 > made.published.counted_at // 2_000


async def test_the_last_known_rate_stays_in_use_while_the_source_is_away(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules_keeper, "RATES_AGAIN_S", 0.1)
    monkeypatch.setattr(rules_keeper, "RATES_EVERY_S", 0.1)
    asked = 0

    async def source() -> list[Rate]:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Retriable("the source of exchange rates does not answer")
        return [Rate(id="ecb:EUR:day", currency="EUR", ppm=917_431, at=1_000, source="ecb")]

    work = asyncio.create_task(Keeper(shop.desk, source, tick_s=0.1).run())

    async def asked_again() -> bool:
        return asked > 2

    try:
        await until(asked_again)
    finally:
        work.cancel()
    made = await shop.desk.publish(rules(currency="EUR"), Intent("ann", "euros", override="all"))
    assert made.published.rate is not None
    assert made.published.rate.id == "ecb:EUR:day"
    async with shop.desk.database.link() as link:
        assert rates.shown((await rates.latest(link))["EUR"], 61_000)["age_s"] == 60


async def test_a_fetched_rate_that_leaps_is_not_believed_and_the_others_are(shop: Shop) -> None:
    async def source() -> list[Rate]:
        return [
            Rate(id=f"ecb:{currency}:2", currency=currency, ppm=ppm, at=2, source="ecb")
            for currency, ppm in (("EUR", 1_010_001), ("GBP", 764_908))
        ]

    async with shop.desk.database.link() as link:
        first = Rate(id="r1", currency="EUR", ppm=918_182, at=1, source="t")
        await rates.record(link, first, actor="ann")
        keeper = Keeper(shop.desk, source)
        await keeper._keep_rates(link)
        known = await rates.latest(link)
    assert {currency: kept.rate.id for currency, kept in known.items()} == {"EUR": "r1", "GBP": "ecb:GBP:2"}


async def test_postgres_away_means_nothing_happened(shop: Shop) -> None:
    desk = RuleDesk(
        Database("postgresql://nobody@127.0.0.1:1/none", "test"),
        shop.kafka,
        Guards(),
        shop.desk.shelves,
        shop.desk.topic,
    )
    with pytest.raises(Retriable, match="Postgres"):
        await desk.publish(rules(), WHY)
    async with shop.desk.database.link() as link:
        present = await head(link)
    assert present is not None
    assert present.number == 1
