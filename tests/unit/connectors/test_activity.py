from __future__ import annotations

import time

import pytest

from connectors.ingest.activity import LOST_BEAT_S, SILENCE_S, Activity


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_silence_without_a_reason_is_not_alive(clock: list[float]) -> None:
    activity = Activity()
    activity.progressed("one")
    activity.progressed("other")
    activity.waits("other", "next full sweep at 02:00")
    clock[0] += SILENCE_S + 1
    activity.beat()
    check = activity.live()
    assert not check.ok
    assert "one has done nothing" in check.detail
    activity.waits("one", "the vendor answers 503")
    assert activity.live().ok


def test_a_pause_of_the_budget_explains_everybodys_silence(clock: list[float]) -> None:
    activity = Activity()
    activity.progressed("one")
    activity.excused_by(lambda: "paused for 40 s: the firewall answers 403")
    clock[0] += SILENCE_S + 1
    activity.beat()
    assert activity.live().ok
    assert "403" in str(activity.live().detail)


def test_an_event_loop_that_stands_still_is_not_alive(clock: list[float]) -> None:
    activity = Activity()
    activity.waits("one", "anything")
    clock[0] += LOST_BEAT_S + 1
    assert not activity.live().ok
