"""Events in a real Postgres: once while they last, told of in both phases."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from connectors.postgres import events
from schemas.events import Kind, Severity


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Any]:
    link = await asyncpg.connect(database)
    yield link
    await link.close()


async def notices(connection: Any) -> list[tuple[int, str]]:
    rows = await connection.fetch("SELECT event_id, phase FROM notices ORDER BY event_id, phase")
    return [(row["event_id"], row["phase"]) for row in rows]


async def test_a_lasting_event_is_open_once_and_counted_up(connection: Any) -> None:
    first = await events.record(connection, Kind.GROUP_STALLED, "sink", "stands", actor="monitor")
    again = await events.record(connection, Kind.GROUP_STALLED, "sink", "still stands", actor="monitor")
    other = await events.record(connection, Kind.GROUP_STALLED, "process", "stands", actor="monitor")
    assert first == again != other
    found = {event.id: event for event in await events.list_events(connection, only_open=True)}
    assert (found[first].count, found[first].text) == (2, "still stands")
    assert found[first].severity is Severity.CRITICAL
    assert await notices(connection) == [(first, "raised"), (other, "raised")]


async def test_a_resolved_event_is_told_of_and_may_come_again(connection: Any) -> None:
    first = await events.record(connection, Kind.MEMBER_DOWN, "api", "silent", actor="monitor")
    assert await events.resolve(connection, Kind.MEMBER_DOWN, "api")
    assert not await events.resolve(connection, Kind.MEMBER_DOWN, "api")
    second = await events.record(connection, Kind.MEMBER_DOWN, "api", "silent", actor="monitor")
    assert await notices(connection) == [(first, "raised"), (first, "resolved"), (second, "raised")]
    assert [(event.id, event.open) for event in await events.list_events(connection)] == [
        (second, True),
        (first, False),
    ]


async def test_what_only_happens_is_never_open(connection: Any) -> None:
    for _ in range(2):
        await events.record(connection, Kind.RUN_COMPLETED, "run-1", "all read", actor="ingest")
    found = await events.list_events(connection, subject="run-1", kind=Kind.RUN_COMPLETED)
    assert [event.open for event in found] == [False, False]
    assert not await events.list_events(connection, only_open=True)
    assert len(await notices(connection)) == 2
