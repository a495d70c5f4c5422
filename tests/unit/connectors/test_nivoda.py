"""Nivoda's client against each kind of trouble, over HTTP's own objects and without a socket."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from connectors.budget import Budget, Grant, Priority, StaleGrant
from connectors.budget.pauses import GrowingPause
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import NoData, Session, _fresh_s
from connectors.feeds.protocol import NO_UPPER_END, Banned, NotLoggedIn, Page, Slice
from runtime.settings import VendorSettings
from schemas.errors import Fatal, Invalid, Retriable, SlowDown
from schemas.events import Kind
from schemas.feeds import FEEDS
from tests.unit.connectors.test_budget import AlertsSeen
from tests.unit.connectors.vendor_stub import (
    BAN,
    DATE_MS,
    HTML,
    TOO_MANY,
    Answer,
    Fault,
    Stone,
    VendorStub,
    errors,
    no_fault,
)

STOCK = [Stone(f"n{i:03}", 10.0 * i) for i in range(120)] + [Stone("lab", 150, lab_grown=True)]
EVERYTHING = Slice()


class Case:
    def __init__(self, stub: VendorStub, budget: Budget, http: httpx.AsyncClient) -> None:
        settings = VendorSettings(
            url="http://vendor.test/api",
            username="demo",
            password=SecretStr("a secret"),
            money_ranges="whole",
        )
        self.stub, self.budget = stub, budget
        self.alerts = AlertsSeen()
        self.session = Session(settings, budget, http, self.alerts)
        self.feed = NivodaFeed(FEEDS["nivoda-natural"], self.session, budget)

    async def grant(self) -> Grant:
        return await self.budget.grant(Priority.FULL)

    async def search(self, page: int = 0, part: Slice = EVERYTHING) -> Page:
        with await self.grant() as grant:
            return await self.feed.search(part, page, grant)

    async def count(self, part: Slice = EVERYTHING) -> int:
        with await self.grant() as grant:
            return await self.feed.count(part, grant)


@asynccontextmanager
async def opened(fault: Fault = no_fault, logged_in: bool = True, **stub: Any) -> AsyncIterator[Case]:
    vendor = VendorStub(STOCK, fault, **stub)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(vendor)) as http:
        case = Case(vendor, Budget(1), http)
        if logged_in:
            await case.session.log_in()
        yield case


def on(operation: str, answer: Answer, times: int = 1) -> Fault:
    """Answer the first requests of an operation otherwise."""
    return lambda asked, number, _: answer if asked == operation and number < times else None


async def test_a_page_is_kept_byte_for_byte_and_its_stones_are_known() -> None:
    async with opened() as case:
        page = await case.search(2)
    assert page.ids == tuple(f"n{i:03}" for i in range(100, 120))
    assert page.rows == 20
    assert b'"id":"DIAMOND/n100"' in page.body
    operation, variables = case.stub.asked[-1]
    assert (operation, variables["offset"], variables["limit"]) == ("search", 100, 50)
    assert variables["query"] == {
        "labgrown": False,
        "availability": ["AVAILABLE"],
        "dollar_per_carat": {"from": 0, "to": NO_UPPER_END},
    }


async def test_every_part_of_a_slice_reaches_the_query() -> None:
    part = Slice((100, 199), (0.5, 0.9995), ("ROUND",), DATE_MS)
    async with opened() as case:
        assert await case.count(part) == 0
        assert await case.count(Slice((100, 199))) == 10
    assert case.stub.asked[-2][1]["query"] == {
        "labgrown": False,
        "availability": ["AVAILABLE"],
        "dollar_per_carat": {"from": 100, "to": 199},
        "sizes": [{"from": 0.5, "to": 0.9995}],
        "shapes": ["ROUND"],
        "updated": {"from": "2025-05-01T10:00:00.000Z"},
    }


@pytest.mark.parametrize("bounds", [(200, 199), (-1, 5)])
def test_a_range_that_runs_backwards_is_refused_before_it_is_asked(bounds: tuple[int, int]) -> None:
    with pytest.raises(Invalid, match="must run upwards"):
        Slice(bounds)
    with pytest.raises(Invalid, match="must run upwards"):
        Slice(carats=bounds)


@pytest.mark.parametrize(("vendor_counts_in", "unit"), [(1, 1), (100, 100)])
async def test_the_probe_tells_dollars_from_cents(vendor_counts_in: int, unit: int) -> None:
    async with opened(logged_in=False, money_unit=vendor_counts_in) as case:
        case.stub.stones = [Stone(f"n{i}", 20.0 + i) for i in range(120)]
        assert await case.feed.prepare(Priority.FULL) == DATE_MS
        # In cents, of which a price a carat has parts, neighbours share the bound.
        assert await case.count(Slice((30, 39))) == (10 if unit == 1 else 11)
    assert case.stub.asked[-1][1]["query"]["dollar_per_carat"] == {
        "from": 30 * unit,
        "to": 39 if unit == 1 else 4_000,
    }


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (HTML, Retriable),
        (Answer(502, b"bad gateway", "text/plain"), Retriable),
        (Answer(500, b"{}"), Retriable),
        (Answer(503, b"", "text/plain", (("Retry-After", "7"),)), SlowDown),
        (Answer(200, b'{"data": {"diamonds_by_'), Retriable),
        (Answer(200, b'{"data": null}'), NoData),
        (Answer(200, b'{"data": {"diamonds_by_query": {"items": null}}}'), Retriable),
        (errors("something went wrong in a resolver"), NoData),
        (TOO_MANY, SlowDown),
        (BAN, Banned),
        (Answer(403, b'{"errors": [{"message": "higher access level needed"}]}'), Invalid),
        (errors('Field "updatedAt" is not defined by type DiamondQuery'), Invalid),
        (errors("Variable got invalid value", status=400), Invalid),
        (Answer(404, b"{}"), Invalid),
        (errors("jwt expired"), NotLoggedIn),
        (Answer(401, b"{}"), NotLoggedIn),
    ],
)
async def test_each_trouble_has_its_fate(answer: Answer, fate: type[Exception]) -> None:
    async with opened(on("search", answer)) as case:
        with pytest.raises(fate) as raised:
            await case.search()
        assert type(raised.value) is fate
        assert "a secret" not in str(raised.value)


async def test_the_vendors_own_pause_is_kept() -> None:
    async with opened(on("search", Answer(429, b"{}", headers=(("Retry-After", "7"),)))) as case:
        with pytest.raises(SlowDown) as raised:
            await case.search()
    assert raised.value.after_s == 7


@pytest.mark.parametrize(
    "error", [httpx.ReadTimeout("slow"), httpx.ConnectError("no"), httpx.ReadError("reset")]
)
async def test_no_answer_is_retriable(error: httpx.TransportError) -> None:
    def fail(_request: httpx.Request) -> httpx.Response:
        raise error

    async with httpx.AsyncClient(transport=httpx.MockTransport(fail)) as http:
        with pytest.raises(Retriable, match=type(error).__name__):
            await Case(VendorStub(), Budget(1), http).session.log_in()


async def test_partial_data_is_marked() -> None:
    body = {"diamonds_by_query": {"items": [None, {"diamond": {"id": "n001"}}, {"diamond": None}]}}
    async with opened(on("search", errors("Enum cannot represent value", body))) as case:
        page = await case.search()
    assert page.partial
    assert page.ids == (None, "n001", None)


async def test_a_refused_token_is_replaced_once_for_everybody() -> None:
    async with opened() as case:
        case.stub.token = "token-2"
        for _ in range(2):
            with pytest.raises((NotLoggedIn, StaleGrant)):
                await case.search()
        assert (await case.search()).rows == 50
        assert case.stub.count_of("login") == 2
        assert case.stub.tokens_seen[-1] == "Bearer token-2"


async def test_a_login_goes_before_and_gives_the_grant_back() -> None:
    async with opened(logged_in=False) as case:
        with pytest.raises(StaleGrant):
            await case.search()
        assert (await case.search()).rows == 50
    assert [operation for operation, _ in case.stub.asked] == ["login", "search"]


@pytest.mark.parametrize("taken_before", [0, 1])
async def test_a_wrong_password_stops_the_process_is_told_once_and_not_named(taken_before: int) -> None:
    def refuse(operation: str, number: int, _variables: dict[str, Any]) -> Answer | None:
        return (
            errors("Unauthorized: wrong password") if (operation, number) == ("login", taken_before) else None
        )

    async with opened(refuse, logged_in=bool(taken_before)) as case:
        assert not case.alerts.open
        if taken_before:
            case.stub.token = "token-2"
            with pytest.raises(NotLoggedIn):
                await case.search()
        for _ in range(2):
            with pytest.raises(Fatal, match="refuses the login of demo") as raised:
                await case.search()
        assert case.stub.count_of("login") == taken_before + 1, "the vendor locks accounts"
        assert case.alerts.open == {(Kind.VENDOR_REFUSES_LOGIN, "vendor")}
        (text,) = case.alerts.texts
    assert (
        "wrong password); set ADAMAS_VENDOR_USERNAME and ADAMAS_VENDOR_PASSWORD" in text == str(raised.value)
    )
    assert "a secret" not in text


async def test_a_login_that_is_taken_ends_what_a_former_process_told() -> None:
    async with opened(logged_in=False) as case:
        case.alerts.raised(Kind.VENDOR_REFUSES_LOGIN, "vendor", "told by a former process")
        await case.session.log_in()
        assert not case.alerts.open


async def test_a_login_that_was_never_sent_holds_nobody_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def too_late(*_: object) -> None:
        monkeypatch.undo()
        raise StaleGrant("granted too long ago to be written now")

    async with opened(logged_in=False) as case:
        monkeypatch.setattr(case.session, "_post", too_late)
        with pytest.raises(StaleGrant):
            await case.session.log_in()
        await case.session.log_in()
        assert case.stub.count_of("login") == 1


async def test_a_login_without_answer_is_not_repeated_by_everybody_at_once() -> None:
    async with opened(on("login", HTML), logged_in=False) as case:
        for _ in range(5):
            with pytest.raises(Retriable):
                await case.session.log_in()
        assert case.stub.count_of("login") == 1


def token(**claims: float) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(value)).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.signature"


@pytest.mark.parametrize(
    ("text", "fresh_s"),
    [
        ("no jwt at all", 6 * 3600 - 300),
        (token(iat=1_000, exp=1_000 + 24 * 3600), 6 * 3600 - 300),
        (token(iat=1_000, exp=1_000 + 3600), 3300),
        (token(iat=1_000, exp=1_002), 1),
    ],
)
def test_a_token_is_replaced_before_its_end_by_whichever_clock_is_first(text: str, fresh_s: float) -> None:
    assert _fresh_s(text) == fresh_s


def test_a_pause_doubles_and_several_refusals_at_once_are_one() -> None:
    now = 100.0
    pause = GrowingPause(first_s=5, longest_s=15, now=lambda: now)
    assert [pause.next_s(), pause.next_s()] == [5, 5]
    pause.over()
    waited: list[float] = []
    for _ in range(3):
        now += 100
        waited.append(pause.next_s())
    assert waited == [10, 15, 15]
    now += 100
    pause.over()
    assert pause.next_s() == 5
