"""When runs are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from connectors.ingest.schedule import Last, full_is_due, incremental_is_due, sweep_time
from connectors.runs.states import ENDED, OPEN, TRANSITIONS, State, check, pause_s
from schemas.errors import Invalid

AT = sweep_time("02:00")
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
MINUTE = timedelta(seconds=60)


def last(state: State, requested: datetime, changed: datetime | None = None) -> Last:
    return Last(state, requested, changed or requested)


def test_the_first_sweep_is_due_at_once() -> None:
    assert full_is_due(None, AT, NOW)


def test_a_sweep_is_due_once_a_day_and_a_missed_one_is_made_up_once() -> None:
    today = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
    assert not full_is_due(last(State.COMPLETED, today), AT, NOW)
    assert full_is_due(last(State.COMPLETED, today - timedelta(seconds=1)), AT, NOW)
    assert full_is_due(last(State.COMPLETED, today - timedelta(days=5)), AT, NOW)
    assert not full_is_due(last(State.COMPLETED, NOW), AT, NOW)
    early = datetime(2026, 3, 2, 1, 59, tzinfo=UTC)
    assert not full_is_due(last(State.COMPLETED, early - timedelta(hours=20)), AT, early)


@pytest.mark.parametrize("state", sorted(OPEN))
def test_an_open_run_is_not_asked_for_again(state: State) -> None:
    long_ago = last(state, NOW - timedelta(days=3))
    assert not full_is_due(long_ago, AT, NOW)
    assert not incremental_is_due(long_ago, None, MINUTE, NOW)


def test_a_failed_sweep_is_tried_again_after_an_hour() -> None:
    failed = last(State.FAILED, NOW - timedelta(hours=3), NOW - timedelta(minutes=59))
    assert not full_is_due(failed, AT, NOW)
    assert full_is_due(failed, AT, NOW + timedelta(minutes=1))


def test_incremental_runs_follow_from_start_to_start() -> None:
    full = last(State.COMPLETED, NOW - timedelta(hours=1), NOW)
    assert not incremental_is_due(None, None, MINUTE, NOW)
    assert not incremental_is_due(None, full, MINUTE, NOW + MINUTE / 2)
    assert incremental_is_due(None, full, MINUTE, NOW + MINUTE)
    before = last(State.COMPLETED, NOW, NOW + MINUTE * 0.9)
    assert not incremental_is_due(before, full, MINUTE, NOW + MINUTE * 0.95)
    assert incremental_is_due(before, full, MINUTE, NOW + MINUTE)


def test_what_has_ended_stays_so_unless_it_failed() -> None:
    for state in ENDED - {State.FAILED}:
        assert not TRANSITIONS[state]
        with pytest.raises(Invalid, match=f"is {state}"):
            check("a run", state, State.RUNNING)
    check("a run", State.FAILED, State.PENDING)
    assert [pause_s(1), pause_s(2)] == [30, 120]
