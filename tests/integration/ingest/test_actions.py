"""What an operator does to runs, done by ingest against the simulated vendor, real Kafka and real Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
import msgspec
import pytest

from connectors.postgres.events import list_events
from connectors.runs import actions, store
from connectors.runs.actions import Asked
from connectors.runs.states import State
from connectors.runs.store import Run
from runtime.postgres import Database, Link
from schemas.errors import Invalid
from schemas.events import Kind as EventKind
from schemas.facts import Cancel, Complete, Kind, Plan, RunKind
from schemas.feeds import NIVODA_LABGROWN, NIVODA_NATURAL
from schemas.gateway import DEADLINE_HEADER, Held
from tests.integration.ingest.conftest import GATEWAY_TOKEN, Fact, Ingest, MakeIngest, MakeVendor

pytestmark = pytest.mark.timeout(180)

ACTOR = "an operator"
SLOW = {"latency": {"probability": 1, "median_ms": 1500, "sigma": 0.1, "tail_probability": 0}}
ResultT = TypeVar("ResultT")


class Desk:
    """An operator's place: asks for actions, waits for what came of them, looks at runs."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def ask(self, work: Callable[[Link], Awaitable[ResultT]]) -> ResultT:
        async def run() -> ResultT:
            async with Database(self._dsn, "test") as database, database.link() as link:
                return await work(link)

        return asyncio.run(run())

    def act(self, work: Callable[[Link], Awaitable[Asked]]) -> Asked:
        async def run() -> Asked:
            async with Database(self._dsn, "test") as database:
                async with database.link() as link:
                    asked = await work(link)
                return await actions.wait_done(database, asked, 30)

        return asyncio.run(run())

    def runs(self, **of: Any) -> list[Run]:
        return self.ask(lambda link: store.recent(link, **of))

    def run(self, name: str) -> Run:
        return self.ask(lambda link: store.get(link, name))

    def steps(self, name: str) -> list[tuple[str, str]]:
        return [
            (step["to_state"], step["actor"]) for step in self.ask(lambda link: store.transitions(link, name))
        ]

    def wait(self, name: str, state: State, timeout_s: float = 60) -> Run:
        until = time.monotonic() + timeout_s
        while (run := self.run(name)).state is not state:
            assert time.monotonic() < until, f"{name} is {run.state}, not {state}"
            time.sleep(0.2)
        return run


@pytest.fixture
def desk(database: str) -> Desk:
    return Desk(database)


def of_run(reading: Ingest, name: str) -> list[Fact]:
    return [fact for fact in reading.log.read() if fact.headers.run == name]


def planned(reading: Ingest, feed: str, pages: int = 3) -> str:
    """The name of a feed's run, once so many of its pages are in the log."""

    def there(facts: list[Fact]) -> bool:
        own = [fact for fact in facts if fact.headers.feed == feed and fact.headers.kind is Kind.PAGE]
        return len(own) >= pages

    facts = reading.wait_until(there, 60)
    return next(str(fact.headers.run) for fact in facts if fact.headers.feed == feed and fact.headers.run)


def test_a_run_is_cancelled_and_deleted_another_forced(
    vendor: MakeVendor, ingest: MakeIngest, desk: Desk
) -> None:
    simulated = vendor(stones=60_000, seed=21)
    simulated.set_faults(SLOW)
    reading = ingest(simulated)
    cancelled, forced = planned(reading, NIVODA_LABGROWN), planned(reading, NIVODA_NATURAL)

    with pytest.raises(Invalid, match="running"):
        desk.ask(lambda link: actions.delete(link, cancelled, ACTOR))
    asked = desk.act(lambda link: actions.cancel(link, cancelled, ACTOR, cause="the wrong day"))
    assert (asked.outcome, desk.run(cancelled).state) == ("done", State.CANCELLED)
    assert desk.steps(cancelled) == [("pending", "ingest"), ("running", "ingest"), ("cancelled", ACTOR)]
    facts = of_run(reading, cancelled)
    told = msgspec.json.decode(facts[-1].value, type=Cancel)
    assert (facts[-1].headers.kind, told.cause, told.failed) == (Kind.CANCEL, "the wrong day", False)

    asked = desk.act(lambda link: actions.force(link, forced, ACTOR))
    run = desk.run(forced)
    assert (asked.outcome, run.state, run.forced) == ("done", State.COMPLETED, True)
    complete = msgspec.json.decode(of_run(reading, forced)[-1].value, type=Complete)
    assert (complete.forced, complete.actor) == (True, ACTOR)
    watermark = desk.ask(lambda link: store.watermark_of(link, NIVODA_NATURAL))
    assert watermark is None, "what was ended as it stood moves no watermark"

    assert desk.act(lambda link: actions.delete(link, cancelled, ACTOR)).outcome == "done"
    with pytest.raises(Invalid, match="there is no run"):
        desk.run(cancelled)
    pages = "SELECT count(*) FROM run_pages WHERE run = $1"
    assert desk.ask(lambda link: link.fetchval(pages, cancelled)) == 0
    assert of_run(reading, cancelled) == facts, "the log keeps everything"


