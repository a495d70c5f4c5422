"""Errors of our own code in a real Postgres: one row a kind and process, however often they happen."""

from typing import Any

import pytest

from runtime import faults
from runtime.faults import MOST, Fault, Faults
from runtime.postgres import Database
from schemas.errors import Retriable


def fail(text: str) -> None:
    raise RuntimeError(text)


def event(text: str | None, *, action: str = "sink.failed", **more: Any) -> dict[str, Any]:
    line = {"event": action, "level": "error", "process": "sink", **more}
    if text is not None:
        try:
            fail(text)
        except RuntimeError as error:
            line["exc_info"] = error
    return line


def note(noted: Faults, *events: dict[str, Any]) -> None:
    for one in events:
        assert noted.note(None, "error", one) is one


async def kept(store: Database) -> list[Fault]:
    async with store.link() as link:
        return await faults.listed(link, limit=2 * MOST)


async def test_one_kind_is_one_row_with_count_times_and_the_last_trace(database: str) -> None:
    noted = Faults()
    async with Database(database, "test") as store:
        note(noted, event("disk 1"), event("disk 2", trace_id="ab" * 16))
        assert await noted.write(store) == 1
        note(noted, event("disk 3"))
        assert await noted.write(store) == 1
        assert await noted.write(store) == 0
        (fault,) = await kept(store)
    assert (fault.count, fault.text, fault.trace_id) == (3, "disk 3", "ab" * 16)
    assert (fault.process, fault.action, fault.error) == ("sink", "sink.failed", "RuntimeError")
    assert fault.place == "tests.integration.runtime.test_faults.fail"
    assert fault.first_at < fault.last_at


async def test_another_action_is_another_kind_and_a_warning_is_none(database: str) -> None:
    noted = Faults()
    async with Database(database, "test") as store:
        note(noted, event("a"), event("a", action="sink.other"), event(None, reason="the port is taken"))
        note(noted, event("a", level="warning"))
        assert await noted.write(store) == 3
        found = {(fault.action, fault.error, fault.text) for fault in await kept(store)}
    assert found == {
        ("sink.failed", "RuntimeError", "a"),
        ("sink.other", "RuntimeError", "a"),
        ("sink.failed", "none", "the port is taken"),
    }


async def test_they_wait_while_postgres_is_away_and_not_without_end(database: str) -> None:
    noted = Faults()
    note(noted, event("first"))
    async with Database("postgresql://127.0.0.1:9/none", "test") as away:
        with pytest.raises(Retriable):
            await noted.write(away)
    note(noted, event("second"), *(event(None, action=f"a{number}") for number in range(MOST + 5)))
    async with Database(database, "test") as store:
        assert await noted.write(store) == MOST
        counts = {fault.action: fault.count for fault in await kept(store)}
    assert counts["sink.failed"] == 2


async def test_the_last_errors_of_a_process_are_written_at_its_end(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests of this process may have left errors of theirs.
    monkeypatch.setattr(faults, "FAULTS", Faults())
    with faults.kept(database):
        note(faults.FAULTS, event("the end", action="process.crashed"))
    async with Database(database, "test") as store:
        assert [fault.action for fault in await kept(store)] == ["process.crashed"]
