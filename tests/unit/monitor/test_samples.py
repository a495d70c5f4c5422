"""Values, increases and rates, as Prometheus would tell them."""

import pytest

from monitor.samples import Samples

FETCHED = "adamas_ingest_stones_total"


def text(value: float, feed: str = "a") -> str:
    return f'# TYPE {FETCHED[:-6]} counter\n{FETCHED}{{feed="{feed}"}} {value}\n'


def test_what_a_process_says_last_counts_and_strangers_do_not() -> None:
    samples = Samples()
    samples.take(0, "ingest", text(1) + "# TYPE python_info gauge\npython_info 1\n")
    samples.take(1, "ingest", text(5))
    assert samples.latest(FETCHED) == {(("feed", "a"), ("member", "ingest")): 5}
    assert samples.latest("python_info") == {}


def test_an_increase_survives_a_restart() -> None:
    samples = Samples()
    for at, value in enumerate((100, 150, 20, 40)):
        samples.take(at * 2, "ingest", text(value))
    assert list(samples.increase(FETCHED, 60, 6).values()) == [50 + 20 + 20]
    assert list(samples.increase(FETCHED, 1.5, 6).values()) == [20]


def test_a_rate_is_over_what_is_known() -> None:
    samples = Samples()
    for at in range(0, 31):
        samples.take(at, "ingest", text(10 * at))
    assert samples.rate(FETCHED, 10, 30) == pytest.approx(10)
    assert samples.rate("adamas_sink_rows_total", 10, 30) is None


def test_a_process_that_does_not_answer_has_no_current_value() -> None:
    samples = Samples()
    samples.take(0, "ingest", text(5))
    samples.lost("ingest")
    assert samples.latest(FETCHED) == {}
    samples.take(1, "ingest", text(6))
    assert list(samples.latest(FETCHED).values()) == [6]


def test_a_series_no_longer_told_is_forgotten() -> None:
    samples = Samples()
    samples.take(0, "ingest", text(5, "a"))
    samples.take(1, "ingest", text(5, "b"))
    assert list(samples.latest(FETCHED)) == [(("feed", "b"), ("member", "ingest"))]


def test_long_histories_are_kept_in_coarse_steps() -> None:
    samples = Samples({FETCHED: 3600})
    for at in range(0, 7200, 2):
        samples.take(at, "ingest", text(at))
    assert next(iter(samples.increase(FETCHED, 3600, 7198).values())) == pytest.approx(3600, abs=35)
    (series,) = samples._series[FETCHED].values()
    assert len(series.points) < 140