def test_one_partition_of_a_running_run_is_read_again(
    vendor: MakeVendor, ingest: MakeIngest, desk: Desk
) -> None:
    simulated = vendor(stones=40_000, seed=22)
    simulated.set_faults(SLOW)
    reading = ingest(simulated)
    run = planned(reading, NIVODA_LABGROWN, pages=20)
    with pytest.raises(Invalid, match="partition"):
        desk.ask(lambda link: actions.retry(link, run, ACTOR))
    unknown = desk.act(lambda link: actions.retry(link, run, ACTOR, partition=999))
    assert "no partition 999" in str(unknown.outcome)
    assert desk.act(lambda link: actions.retry(link, run, ACTOR, partition=0)).outcome == "done"
    simulated.set_faults({"latency": None})
    desk.wait(run, State.COMPLETED)
    pages = [fact.headers for fact in of_run(reading, run) if fact.headers.kind is Kind.PAGE]
    again = {page.partition for page in pages if page.reread and page.page == 0}
    assert again == {0}
    assert len([fact for fact in of_run(reading, run) if fact.headers.kind is Kind.COMPLETE]) == 1


def test_a_failed_run_is_an_event_and_is_taken_up_where_it_stood(
    vendor: MakeVendor, ingest: MakeIngest, desk: Desk
) -> None:
    simulated = vendor(stones=3_000, seed=23)
    reading = ingest(simulated, patience_s=2)
    run = planned(reading, NIVODA_LABGROWN, pages=10)
    simulated.set_faults({"outage": {"probability": 1, "operations": ["diamonds_by_query"]}})
    desk.wait(run, State.PENDING)
    # Its last attempt, now: the pauses between attempts are minutes.
    last = "UPDATE runs SET attempt = 3, due_at = now() WHERE run = $1"
    desk.ask(lambda link: link.execute(last, run))
    desk.wait(run, State.FAILED)
    (event,) = desk.ask(lambda link: list_events(link, subject=run, kind=EventKind.RUN_FAILED))
    assert event.open
    assert "3 attempts failed" in event.text
    simulated.set_faults({"outage": None})
    assert desk.act(lambda link: actions.retry(link, run, ACTOR)).outcome == "done"
    desk.wait(run, State.COMPLETED)
    pages = [
        (f.headers.partition, f.headers.page, f.headers.reread)
        for f in of_run(reading, run)
        if f.headers.kind is Kind.PAGE
    ]
    assert len(pages) == len(set(pages)), "a page in the log was fetched again"
    assert desk.steps(run)[-2:] == [("running", "ingest"), ("completed", "ingest")]
    assert ("pending", ACTOR) in desk.steps(run)


def test_an_edited_watermark_and_a_delayed_start_survive_a_restart(
    vendor: MakeVendor, ingest: MakeIngest, desk: Desk
) -> None:
    simulated = vendor(stones=300, seed=24)
    reading = ingest(simulated)
    reading.wait_complete(60)
    earlier = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    edit = desk.act(lambda link: actions.set_watermark(link, NIVODA_NATURAL, earlier, ACTOR))
    assert (edit.outcome, desk.ask(lambda link: store.watermark_of(link, NIVODA_NATURAL))) == (
        "done",
        earlier,
    )

    due = datetime.now(UTC) + timedelta(seconds=12)
    delayed = desk.ask(lambda link: actions.start(link, NIVODA_NATURAL, RunKind.INCREMENTAL, ACTOR, at=due))
    reading.child.kill()
    reading.child.start()

    def begun(facts: list[Fact]) -> bool:
        return any(fact.headers.kind is Kind.PLAN and b'"incremental"' in fact.value for fact in facts)

    facts = reading.wait_until(begun, 60)
    assert datetime.now(UTC) >= due
    plan = next(
        msgspec.json.decode(f.value, type=Plan)
        for f in facts
        if f.headers.kind is Kind.PLAN and b'"incremental"' in f.value
    )
    assert plan.updated_from == int((earlier - timedelta(minutes=15)).timestamp() * 1000)
    done = desk.ask(lambda link: actions.get(link, delayed.id))
    assert (done.outcome, done.actor) == ("done", ACTOR)
    run = desk.wait(plan.run, State.COMPLETED)
    assert run.requested_by == ACTOR
    watermark = desk.ask(lambda link: store.watermark_of(link, NIVODA_NATURAL))
    assert watermark is not None
    assert watermark > earlier


def test_a_stone_that_was_withdrawn_and_not_read_is_read_by_the_next_holder(
    vendor: MakeVendor, ingest: MakeIngest, desk: Desk
) -> None:
    simulated = vendor(stones=300, seed=25)
    reading = ingest(simulated)
    reading.wait_complete(60)
    stone = min(simulated.available(NIVODA_NATURAL))
    simulated.set_faults({"http_5xx": {"probability": 1, "operations": ["get_diamond_by_id"]}})
    held = httpx.post(
        f"{reading.gateway}/v1/{NIVODA_NATURAL}/stones/{stone}/hold",
        headers={"Authorization": f"Bearer {GATEWAY_TOKEN}", DEADLINE_HEADER: "1500"},
        timeout=30,
    )
    assert held.status_code == 200, held.text
    assert msgspec.json.decode(held.content, type=Held).stone.in_log is False

    def withdrawn() -> list[tuple[str, str]]:
        return desk.ask(store.unread_stones)

    eventually(lambda: withdrawn() == [(NIVODA_NATURAL, stone)])
    reading.child.kill()
    simulated.set_faults({"http_5xx": None})
    reading.child.start()
    facts = reading.wait_until(lambda facts: any(f.headers.kind is Kind.ITEM for f in facts), 60)
    item = next(fact.headers for fact in facts if fact.headers.kind is Kind.ITEM)
    assert (item.stone, item.epoch) == (stone, 2)
    eventually(lambda: withdrawn() == [])


def eventually(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.2)
