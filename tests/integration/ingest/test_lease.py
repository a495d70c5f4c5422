"""The lease on a real session: a server that answers late costs no lease, a session that is gone does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from pydantic import SecretStr

from connectors.ingest.lease import PROOF_S, Holding, LeaseLost, lease
from runtime.settings import PostgresSettings


def at(dsn: str) -> PostgresSettings:
    return PostgresSettings(dsn=SecretStr(dsn))


@asynccontextmanager
async def watched(dsn: str) -> AsyncIterator[tuple[Holding, asyncio.Task[None], int]]:
    """A lease, its watch, and the process of its session."""
    async with lease(at(dsn), lambda: 0, lambda _reason: None) as holding:
        watch = asyncio.create_task(holding.watch())
        try:
            yield holding, watch, await session_of(dsn)
        finally:
            watch.cancel()
            await asyncio.wait({watch})


async def session_of(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        holders = await connection.fetch(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    finally:
        await connection.close()
    (holder,) = holders
    return int(holder["pid"])


async def until(reached: Callable[[], bool], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not reached():  # noqa: ASYNC110 (time passing tells nobody)
            await asyncio.sleep(0.05)


async def test_a_late_answer_takes_the_proof_away_and_not_the_lease(database: str) -> None:
    async with watched(database) as (holding, watch, session):
        waits: list[str] = []

        async def stand_by() -> Holding:
            async with lease(at(database), lambda: 0, waits.append) as taken:
                return taken

        os.kill(session, signal.SIGSTOP)
        standby = asyncio.create_task(stand_by())
        try:
            await until(lambda: not holding.is_proven(), PROOF_S + 5)
            await until(lambda: len(waits) > 2)
        finally:
            os.kill(session, signal.SIGCONT)
        await until(holding.is_proven)
        assert not watch.done()
        assert not standby.done(), "nobody takes over beside a session that lives"
        standby.cancel()


async def test_a_session_that_is_gone_is_a_lost_lease(database: str) -> None:
    async with watched(database) as (holding, watch, session):
        os.kill(session, signal.SIGTERM)
        with pytest.raises(LeaseLost):
            await asyncio.wait_for(watch, 10)
        async with lease(at(database), lambda: 0, lambda _reason: None) as next_one:
            assert next_one.epoch > holding.epoch
