"""The end of a process that told something last."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from connectors import alerts as module
from connectors.alerts import recorded_alerts
from runtime.postgres import Database
from schemas.errors import Fatal
from schemas.events import Kind


@pytest.mark.parametrize("listens", [True, False])
async def test_the_end_waits_for_postgres_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr(module, "LAST_S", 0.3)
    # A Postgres that takes a connection and says nothing, and one that is not there.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        if not listens:
            listener.close()
        began = time.monotonic()
        with pytest.raises(ExceptionGroup) as raised:
            await asyncio.wait_for(_tell_and_end(f"postgresql://nobody@127.0.0.1:{port}/none"), 30)
        assert raised.group_contains(Fatal)
        assert time.monotonic() - began >= 0.3


async def _tell_and_end(dsn: str) -> None:
    async with Database(dsn, "test") as database, recorded_alerts(database) as told:
        told.raised(Kind.VENDOR_REFUSES_LOGIN, "nivoda", "the vendor refuses the login")
        raise Fatal("the vendor refuses the login")
