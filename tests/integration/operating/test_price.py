"""Why a stone costs what it costs, from what the sink has written."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from connectors.postgres.store import Store
from operating.archive import Folder
from operating.price import explain
from operating.price_command import app, steps
from operating.raw_log import append
from runtime.kafka import ensure_topics
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind, Plan, PlanPartition, RunKind
from schemas.ruleset import PublishedRuleSet, Rate, Rule, RuleSet, Side
from schemas.stone import Cause, Stone
from schemas.topics import RAW
from streams.pricing.engine import bucket
from streams.rules.store import dump
from tests.unit.connectors_postgres.messages import TOPIC_ID, fold, record
from tests.unit.schemas.stones import make_stone
from tests.unit.streams.items import item, page
from tests.unit.streams.records import FEED

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
    await _write(database, first, later)
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
        assert "14 days" in (now.source.not_shown or "")
        with pytest.raises(Invalid, match="had no price"):
            await explain(db, kafka_settings, Folder(tmp_path), first.id, BEGAN - timedelta(days=1))


async def test_the_page_of_a_price_is_read_where_it_stands(
    database: str, kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    ensure_topics(kafka_settings, [RAW])
    whole, name = page(item(1), item(2)), item(2)["diamond"]["id"]
    fact = FactHeaders(kind=Kind.PAGE, feed=FEED, epoch=1, seq=9)
    ((slot, offset),) = await asyncio.to_thread(append, kafka_settings, [(fact, whole)])
    stone = make_stone(id=f"{FEED}:{name}", feed=FEED, seq=9, raw_offset=offset)
    await _write(database, stone)
    part = PlanPartition(number=0, dollars_per_carat_from=100, dollars_per_carat_to=200, estimate=5_220)
    plan = Plan(
        run="r", feed=FEED, kind=RunKind.FULL, watermark=0, page_size=50, counted=1, partitions=(part,)
    )
    async with Database(database, "test") as db:
        async with db.link() as link:
            await link.execute(
                "INSERT INTO runs (run, feed, kind, state, requested_by, plan) VALUES ('r', $1, 'full', 'running', 't', $2)",
                *(FEED, msgspec.json.encode(plan)),
            )
            await link.execute(
                "INSERT INTO run_partitions (run, number, slice, estimate) VALUES ('r', 0, $1, 5220)",
                msgspec.json.encode(part).decode(),
            )
            await link.execute(
                "INSERT INTO run_pages (run, raw_offset, partition, page, reread, epoch, seq, rows)"
                " VALUES ('r', $1, 0, 2, 0, 1, 9, 2)",
                offset,
            )
        source = (await explain(db, kafka_settings, Folder(tmp_path), stone.id)).source
    assert (source.partition, source.offset, source.kept, source.not_shown) == (slot, offset, "log", None)
    assert (source.sha256, source.size) == (sha256(whole).hexdigest(), len(whole))
    assert source.item == item(2)
    assert source.query is not None
    assert source.answered_at is not None
    assert (source.query.page_size, source.query.dollars_per_carat) == (50, (100, 200))
    assert (
        "at 100 to 200 US dollars a carat; of these, stones 101 to 150 (page 3), answered"
        in source.query.text
    )


def test_without_kafka_a_price_is_explained_at_once_and_says_why_its_page_is_not_shown(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stone = make_stone(updated_at=BEGAN, raw_offset=7)
    asyncio.run(_write(database, stone))
    monkeypatch.setenv("ADAMAS_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", database)
    monkeypatch.setenv("ADAMAS_DATA_ARCHIVE", str(tmp_path))
    began = time.monotonic()
    shown = CliRunner().invoke(app, [stone.id])
    # It took 15 s. Half a second is waited for Kafka; the rest is room for a busy machine.
    assert time.monotonic() - began < 5
    assert shown.exit_code == 0
    assert f"{stone.id}: {stone.price_cents} USD cents" in shown.output
    assert "offset 7" in shown.output
    assert "the page is not shown: Kafka, which keeps pages for 14 days, does not give it now" in shown.output
    assert "ask again when Kafka is back" in shown.output


async def _write(database: str, *stones: Stone) -> None:
    store = Store(database, TOPIC_ID)
    await store.write(fold([record(stone, offset) for offset, stone in enumerate(stones)]))
    await store.close()


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
    await _write(database, stone)
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
