"""What hangs is listed and told, until it moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from connectors.postgres.events import list_events
from connectors.runs import store
from connectors.runs.auditor import Auditor
from connectors.runs.states import State
from connectors.runs.transitions import born, move
from runtime.postgres import Database
from runtime.settings import IngestSettings
from schemas.events import Kind

PATIENCE_S = 900


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        yield opened


async def open_events(pool: Database) -> set[str]:
    async with pool.link() as link:
        return {event.subject for event in await list_events(link, only_open=True, kind=Kind.RUN_STUCK)}


async def until_told(pool: Database, subjects: set[str]) -> None:
    async with asyncio.timeout(20):
        while await open_events(pool) != subjects:  # noqa: ASYNC110 (Postgres tells nobody)
            await asyncio.sleep(0.1)


async def test_stuck_runs_are_listed_and_told_until_they_move(pool: Database) -> None:
    async with pool.transaction() as link:
        for run in ("reads", "stands-still", "waits", "was-never-begun"):
            await born(link, run, "nivoda-natural", "full", "asked for", "test")
        for run in ("reads", "stands-still"):
            await move(link, run, State.RUNNING, "attempt 1", "ingest")
        hour_ago = "UPDATE runs SET {} WHERE run = $1"
        await link.execute(
            hour_ago.format("moved_at = now() - interval '1 hour', changed_at = now() - interval '1 hour'"),
            "stands-still",
        )
        await link.execute(
            hour_ago.format("due_at = now() - interval '1 hour', changed_at = now() - interval '1 hour'"),
            "was-never-begun",
        )
        assert {run.run for run in await store.stuck(link, PATIENCE_S)} == {"stands-still", "was-never-begun"}
    auditor = Auditor(IngestSettings(patience_s=PATIENCE_S), pool, {})
    looking = asyncio.create_task(auditor.run())
    try:
        await until_told(pool, {"stands-still", "was-never-begun"})
        async with pool.link() as link:
            await link.execute("UPDATE runs SET moved_at = now() WHERE run = 'stands-still'")
        await until_told(pool, {"was-never-begun"})
        async with pool.transaction() as link:
            await move(link, "was-never-begun", State.RUNNING, "attempt 1", "ingest")
        await until_told(pool, set())
    finally:
        looking.cancel()
        await asyncio.wait([looking])
