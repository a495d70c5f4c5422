"""A run against a scripted vendor, with the facts kept in memory instead of Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from connectors.budget import Budget, Priority
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import Session
from connectors.feeds.protocol import Feed
from connectors.ingest.activity import Activity
from connectors.ingest.asking import Asker
from connectors.ingest.sweep import FactWriter, Sweep, plan_run
from runtime.settings import VendorSettings
from schemas.errors import Fatal, Invalid, Retriable
from schemas.facts import Complete, FactHeaders, Kind, Plan, RunKind, Split
from schemas.feeds import FEEDS
from tests.unit.connectors.vendor_stub import (
    DATE_MS,
    HTML,
    TOO_MANY,
    Answer,
    Fault,
    Stone,
    VendorStub,
    errors,
    no_fault,
    page_body,
)

STOCK = [Stone(f"n{i:03}", 20.0 + i) for i in range(220)]


class Memory:
    """Takes facts as the publisher does; may fail."""

    def __init__(self) -> None:
        self.facts: list[tuple[FactHeaders, bytes]] = []
        self.failures = 0
        self.refusal: Exception | None = None

    async def publish(self, headers: FactHeaders, value: bytes) -> int:
        await asyncio.sleep(0)
        if self.refusal:
            raise self.refusal
        if self.failures:
            self.failures -= 1
            raise Retriable("Kafka did not take the record")
        self.facts.append((headers, value))
        return len(self.facts) - 1

    def kinds(self) -> list[Kind]:
        return [headers.kind for headers, _ in self.facts]

    def ids(self) -> set[str]:
        pages = [msgspec.json.decode(value) for headers, value in self.facts if headers.kind is Kind.PAGE]
        found = [item for page in pages for item in page["data"]["diamonds_by_query"]["items"]]
        return {item["diamond"]["id"] for item in found if item}


@asynccontextmanager
async def opened(
    fault: Fault = no_fault, stock: list[Stone] = STOCK
) -> AsyncIterator[tuple[FactWriter, Memory, VendorStub]]:
    stub, memory, budget = VendorStub(stock, fault), Memory(), Budget(3)
    settings = VendorSettings(
        url="http://vendor.test/api",
        username="demo",
        password=SecretStr("a secret"),
        money_ranges="whole",
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(stub)) as http:
        feed: Feed = NivodaFeed(FEEDS["nivoda-natural"], Session(settings, budget, http), budget)
        asker = Asker(feed.name, Priority.FULL, budget, Activity())
        yield FactWriter(feed, asker, memory), memory, stub


def only(operation: str, numbers: set[int], answer: Answer) -> Fault:
    return lambda asked, number, _: answer if asked == operation and number in numbers else None


def count_of(stones: int) -> Answer:
    return Answer(body=msgspec.json.encode({"data": {"diamonds_by_query_count": stones}}))


def short(variables: dict[str, Any]) -> Answer:
    offset = variables["offset"]
    return Answer(body=page_body(STOCK[offset : offset + 43]))


CASES: dict[str, Fault] = {
    "nothing wrong": no_fault,
    "HTML": only("search", {0, 3}, HTML),
    "server error": only("search", {1, 2}, Answer(500, b"oops", "text/plain")),
    "too many requests": only("search", {2}, TOO_MANY),
    "token refused": only("search", {1}, errors("jwt expired")),
    "short page": lambda asked, number, variables: (
        short(variables) if asked == "search" and number == 1 else None
    ),
    "partial data": only("search", {0, 1, 2}, errors("enum", {"diamonds_by_query": {"items": [None]}})),
    "trouble while counting": only("count", {0, 2}, HTML),
}


@pytest.mark.parametrize("case", CASES)
async def test_every_stone_comes_whatever_is_wrong_once(case: str) -> None:
    async with opened(CASES[case]) as (writer, memory, _):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        await Sweep(writer, progress).run()
    assert memory.ids() == {stone.id for stone in STOCK}
    kinds = memory.kinds()
    assert kinds[0] is Kind.PLAN
    assert kinds[-2:] == [Kind.EMPTY, Kind.COMPLETE]
    plan = msgspec.json.decode(memory.facts[0][1], type=Plan)
    complete = msgspec.json.decode(memory.facts[-1][1], type=Complete)
    assert plan.watermark == complete.watermark == DATE_MS
    assert complete.rows == len(STOCK)
    assert memory.facts[0][0].seq < min(headers.seq for headers, _ in memory.facts[1:])


async def test_a_delivery_that_failed_is_repeated_and_the_page_not_asked_for_again() -> None:
    async with opened() as (writer, memory, stub):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        memory.failures = 2
        await Sweep(writer, progress).run()
    assert memory.ids() == {stone.id for stone in STOCK}
    # Five pages, two empty ones, and the short last page and the empty one behind it again.
    assert stub.count_of("search") == 9


async def test_a_run_that_was_refused_half_way_goes_on_with_what_is_missing() -> None:
    async with opened(only("search", {2}, errors("Unknown argument"))) as (writer, memory, _):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        with pytest.raises(ExceptionGroup) as raised:
            await Sweep(writer, progress).run()
        assert raised.group_contains(Invalid)
        await Sweep(writer, progress).run()
    assert memory.ids() == {stone.id for stone in STOCK}
    assert memory.kinds()[-1] is Kind.COMPLETE


async def test_a_fatal_error_is_not_tried_again() -> None:
    async with opened() as (writer, memory, _):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        memory.refusal = Fatal("fenced")
        with pytest.raises(ExceptionGroup) as raised:
            await Sweep(writer, progress).run()
    assert raised.group_contains(Fatal)


async def test_a_partition_with_twice_its_estimate_is_cut_while_it_is_read() -> None:
    stock = [Stone(f"n{i:04}", 20.0 + i % 50) for i in range(3_000)]

    def too_few(asked: str, number: int, _: dict[str, Any]) -> Answer | None:
        # The two counts before the plan's find out the unit of money.
        return count_of(400) if (asked, number) == ("count", 2) else None

    async with opened(too_few, stock) as (writer, memory, _):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        await Sweep(writer, progress).run()
    assert memory.ids() == {stone.id for stone in stock}
    (split,) = [
        msgspec.json.decode(value, type=Split)
        for headers, value in memory.facts
        if headers.kind is Kind.SPLIT
    ]
    assert (split.partition, sum(piece.estimate for piece in split.into)) == (0, 3_000)
    assert len(split.into) == 3
    ended = {headers.partition for headers, _ in memory.facts if headers.kind is Kind.EMPTY}
    assert ended == {piece.number for piece in split.into}, "the pieces took its place"


async def test_a_partition_of_which_little_is_left_is_read_to_its_end() -> None:
    stock = [Stone(f"n{i:04}", 20.0 + i % 50) for i in range(1_100)]

    def too_few(asked: str, number: int, _: dict[str, Any]) -> Answer | None:
        return count_of(400) if (asked, number) == ("count", 2) else None

    async with opened(too_few, stock) as (writer, memory, _):
        progress = await plan_run(writer, "the-run", RunKind.FULL)
        await Sweep(writer, progress).run()
    assert memory.ids() == {stone.id for stone in stock}
    assert Kind.SPLIT not in memory.kinds()
