"""Why a stone costs what it costs, from what the sink has written."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from connectors.postgres.store import Store
from operating.archive import Folder
from operating.price import explain
from operating.price_command import steps
from runtime.kafka import ensure_topics
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.ruleset import PublishedRuleSet, Rate, Rule, RuleSet, Side
from schemas.stone import Cause
from schemas.topics import RAW
from streams.pricing.engine import bucket
from streams.rules.store import dump
from tests.unit.connectors_postgres.messages import TOPIC_ID, fold, record
from tests.unit.schemas.stones import make_stone

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOT_KEPT = 10**12


async def test_an_explanation_tells_the_age_that_its_number_counted(
    database: str, kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    ensure_topics(kafka_settings, [RAW])
    first = make_stone(first_seen=BEGAN, updated_at=BEGAN, raw_offset=NOT_KEPT)
    later = msgspec.structs.replace(
        first,
        updated_at=BEGAN + timedelta(days=31),
        rules_version=2,
        cause=Cause.REPRICED,
        price_cents=5,
        previous_price_cents=first.price_cents,
    )
    days = {1: 0, 2: 30}
    store = Store(database, TOPIC_ID)
    await store.write(fold([record(one, offset) for offset, one in enumerate((first, later))]))
    await store.close()
    async with Database(database, "test") as db:
        async with db.link() as link:
            for number, day in days.items():
                # A minute short of a further day.
                counted_at = BEGAN + timedelta(days=day, hours=23, minutes=59)
                await link.execute(
                    "INSERT INTO rulesets (number, published_at, actor, reason, content, record)"
                    " VALUES ($1, $2, 'ann', 'r', '{}', jsonb_build_object('valid_at', $3::bigint))",
                    *(number, counted_at + timedelta(days=1), int(counted_at.timestamp() * 1000)),
                )
        now = await explain(db, kafka_settings, Folder(tmp_path), first.id)
        then = await explain(db, kafka_settings, Folder(tmp_path), first.id, BEGAN + timedelta(days=1))
        assert (now.price.price_cents, now.age_days, now.price.first_seen) == (5, 30, BEGAN)
        assert (then.price.price_cents, then.age_days) == (140_000, 0)
        assert [since.price_cents for since in then.since] == [5]
        assert (now.source.offset, now.source.kept) == (NOT_KEPT, None)
        with pytest.raises(Invalid, match="had no price"):
            await explain(db, kafka_settings, Folder(tmp_path), first.id, BEGAN - timedelta(days=1))


async def test_an_explanation_has_all_that_a_price_is_recomputed_from(
    database: str, kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    ensure_topics(kafka_settings, [RAW])
    row = {"name": "nice", "priority": 1, "when": {"carat": {"min": 0}}, "margin_bps": 4_000, "amount_cents": 700,
           "rounding": {"to_cents": 10_000, "ending_cents": 9_900}, "floor_cents": 5_000}  # fmt: skip
    euro = Rate(id="r1", currency="EUR", ppm=917_431, at=1, source="t")
    content = RuleSet.model_validate({"currency": "EUR", "rules": [row]})
    stone = make_stone(rule="nice", rules_version=2, currency="EUR", rate_id="r1", raw_offset=NOT_KEPT)
    share = bucket(stone.id) + 1
    rest = Side(number=1, content=RuleSet.model_validate({"rules": [{**row, "margin_bps": 1}]}))
    store = Store(database, TOPIC_ID)
    await store.write(fold([record(stone, 0)]))
    await store.close()
    async with Database(database, "test") as db:
        for share_bps, terms, rate in (
            (share, content.rules[0], "r1"),
            (share - 1, rest.content.rules[0], None),
        ):
            published = PublishedRuleSet(
                number=2,
                published_at=1,
                actor="a",
                reason="r",
                content=content,
                rate=euro,
                share_bps=share_bps,
                rest=rest,
            )
            async with db.link() as link:
                await link.execute("DELETE FROM rulesets")
                await link.execute(
                    "INSERT INTO rulesets (number, published_at, actor, reason, content, record)"
                    " VALUES (2, now(), 'a', 'r', $1, $2)",
                    *(content.model_dump_json(exclude_none=True), dump(published).decode()),
                )
            found = await explain(db, kafka_settings, Folder(tmp_path), stone.id)
            assert Rule.model_validate(found.row) == terms
            assert (found.rate and found.rate["id"]) == rate
    assert list(
        steps(
            dataclasses.replace(found, row=content.rules[0].model_dump(mode="json"), rate=euro.model_dump())
        )
    ) == [
        'holds where {"carat": {"min": 0, "max": null, "below": null}}',
        "at 917431 cents per million US cents (r1)",
        "+700 cents",
        "rounded half_up to 9900 above a multiple of 10000 cents",
        "not below 5000 cents",
    ]
