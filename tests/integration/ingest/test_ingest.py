"""Ingest against the simulated vendor, real Kafka and real Postgres."""

from __future__ import annotations

import asyncio
import random
import time
from itertools import pairwise

import httpx
import msgspec

from adamas.gauges import parse
from adamas.ports import free_ports
from connectors.postgres.events import Event, list_events
from connectors.simulator.faults import KINDS
from runtime.postgres import Database
from schemas.events import Kind as EventKind
from schemas.facts import Complete, Kind, Plan
from schemas.feeds import FEEDS, STANDARD
from tests.integration.ingest.conftest import (
    VENDOR_PASSWORD,
    Fact,
    Ingest,
    MakeIngest,
    MakeVendor,
    SimulatedVendor,
)

FAULTS = {
    "short_page": {"probability": 0.05, "seed": 1},
    "empty_then_more": {"probability": 0.03, "seed": 2},
    "count_drift": {"probability": 0.3, "seed": 3},
    "http_5xx": {"probability": 0.03, "seed": 4},
    "html_body": {"probability": 0.03, "seed": 5},
    "http_429": {"probability": 0.01, "seed": 6, "retry_after_s": 1},
    "partial_data_with_errors": {"probability": 0.02, "seed": 7},
    "token_revoked": {"probability": 0.02, "seed": 8},
    "latency": {"probability": 1, "median_ms": 150, "tail_ms": 1500, "seed": 9},
    "null_items": {"probability": 0.03, "seed": 10},
    "hang": {"probability": 0.003, "hang_s": 2, "seed": 11},
    "auth_401": {"probability": 1},
    "dirty_enums": {"probability": 0.004, "seed": 12},
    "labgrown_wrong": {"probability": 0.3, "seed": 13},
    "null_certificate": {"probability": 0.05, "seed": 14},
    "null_image": {"probability": 0.3, "seed": 15},
    "null_video": {"probability": 0.3, "seed": 16},
}


class _Diamond(msgspec.Struct):
    id: str


class _Item(msgspec.Struct):
    diamond: _Diamond


class _List(msgspec.Struct):
    items: list[_Item | None]


class _Data(msgspec.Struct):
    diamonds_by_query: _List


class _Reply(msgspec.Struct):
    data: _Data


def ids(facts: list[Fact], feed: str) -> set[str]:
    pages = [fact for fact in facts if fact.headers.feed == feed and fact.headers.kind is Kind.PAGE]
    replies = [msgspec.json.decode(page.value, type=_Reply) for page in pages]
    return {item.diamond.id for reply in replies for item in reply.data.diamonds_by_query.items if item}


def assert_all_there(facts: list[Fact], simulated: SimulatedVendor) -> None:
    for feed in STANDARD:
        assert ids(facts, feed) == simulated.available(feed)


def assert_within_budget(simulated: SimulatedVendor) -> None:
    stats = simulated.stats()
    assert stats["violations"] == 0
    assert stats["most_in_a_second"] <= 25


def most_a_second(simulated: SimulatedVendor, enough: float) -> float:
    """Requests a second that the vendor saw in the best of a few spans: others may be using the machine."""
    most = 0.0
    for _ in range(5):
        began, before = time.monotonic(), simulated.stats()["requests"]
        time.sleep(4)
        most = max(most, (simulated.stats()["requests"] - before) / (time.monotonic() - began))
        if most >= enough:
            break
    return most


def test_a_run_brings_every_stone_within_the_budget(vendor: MakeVendor, ingest: MakeIngest) -> None:
    simulated = vendor(stones=9_000, seed=5)
    began = time.monotonic()
    reading = ingest(simulated)
    facts = reading.wait_complete(120)
    assert_all_there(facts, simulated)
    assert_within_budget(simulated)
    assert reading.child.stop() == 0
    for feed in STANDARD:
        own = [fact for fact in facts if fact.headers.feed == feed]
        kinds = [fact.headers.kind for fact in own]
        assert kinds[:2] == [Kind.LEASE, Kind.PLAN]
        assert kinds[-1] is Kind.COMPLETE
        plan, complete = (
            msgspec.json.decode(own[1].value, type=Plan),
            msgspec.json.decode(own[-1].value, type=Complete),
        )
        assert kinds.count(Kind.EMPTY) == len(plan.partitions)
        assert complete.watermark == plan.watermark
        assert complete.rows == len(ids(facts, feed)) == plan.counted
        assert abs(plan.watermark / 1000 - time.time()) < time.monotonic() - began + 2
        seqs = [fact.headers.seq for fact in own]
        assert seqs[1] == min(seqs[1:])


def test_the_budget_is_used_and_partitions_cover_every_price(vendor: MakeVendor, ingest: MakeIngest) -> None:
    simulated = vendor(stones=30_000, seed=6)
    reading = ingest(simulated)
    facts = reading.wait_for_facts(60, 60)
    assert most_a_second(simulated, enough=24) >= 24
    assert_within_budget(simulated)
    for fact in facts:
        if fact.headers.kind is Kind.PLAN:
            partitions = msgspec.json.decode(fact.value, type=Plan).partitions
            assert partitions[0].dollars_per_carat_from == 0
            assert partitions[-1].dollars_per_carat_to == 2**31 - 1
            for lower, upper in pairwise(partitions):
                assert upper.dollars_per_carat_from == lower.dollars_per_carat_to + 1


