import numpy as np
import pytest
from pydantic import ValidationError

from connectors.simulator.clock import Clock
from connectors.simulator.faults import KINDS, Faults, UnknownSetting


class Wall:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def faults(wall: Wall) -> Faults:
    return Faults(Clock(wall))


def test_at_the_start_only_the_vendors_own_quirk_is_on(faults: Faults) -> None:
    assert [name for name in KINDS if faults.on(name)] == ["inverted_range"]


def test_a_seed_decides_when_a_switch_hits(faults: Faults) -> None:
    runs = []
    for _ in range(2):
        faults.set({"http_5xx": {"probability": 0.3, "seed": 5}})
        runs.append([faults.hits("http_5xx") for _ in range(500)])
    assert runs[0] == runs[1]
    assert 100 < sum(runs[0]) < 200
    assert faults.listed()["http_5xx"]["hits"] == sum(runs[0])


def test_a_switch_works_in_its_window_only(faults: Faults, wall: Wall) -> None:
    faults.set({"outage": {"start_in_s": 10, "duration_s": 5}})
    seen = []
    for now_s in (0, 9.9, 10, 14.9, 15):
        wall.now_s = now_s
        seen.append(faults.hits("outage"))
    assert seen == [False, False, True, True, False]


def test_a_switch_can_be_bound_to_operations(faults: Faults) -> None:
    faults.set({"http_5xx": {"operations": ["create_hold"]}})
    faults.operations = frozenset({"diamonds_by_query"})
    assert not faults.hits("http_5xx")
    faults.operations = frozenset({"create_hold"})
    assert faults.hits("http_5xx")


def test_null_turns_a_switch_off(faults: Faults) -> None:
    faults.set({"http_429": {}})
    assert faults.on("http_429")
    faults.set({"http_429": None})
    assert not faults.on("http_429")


def test_stones_are_affected_for_as_long_as_the_switch_is_on(faults: Faults) -> None:
    rows = np.arange(10_000)
    faults.set({"null_image": {"probability": 0.2, "seed": 1}})
    affected = faults.affects("null_image", rows)
    assert affected.mean() == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(affected[::-1], faults.affects("null_image", rows[::-1]))
    faults.set({"null_image": None})
    assert not faults.affects("null_image", rows).any()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"http_6xx": {}}, ("http_6xx", "http_5xx", "short_page")),
        ({"latency": {"mean_ms": 3}}, ("mean_ms", "latency", "median_ms")),
        ({"latency": {"median_ms": "3"}}, ("median_ms", "number")),
    ],
)
def test_what_is_unknown_is_named_with_what_is_known(
    faults: Faults, setting: dict[str, object], words: tuple[str, ...]
) -> None:
    with pytest.raises(UnknownSetting) as refused:
        faults.set({"short_page": {}, **setting})
    assert all(word in str(refused.value) for word in words)
    assert not faults.on("short_page")


def test_a_probability_above_one_is_refused(faults: Faults) -> None:
    with pytest.raises(ValidationError, match="probability"):
        faults.set({"short_page": {"probability": 2}})
