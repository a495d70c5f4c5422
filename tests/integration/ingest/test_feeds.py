"""The contract of a feed: the same promises of every vendor's module, kept over real HTTP to the simulated vendors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, TypeVar

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from adamas.ports import free_ports
from connectors.alerts import Alerts, LoggedAlerts
from connectors.budget import Budget, Grant, Priority, StaleGrant
from connectors.feeds.protocol import NO_UPPER_END, Banned, Feed, Gone, Refused, Slice
from connectors.feeds.registry import open_accounts
from connectors.ingest.activity import Activity
from connectors.ingest.asking import Asker
from connectors.ingest.canary import Canary
from runtime.settings import DemoSettings, FeedsSettings, Settings, VendorSettings
from schemas.errors import Fatal, Invalid, Retriable, SlowDown
from schemas.events import Kind
from schemas.feeds import DEMO, FEEDS
from schemas.stone import Availability, Content
from streams.normalise import normalisers
from tests.integration.ingest.conftest import SIMULATE, Child, SimulatedVendor, wait_for_answer
from tests.unit.connectors.test_budget import AlertsSeen

NORMALISERS = normalisers()
ResultT = TypeVar("ResultT")


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedVendor]:
    port = free_ports(1)[0]
    # A budget is tried elsewhere; here it would only cost time.
    settings = {"stones": 600, "demo_stones": 300, "seed": 11, "requests_per_s": 1000, "bad_share": 0.02}
    named = {f"ADAMAS_SIM_{name.upper()}": str(value) for name, value in settings.items()}
    child = Child(SIMULATE, {**named, "ADAMAS_SIM_PORT": str(port)})
    made = SimulatedVendor(child, f"http://127.0.0.1:{port}")
    try:
        wait_for_answer(made)
        yield made
    finally:
        child.close()


class Case:
    def __init__(self, feed: Feed, budget: Budget, simulated: SimulatedVendor) -> None:
        self.feed, self.budget, self.simulated = feed, budget, simulated
        self.normaliser = NORMALISERS[feed.name]

    async def ask(self, call: Callable[[Grant], Awaitable[ResultT]]) -> ResultT:
        while True:
            try:
                with await self.budget.grant(Priority.LIVE) as grant:
                    return await call(grant)
            except StaleGrant:
                continue

    async def pages(self, part: Slice) -> list[tuple[bytes, tuple[str | None, ...]]]:
        found: list[tuple[bytes, tuple[str | None, ...]]] = []
        while True:
            number = len(found)
            page = await self.ask(lambda grant, number=number: self.feed.search(part, number, grant))  # type: ignore[misc]
            if not page.rows:
                return found
            found.append((page.body, page.ids))

    async def count(self, part: Slice) -> int:
        return await self.ask(lambda grant: self.feed.count(part, grant))

    def contents(self, body: bytes) -> list[Content]:
        read = [item for item in self.normaliser.pages.decode(body) if not isinstance(item, Invalid)]
        contents = []
        for item in read:
            try:
                contents.append(self.normaliser.content(item))
            except Invalid:
                continue
        return contents

    def truths(self) -> dict[str, dict[str, Any]]:
        lines = httpx.get(f"{self.simulated.base}/_sim/stones", params={"feed": self.feed.name}).text
        return {stone["id"]: stone for stone in map(msgspec.json.decode, lines.splitlines())}

    def good(self) -> list[str]:
        return [
            name for name, stone in self.truths().items() if stone["available"] and stone["fault"] is None
        ]


@asynccontextmanager
async def opened(
    simulated: SimulatedVendor,
    name: str,
    password: str = "demo-vendor-password",
    alerts: Alerts = LoggedAlerts(),  # noqa: B008 - it has no state
) -> AsyncIterator[Case]:
    secret = SecretStr(password)
    settings = Settings(
        FeedsSettings(read=name),
        VendorSettings(url=simulated.url, username="demo@adamas.test", password=secret),
        DemoSettings(url=f"{simulated.base}/demo/v2", key=secret),
    )
    async with open_accounts(settings, 1, lambda: True, alerts) as accounts:
        (account,) = accounts
        (feed,) = account.feeds
        account.budget.limit = 1000
        case = Case(feed, account.budget, simulated)
        await feed.prepare(Priority.LIVE)
        yield case


every_feed = pytest.mark.parametrize("name", list(FEEDS))


@every_feed
async def test_paging_brings_every_stone_and_it_is_what_the_vendor_has(
    simulated: SimulatedVendor, name: str
) -> None:
    async with opened(simulated, name) as case:
        pages = await case.pages(Slice())
        truths = case.truths()
        ids = [stone for _, found in pages for stone in found]
        assert set(ids) == {stone for stone, truth in truths.items() if truth["available"]}
        assert len(ids) == len(set(ids)) == await case.count(Slice())
        assert all(len(found) == case.feed.page_size for _, found in pages[:-1])
        contents = {
            content.id.partition(":")[2]: content for body, _ in pages for content in case.contents(body)
        }
        for stone, truth in truths.items():
            if truth["fault"] is not None or not truth["available"]:
                continue
            content = contents[stone]
            assert content.cost_cents == truth["cost_cents"], stone
            assert (content.carat, content.lab_grown) == (truth["carats"], truth["lab_grown"])
            assert content.availability is Availability.AVAILABLE
            assert content.feed == name
        assert len(contents) < len(ids), "the simulator planted no fault: some would prove nothing"


@every_feed
async def test_slices_of_price_and_weight_neither_overlap_nor_gap(
    simulated: SimulatedVendor, name: str
) -> None:
    async with opened(simulated, name) as case:
        whole = await case.count(Slice())
        edges = [0, 100, 500, 1_000, 2_000, 5_000]
        parts = [Slice((low, high - 1)) for low, high in pairwise(edges)]
        parts.append(Slice((edges[-1], NO_UPPER_END)))
        assert sum([await case.count(part) for part in parts]) == whole
        light = await case.count(Slice(carats=(0, 1.0)))
        heavy = await case.count(Slice(carats=(1.001, 1_000)))
        assert light + heavy == whole
        assert 0 < light < whole


async def test_no_stone_lies_between_two_slices_whatever_a_money_range_is(simulated: SimulatedVendor) -> None:
    """Were 199.50 in neither [100, 199] nor [200, 299], a plan would lose most of a dollar at each of its cuts."""
    simulated.set_faults({"money_ranges_exact": {"probability": 1}})
    try:
        async with opened(simulated, "nivoda-labgrown") as case:
            parts = [Slice((low, high - 1)) for low, high in pairwise([0, *range(60, 240, 6)])]
            parts.append(Slice((parts[-1].dollars_per_carat[1] + 1, NO_UPPER_END)))
            found = [stone for part in parts for _, ids in await case.pages(part) for stone in ids]
            assert set(found) == {stone for stone, truth in case.truths().items() if truth["available"]}
            # What neighbours share lies exactly at a whole dollar.
            assert len(found) < 1.05 * len(set(found))
    finally:
        simulated.set_faults({"money_ranges_exact": None})


@pytest.mark.parametrize("fault", ["dirty_enums", "labgrown_wrong", "null_image", "null_video", "auth_401"])
async def test_what_the_vendor_leaves_out_or_gets_wrong_takes_no_stone_along(
    simulated: SimulatedVendor, fault: str
) -> None:
    simulated.set_faults({fault: {"probability": 1, "seed": 5}})
    try:
        async with opened(simulated, "nivoda-labgrown") as case:
            pages, truths, good = await case.pages(Slice()), case.truths(), set(case.good())
    finally:
        simulated.set_faults({fault: None})
    contents = {made.id.partition(":")[2]: made for body, _ in pages for made in case.contents(body)}
    assert good
    assert good <= contents.keys()
    for stone in good:
        assert contents[stone].lab_grown
        assert contents[stone].cost_cents == truths[stone]["cost_cents"]


@every_feed
async def test_a_stone_by_its_id_is_a_page_of_one(simulated: SimulatedVendor, name: str) -> None:
    async with opened(simulated, name) as case:
        stone = case.good()[0]
        sighting = await case.ask(lambda grant: case.feed.by_id(stone, grant))
        assert sighting.availability is Availability.AVAILABLE
        (content,) = case.contents(sighting.body)
        assert content.id == f"{name}:{stone}"
        (part,) = case.normaliser.pages.split(sighting.body)
        assert case.normaliser.pages.stone(part) == stone
        assert case.contents(case.normaliser.pages.form.around(part)) == [content]
        searched = [made for body, _ in await case.pages(Slice()) for made in case.contents(body)]
        assert content in searched
        with pytest.raises(Gone):
            await case.ask(lambda grant: case.feed.by_id("00000000-0000-4000-8000-000000000000", grant))


@every_feed
async def test_holds_and_orders(simulated: SimulatedVendor, name: str) -> None:
    async with opened(simulated, name) as case:
        first, second = case.good()[1:3]

        async def availability(stone: str) -> Availability:
            return (await case.ask(lambda grant: case.feed.by_id(stone, grant))).availability

        since_ms = await case.feed.prepare(Priority.LIVE)
        held = await case.ask(lambda grant: case.feed.hold(first, grant))
        assert held.until_ms is not None
        assert held.until_ms > since_ms
        assert await availability(first) is Availability.ON_HOLD
        with pytest.raises(Refused):
            await case.ask(lambda grant: case.feed.hold(first, grant))
        await case.ask(lambda grant: case.feed.release(held.id, grant))
        await case.ask(lambda grant: case.feed.release(held.id, grant))
        assert await availability(first) is Availability.AVAILABLE
        changed = await case.pages(Slice(updated_from_ms=since_ms - 1_000))
        assert first in {stone for _, ids in changed for stone in ids}
        assert await case.ask(lambda grant: case.feed.order([first, second], "R-1", grant))
        assert await availability(second) is Availability.UNAVAILABLE
        with pytest.raises(Refused):
            await case.ask(lambda grant: case.feed.order([second], "R-2", grant))
        with pytest.raises((Gone, Refused)):
            await case.ask(lambda grant: case.feed.hold("00000000-0000-4000-8000-000000000000", grant))


@every_feed
async def test_each_trouble_has_its_fate_and_the_budget_knows(simulated: SimulatedVendor, name: str) -> None:
    troubles: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"http_429": {"probability": 1, "retry_after_s": 7}}, SlowDown),
        ({"http_403_html": {"probability": 1}}, Banned),
        ({"http_5xx": {"probability": 1}}, Retriable),
        ({"html_body": {"probability": 1}}, Retriable),
    ]
    for fault, fate in troubles:
        async with opened(simulated, name) as case:
            simulated.set_faults(fault)
            try:
                with pytest.raises(fate) as raised:
                    await case.count(Slice())
            finally:
                simulated.set_faults(dict.fromkeys(fault))
            assert type(raised.value) is fate
            if fate is SlowDown:
                assert case.budget.throttles[Priority.LIVE] == 1
            paused = case.budget.paused()
            assert (paused is not None) is (fate in (SlowDown, Banned))


@every_feed
async def test_a_refused_login_is_an_alert_until_one_is_taken(simulated: SimulatedVendor, name: str) -> None:
    alerts = AlertsSeen()
    with pytest.raises(Fatal, match="refuses our key" if name == DEMO else "refuses the login"):
        async with opened(simulated, name, "another password", alerts):
            pass
    account = DEMO if name == DEMO else "nivoda"
    assert alerts.open == {(Kind.VENDOR_REFUSES_LOGIN, account)}
    assert ("ADAMAS_DEMO_KEY" if name == DEMO else "ADAMAS_VENDOR_PASSWORD") in alerts.texts[0]
    async with opened(simulated, name, alerts=alerts):
        assert not alerts.open


async def test_what_the_demo_vendor_cannot_be_asked_is_refused_before_it_is(
    simulated: SimulatedVendor,
) -> None:
    async with opened(simulated, DEMO) as case:
        before = simulated.stats()["requests"]
        for part in (Slice(shapes=("ROUND",)), Slice(gone=True)):
            with pytest.raises(Invalid, match="filters neither"):
                await case.count(part)
        assert simulated.stats()["requests"] == before


@every_feed
async def test_the_canary_is_silent_as_long_as_nothing_drifts(simulated: SimulatedVendor, name: str) -> None:
    async with opened(simulated, name) as case:
        alerts = AlertsSeen()
        canary = Canary(case.feed, Asker(name, Priority.FULL, case.budget, Activity()), alerts)
        assert await canary.look() == []
        if name == DEMO:
            simulated.set_faults({"demo_drift": {"probability": 1}})
            try:
                drifted = await canary.look()
            finally:
                simulated.set_faults({"demo_drift": None})
            weight, purity = drifted
            assert weight == "weight_ct: is an object, which it never was"
            assert purity.startswith("purity: in none of")
            assert "clarity" in purity
            assert alerts.open == {(Kind.SCHEMA_DRIFT, DEMO)}
            await canary.look()
        assert not alerts.open
