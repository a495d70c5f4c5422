"""The live line: figures, rates over the last seconds, dashes for what is not known."""

import math
from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from adamas.gauges import Gauges, Reading, parse
from adamas.screen import line_of
from adamas.stack import Member

UNKNOWN = Reading(None, None, None, None, None, None, None)


def test_a_metric_is_summed_over_its_labels() -> None:
    registry = CollectorRegistry()
    stones = Counter("adamas_ingest_stones", "x", ["feed"], registry=registry)
    stones.labels("a").inc(3)
    stones.labels("b").inc(4)
    Gauge("adamas_budget_used_ratio", "x", registry=registry).set(0.5)
    found = parse(generate_latest(registry).decode())
    assert (found["adamas_ingest_stones_total"], found["adamas_budget_used_ratio"]) == (7.0, 0.5)


def _reading(monkeypatch: pytest.MonkeyPatch, said: Mapping[str, Mapping[str, float]]) -> Reading:
    gauges = Gauges([Member(name, name.partition("-")[0], 1, {}) for name in said])
    monkeypatch.setattr(gauges, "_samples", lambda member: said[member.name])
    try:
        return gauges.read()
    finally:
        gauges.close()


def test_no_figure_is_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = _reading(
        monkeypatch,
        {
            "ingest": {
                "adamas_ingest_swept_stones": 20_100.0,
                "adamas_ingest_expected_stones": 20_000.0,
                "adamas_ingest_stones_total": 84_364.0,
            },
            "process": {"adamas_process_known_stones": 19_939.0, "adamas_process_items_total": 85_848.0},
            "process-2": {"adamas_process_known_stones": 19_900.0},
            "api": {"adamas_api_stones": 19_939.0},
            "api-2": {"adamas_api_stones": 19_700.0},
        },
    )
    assert (reading.fetched, reading.expected) == (20_000, 20_000)
    assert (reading.priced, reading.searchable) == (19_939, 19_700)
    assert "ETA" not in line_of(reading)


def test_what_can_be_found_has_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"process": {"adamas_process_known_stones": 0.0}, "api": {"adamas_api_stones": 21_466.0}}
    reading = _reading(monkeypatch, said)
    assert (reading.priced, reading.searchable) == (21_466, 21_466)


def test_until_every_feed_is_counted_nobody_knows_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"adamas_ingest_swept_stones": 400.0, "adamas_ingest_expected_stones": 6_528.0 + math.nan}
    assert line_of(_reading(monkeypatch, {"ingest": said})).startswith("fetched 400 · ")


def test_a_start_without_a_full_sweep_tells_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"adamas_ingest_stones_total": 120.0, "adamas_budget_used_ratio": 0.01}
    known = {"adamas_process_known_stones": 21_466.0}
    line = line_of(
        _reading(monkeypatch, {"ingest": said, "process": known, "api": {"adamas_api_stones": 21_466.0}})
    )
    assert line == "priced 21 466 · searchable 21 466 · –/s · budget 1% · lag –"


def test_members_that_do_not_answer_leave_dashes() -> None:
    gauges = Gauges([Member(name, name, 1, {}) for name in ("ingest", "process", "sink", "api")])
    assert gauges.read() == UNKNOWN
    gauges.close()


def test_the_line_reads_well() -> None:
    reading = Reading(12_340, 20_000, 12_290, 12_100, 190, 0.968, 1180.4)
    assert line_of(reading) == (
        "fetched 12 340 of 20 000 · ETA 6 s · priced 12 290 · searchable 12 100 · 1 180/s · budget 97% · lag 190"
    )
    assert line_of(UNKNOWN) == "priced – · searchable – · –/s · budget – · lag –"


def test_before_the_first_page_it_says_what_is_waited_for() -> None:
    assert line_of(Reading(None, None, 0, 0, 0, 0.9, None)).startswith("waiting for the first page")
    assert line_of(Reading(0, 20_000, 0, 19_000, 0, 0.9, 0.0)).startswith("fetched 0 of 20 000")


def test_a_long_way_is_told_in_minutes() -> None:
    assert "ETA 2 min 0 s" in line_of(Reading(0, 60_000, 0, 0, 0, 1.0, 500.0))


def test_nothing_moving_has_no_eta() -> None:
    assert Reading(10, 20, 0, 0, 0, 0.0, 0.0).eta_s is None


def test_the_rate_is_that_of_the_last_seconds() -> None:
    moments = iter([0.0, 1.0, 10.0, 12.0])
    gauges = Gauges([], clock=lambda: next(moments))
    rates = [gauges._rate(fetched) for fetched in (0, 1000, 1000, 2000)]
    gauges.close()
    assert rates == [None, 1000.0, None, 500.0]
