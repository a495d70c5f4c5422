"""What an operator asks the API of events and errors, answered from a real Postgres."""

from collections.abc import AsyncIterator

import httpx
import pytest

from api.app import create_app
from api.plain_index import PlainIndex
from api.service import Service
from connectors.postgres import events
from runtime.faults import Faults
from runtime.postgres import Database
from schemas.events import Kind
from tests.unit.api.clients import BUYER, READER, FixedKeys


@pytest.fixture
async def store(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as made:
        yield made


@pytest.fixture
async def client(store: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Service(PlainIndex(), FixedKeys(), database=store))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"X-API-Key": BUYER}
    ) as made:
        yield made


async def test_events_come_with_the_channels_they_were_told_over(
    client: httpx.AsyncClient, store: Database
) -> None:
    async with store.link() as link:
        down = await events.record(link, Kind.MEMBER_DOWN, "sink", "silent", actor="monitor")
        await events.record(link, Kind.RUN_COMPLETED, "run-1", "all read", actor="ingest")
        await link.execute(
            "INSERT INTO deliveries (event_id, phase, channel, at, delivered, detail)"
            " VALUES ($1, 'raised', 'chat', now(), true, '')",
            down,
        )
    found = (await client.get("/v1/events")).json()["events"]
    assert [(event["kind"], event["reached"]) for event in found] == [
        ("MemberDown", {"chat": True}),
        ("RunCompleted", {}),
    ]
    still = (await client.get("/v1/events", params={"open": True})).json()["events"]
    assert [event["subject"] for event in still] == ["sink"]
    assert (await client.get("/v1/events", headers={"X-API-Key": READER})).status_code == 403


async def test_errors_are_told_by_kind(client: httpx.AsyncClient, store: Database) -> None:
    noted = Faults()
    for process in ("api", "sink"):
        noted.note(None, "error", {"event": "x.failed", "level": "error", "process": process, "reason": "no"})
    await noted.write(store)
    found = (await client.get("/v1/errors", params={"process": "sink"})).json()["errors"]
    assert [(one["process"], one["action"], one["count"], one["text"]) for one in found] == [
        ("sink", "x.failed", 1, "no")
    ]


async def test_a_test_of_the_channels_is_a_job_and_only_one_at_a_time(client: httpx.AsyncClient) -> None:
    asked = await client.post("/v1/alerts/test", json={"channels": ["chat"]})
    assert (asked.json()["kind"], asked.json()["subject"], asked.json()["state"]) == (
        "alert-test",
        "chat",
        "waiting",
    )
    assert (await client.post("/v1/alerts/test", json={"channels": ["chat"]})).status_code == 409
    assert (await client.post("/v1/alerts/test", json={"channels": ["a b"]})).status_code == 422