def test_nothing_is_missing_with_every_fault_on(vendor: MakeVendor, ingest: MakeIngest) -> None:
    assert FAULTS.keys() <= KINDS.keys()
    simulated = vendor(stones=3_000, seed=7)
    simulated.set_faults(FAULTS)
    reading = ingest(simulated)
    facts = reading.wait_complete(120)
    assert_all_there(facts, simulated)
    assert_within_budget(simulated)


def test_a_ban_stops_everything_is_an_event_and_ends(
    vendor: MakeVendor, ingest: MakeIngest, database: str
) -> None:
    simulated = vendor(stones=1_000, seed=8)
    reading = ingest(simulated)
    reading.wait_until(lambda facts: any(f.headers.kind is Kind.PLAN for f in facts), 60)
    simulated.set_faults({"http_403_html": {"probability": 1, "duration_s": 2}})
    time.sleep(1.5)
    before = simulated.stats()["requests"]
    time.sleep(2)
    assert simulated.stats()["requests"] == before
    facts = reading.wait_complete(120)
    assert_all_there(facts, simulated)
    ban = asyncio.run(events_of(database))[0]
    assert (ban.kind, ban.subject, ban.open) == (EventKind.VENDOR_STOPPED, "nivoda", False)
    assert "403" in ban.text


def test_a_refused_login_is_an_event_before_ingest_ends_and_ends_with_the_right_password(
    vendor: MakeVendor, ingest: MakeIngest, database: str
) -> None:
    simulated = vendor(stones=300, seed=12, token_life_s=4)
    reading = ingest(simulated, incremental_every_s=1, password="another password")
    assert_ended_by_a_refused_login(reading, database)
    assert simulated.stats()["requests"] == 1, "the vendor locks accounts"

    reading.child.environment["ADAMAS_VENDOR_PASSWORD"] = VENDOR_PASSWORD
    reading.child.start()
    reading.wait_complete(120)
    assert not asyncio.run(open_events_of(database))

    # The vendor knows another password now, and takes the old tokens as long as they live.
    simulated.child.kill()
    simulated.child.environment["ADAMAS_SIM_PASSWORD"] = "a new password"
    simulated.child.start()
    assert_ended_by_a_refused_login(reading, database)


def assert_ended_by_a_refused_login(reading: Ingest, database: str) -> None:
    assert reading.child.process.wait(timeout=60) == 1
    (event,) = asyncio.run(open_events_of(database))
    assert (event.kind, event.subject, event.count) == (EventKind.VENDOR_REFUSES_LOGIN, "nivoda", 1)
    assert "ADAMAS_VENDOR_PASSWORD" in event.text
    assert "another password" not in event.text
    assert "ADAMAS_VENDOR_PASSWORD" in reading.child.log.read_text().splitlines()[-1]


async def open_events_of(dsn: str) -> list[Event]:
    return [event for event in await events_of(dsn) if event.open]


async def events_of(dsn: str) -> list[Event]:
    async with Database(dsn, "test") as database, database.link() as link:
        return await list_events(link)


def test_killed_at_any_moment_a_run_resumes_with_what_is_missing(
    vendor: MakeVendor, ingest: MakeIngest
) -> None:
    chance = random.Random(9)
    simulated = vendor(stones=8_000, seed=9)
    simulated.set_faults(FAULTS)
    reading = ingest(simulated)
    for _ in range(3):
        reading.wait_for_facts(len(reading.log.read()) + 10, 60)
        time.sleep(chance.random())
        reading.child.kill()
        reading.child.start()
    facts = reading.wait_complete(120)
    assert_all_there(facts, simulated)
    assert_within_budget(simulated)
    for feed in STANDARD:
        own = [fact.headers for fact in facts if fact.headers.feed == feed]
        assert len({h.run for h in own if h.kind is Kind.COMPLETE}) == 1
        last_plan = max(i for i, h in enumerate(own) if h.kind is Kind.PLAN)
        pages = [(h.partition, h.page, h.reread) for h in own[last_plan:] if h.kind is Kind.PAGE]
        assert len(pages) == len(set(pages)), "a page in the log was fetched again"


def test_a_complete_run_starts_nothing_after_a_restart(vendor: MakeVendor, ingest: MakeIngest) -> None:
    simulated = vendor(stones=200, seed=10)
    reading = ingest(simulated)
    present = len(reading.wait_complete(120))
    assert reading.child.stop() == 0
    health = free_ports(1)[0]
    reading.child.environment["ADAMAS_HEALTH_PORT"] = str(health)
    reading.child.start()
    facts = reading.wait_until(lambda facts: len(facts) >= present + len(FEEDS), 60)
    time.sleep(5)
    figures = parse(httpx.get(f"http://127.0.0.1:{health}/metrics").text)
    # Whoever looks sees the sweep before: the next one may be a day away.
    assert figures["adamas_ingest_swept_stones"] == figures["adamas_ingest_expected_stones"] == 200
    assert [fact.headers.kind for fact in reading.log.read()[present:]] == [Kind.LEASE] * len(FEEDS)
    assert len(facts) == present + len(FEEDS)
