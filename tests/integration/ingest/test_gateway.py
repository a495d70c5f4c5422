"""The gateway over the simulated vendor's real HTTP, with facts kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from connectors.alerts import LoggedAlerts
from connectors.budget import Budget
from connectors.feeds.registry import open_accounts
from connectors.gateway import Gateway, gateway_app
from runtime.settings import DemoSettings, FeedsSettings, Settings, VendorSettings
from schemas.facts import FactHeaders, Kind, Withdraw
from schemas.gateway import DEADLINE_HEADER, WAIT_HEADER, Counted, Finding, Held, Ordered, Refusal, Seen
from schemas.seq import make_seq
from schemas.stone import Availability
from tests.integration.ingest.conftest import MakeVendor, SimulatedVendor

FEED = "nivoda-natural"
TOKEN, FORMER = "the present service token", "the former service token"


class Facts:
    """The raw log, in memory; may be told to fail."""

    def __init__(self) -> None:
        self.written: list[tuple[FactHeaders, bytes]] = []

    async def publish(self, headers: FactHeaders, value: bytes) -> int | None:
        await asyncio.sleep(0)
        self.written.append((headers, value))
        return len(self.written) - 1

    def kinds(self) -> list[Kind]:
        return [headers.kind for headers, _ in self.written]


class Door:
    """The gateway, and what stands behind it."""

    def __init__(
        self, http: httpx.AsyncClient, facts: Facts, budget: Budget, vendor: SimulatedVendor
    ) -> None:
        self.http, self.facts, self.budget, self.vendor = http, facts, budget, vendor
        self.stones = sorted(vendor.available(FEED))

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(
            method, f"/v1/{FEED}{path}", json=body, headers={"Authorization": f"Bearer {TOKEN}"} | named
        )

    async def hold(self, stone: str, **headers: str) -> httpx.Response:
        return await self.ask("POST", f"/stones/{stone}/hold", **headers)

    async def seen(self, stone: str) -> Seen:
        reply = await self.ask("GET", f"/stones/{stone}/availability")
        assert reply.status_code == 200, reply.text
        return msgspec.json.decode(reply.content, type=Seen)


@asynccontextmanager
async def opened(vendor: SimulatedVendor) -> AsyncIterator[Door]:
    settings = VendorSettings(
        url=vendor.url, username="demo@adamas.test", password=SecretStr("demo-vendor-password")
    )
    facts = Facts()
    async with open_accounts(
        Settings(settings, FeedsSettings(), DemoSettings()), 3, lambda: True, LoggedAlerts()
    ) as accounts:
        gateway = Gateway(accounts, facts)
        app = gateway_app(gateway, [TOKEN.encode(), FORMER.encode()])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
            door = Door(http, facts, accounts[0].budget, vendor)
            # Logged in, so that each operation's facts stand alone.
            await door.seen(door.stones[-1])
            facts.written.clear()
            yield door
        await gateway.drained()


def refused(reply: httpx.Response, status: int, error: str) -> Refusal:
    assert reply.status_code == status, reply.text
    refusal = msgspec.json.decode(reply.content, type=Refusal)
    assert refusal.error == error
    return refusal


async def eventually(
    holds: Callable[[], bool] | Callable[[], Awaitable[bool]], timeout_s: float = 60
) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


async def test_what_the_vendor_says_of_a_stone_is_in_the_log_before_it_is_answered(
    vendor: MakeVendor,
) -> None:
    simulated = vendor(stones=300, seed=3)
    async with opened(simulated) as door:
        stone = door.stones[0]
        seen = await door.seen(stone)
        assert (seen.availability, seen.gone, seen.in_log) == (Availability.AVAILABLE, False, True)
        ((headers, value),) = door.facts.written
        assert (headers.kind, headers.rows, headers.run, headers.seq) == (Kind.ITEM, 1, None, seen.seq)
        assert make_seq(3, 1) < seen.seq == door.budget.last_seq
        whole = await door.ask("GET", f"/stones/{stone}")
        assert whole.content == door.facts.written[1][1]
        assert msgspec.json.decode(value)["data"]["get_diamond_by_id"]["diamond"]["id"] == stone
        counted = msgspec.json.decode(
            (await door.ask("POST", "/count", {"dollars_per_carat": [0, 10_000_000]})).content, type=Counted
        )
        assert counted.count == len(door.stones)
        gone = await door.seen("00000000-0000-4000-8000-000000000000")
        assert (gone.gone, gone.availability) == (True, Availability.UNAVAILABLE)
        headers, value = door.facts.written[-1]
        assert headers.kind is Kind.WITHDRAW
        assert msgspec.json.decode(value, type=Withdraw).reason == "gone"
        refused(await door.ask("GET", "/stones/00000000-0000-4000-8000-000000000000"), 404, "gone")
        refused(
            await door.http.get("/v1/nobody/stones/x", headers={"Authorization": f"Bearer {TOKEN}"}),
            404,
            "unknown_feed",
        )


async def test_a_hold_withdraws_first_and_the_whole_stone_follows_under_a_later_grant(
    vendor: MakeVendor,
) -> None:
    simulated = vendor(stones=300, seed=4)
    async with opened(simulated) as door:
        stone = door.stones[0]
        reply = await door.hold(stone)
        assert reply.status_code == 200, reply.text
        held = msgspec.json.decode(reply.content, type=Held)
        assert held.until is not None
        assert (held.stone.availability, held.stone.in_log) == (Availability.ON_HOLD, True)
        (withdrawn, _), (item, _) = door.facts.written
        assert [withdrawn.kind, item.kind] == [Kind.WITHDRAW, Kind.ITEM]
        assert withdrawn.seq < item.seq == held.stone.seq
        assert float(reply.headers[WAIT_HEADER]) >= 0

        refused(await door.hold(stone), 409, "refused")
        released = await door.ask("POST", f"/stones/{stone}/release", {"hold": held.hold})
        assert msgspec.json.decode(released.content, type=Seen).availability is Availability.AVAILABLE
        again = await door.ask("POST", f"/stones/{stone}/release", {"hold": held.hold})
        assert again.status_code == 200, "what is over already is released"

        simulated.set_faults({"hold_denied": {"probability": 1}})
        refused(await door.hold(stone), 409, "refused")
        await eventually(lambda: door.facts.kinds()[-1] is Kind.ITEM)
        simulated.set_faults({"hold_denied": None, "hold_taken": {"probability": 1}})
        refused(await door.hold(stone), 409, "refused")
        await eventually(lambda: door.facts.kinds()[-1] is Kind.ITEM)
        assert (await door.seen(stone)).availability is Availability.ON_HOLD


async def test_an_order_is_all_or_none(vendor: MakeVendor) -> None:
    simulated = vendor(stones=300, seed=5)
    async with opened(simulated) as door:
        first, second, third = door.stones[:3]
        reply = await door.ask("POST", "/orders", {"stones": [first, second], "reference": "A-1"})
        ordered = msgspec.json.decode(reply.content, type=Ordered)
        assert [seen.availability for seen in ordered.stones] == [Availability.UNAVAILABLE] * 2
        assert door.facts.kinds()[:2] == [Kind.WITHDRAW] * 2
        assert sorted(door.facts.kinds()[2:]) == [Kind.ITEM] * 2
        refused(
            await door.ask("POST", "/orders", {"stones": [third, first], "reference": "A-2"}), 409, "refused"
        )
        assert (await door.seen(third)).availability is Availability.AVAILABLE
        refused(await door.ask("POST", "/orders", {"stones": [], "reference": "A-3"}), 422, "bad_request")
        assert simulated.stats()["orders"] == 1


async def test_a_hold_without_an_answer_is_found_out_and_never_asked_for_twice(vendor: MakeVendor) -> None:
    simulated = vendor(stones=300, seed=6)
    async with opened(simulated) as door:
        first, second = door.stones[:2]
        simulated.set_faults({"timeout_after_mutation": {"probability": 1, "hang_s": 0.3}})
        reply = await door.hold(first)
        held = msgspec.json.decode(reply.content, type=Held)
        assert (held.until, held.stone.availability) == (None, Availability.ON_HOLD)
        simulated.set_faults({"timeout_after_mutation": {"probability": 1, "hang_s": 30}})
        began = asyncio.get_running_loop().time()
        refused(await door.hold(second, X_Deadline_Ms="700"), 504, "deadline_passed")
        assert asyncio.get_running_loop().time() - began < 25
        await eventually(lambda: door.facts.kinds()[-1] is Kind.ITEM)
        assert simulated.stats()["operations"]["create_hold"] == 2
        assert (await door.seen(second)).availability is Availability.ON_HOLD


async def test_until_the_stone_has_been_read_it_stays_withdrawn(vendor: MakeVendor) -> None:
    simulated = vendor(stones=300, seed=7)
    async with opened(simulated) as door:
        stone = door.stones[0]
        simulated.set_faults({"http_5xx": {"probability": 1, "operations": ["get_diamond_by_id"]}})
        reply = await door.hold(stone, X_Deadline_Ms="1500")
        held = msgspec.json.decode(reply.content, type=Held)
        assert (held.stone.availability, held.stone.in_log) == (Availability.UNAVAILABLE, False)
        assert set(door.facts.kinds()) == {Kind.WITHDRAW}
        assert door.facts.kinds().count(Kind.WITHDRAW) > 1, "a page read meanwhile must not bring it back"
        simulated.set_faults({"http_5xx": None})
        await eventually(lambda: door.facts.kinds()[-1] is Kind.ITEM)
        seqs = [headers.seq for headers, _ in door.facts.written]
        assert seqs[-1] == max(seqs)


async def test_whoever_may_not_ask_spends_nothing(vendor: MakeVendor) -> None:
    simulated = vendor(stones=300, seed=8)
    async with opened(simulated) as door:
        path = f"/stones/{door.stones[0]}/availability"
        before = simulated.stats()["requests"]
        for authorization in ("", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"):
            refused(await door.ask("GET", path, Authorization=authorization), 401, "unauthorized")
        assert simulated.stats()["requests"] == before
        former = await door.ask("GET", path, Authorization=f"Bearer {FORMER}")
        assert former.status_code == 200
        refused(await door.ask("GET", path, X_Deadline_Ms="soon"), 422, "bad_request")


@pytest.mark.parametrize(
    ("fault", "pause_s"),
    [
        ({"http_403_html": {"probability": 1}}, 5),
        ({"http_429": {"probability": 1, "retry_after_s": 4}}, 4),
    ],
)
async def test_what_cannot_be_answered_in_time_is_refused_at_entry(
    vendor: MakeVendor, fault: dict[str, Any], pause_s: float
) -> None:
    simulated = vendor(stones=300, seed=9)
    async with opened(simulated) as door:
        stone = door.stones[0]
        await door.seen(stone)
        simulated.set_faults(fault)
        path = f"/stones/{stone}/availability"
        asked = simulated.stats()["requests"]
        refusal = await door.ask("GET", path, **{DEADLINE_HEADER: "1000"})
        refused(refusal, 503, "too_late")
        simulated.set_faults(dict.fromkeys(fault))
        began = asyncio.get_running_loop().time()
        refusal = await door.ask("GET", path, **{DEADLINE_HEADER: "2000"})
        refused(refusal, 503, "too_late")
        assert asyncio.get_running_loop().time() - began < 1.9, "at entry, not after waiting"
        assert 1 <= int(refusal.headers["Retry-After"]) <= pause_s
        assert simulated.stats()["requests"] == asked + 1
        assert (await door.seen(stone)).availability is Availability.AVAILABLE, "the default is patient"


async def test_the_probe_finds_out_each_switch_within_the_budget(vendor: MakeVendor) -> None:
    simulated = vendor(stones=300, seed=10)
    async with opened(simulated) as door:

        async def found() -> dict[str, str]:
            reply = await door.ask("POST", "/probe")
            findings = msgspec.json.decode(reply.content, type=list[Finding])
            return {finding.name: finding.found for finding in findings}

        calm = await found()
        assert calm["money filter unit"].startswith("dollars")
        assert calm["ends of money ranges"] == "199.50 is in [100, 199]"
        assert calm["labgrown left out"].startswith("natural only")
        assert calm["offset cap"].startswith("50000 or lower")
        assert calm["limit over 50"] == "60 asked for, 50 given"
        assert calm["total_count"].startswith("items in the page")
        simulated.set_faults({"money_ranges_exact": {"probability": 1}})
        assert (await found())["ends of money ranges"].startswith("199.50 is not in")
        switches = (
            "money_in_cents",
            "labgrown_omitted_both",
            "offset_uncapped",
            "limit_error",
        )
        simulated.set_faults({switch: {"probability": 1} for switch in switches})
        turned = await found()
        assert turned["money filter unit"].startswith("cents")
        assert "ends of money ranges" not in turned, "in cents, neighbours share a bound"
        assert turned["labgrown left out"].startswith("both")
        assert turned["offset cap"].startswith("none at 50000")
        assert turned["limit over 50"].startswith("refused")
        assert simulated.stats()["violations"] == 0
