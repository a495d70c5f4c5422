from random import Random

import pytest

from connectors.simulator.rate import RateWitness


def witness_of(arrivals: list[float], limit: int = 25) -> RateWitness:
    witness = RateWitness(limit)
    for at_s in arrivals:
        witness.arrived("buyer", at_s)
    return witness


@pytest.mark.parametrize(
    ("arrivals", "most", "violations"),
    [
        pytest.param([100.0] * 25, 25, 0, id="25 at once"),
        pytest.param([100.0] * 26, 26, 1, id="26 at once"),
        pytest.param([100.0] + [100.999] * 25, 26, 1, id="26 within 999 ms"),
        pytest.param([100.0] + [101.0] * 25, 25, 0, id="exactly a second apart"),
        pytest.param([100 + 0.04 * step for step in range(200)], 25, 0, id="25 a second for 8 s"),
        pytest.param([100 + 0.039 * step for step in range(60)], 26, 35, id="a little too fast"),
        pytest.param([100.5] * 13 + [101.4] * 13, 26, 1, id="over a full second's border"),
        pytest.param([], 0, 0, id="none"),
    ],
)
def test_every_sliding_second_is_looked_at(arrivals: list[float], most: int, violations: int) -> None:
    witness = witness_of(arrivals)
    assert (witness.most_in_a_second, witness.violation_count) == (most, violations)
    assert len(witness.violations) == violations


def test_arrivals_reported_late_count_where_they_belong() -> None:
    arrivals = [100 + 0.04 * step for step in range(100)]
    shuffled = [arrivals[step ^ 3] for step in range(100)]
    assert witness_of(shuffled).violation_count == 0
    assert witness_of([*shuffled, 101.001]).most_in_a_second == 26


def test_the_most_in_a_second_is_that_of_brute_force() -> None:
    random = Random(4)
    for _ in range(50):
        arrivals = [random.uniform(0, 4) for _ in range(random.randrange(1, 150))]
        brute = max(sum(start <= other < start + 1 for other in arrivals) for start in arrivals)
        assert witness_of(arrivals).most_in_a_second == brute


def test_credentials_have_a_budget_each() -> None:
    witness = RateWitness(1)
    assert not witness.arrived("a", 5.0)
    assert not witness.arrived("b", 5.0)
    assert witness.arrived("a", 5.5)
    assert witness.violations[0].credential == "a"


def test_a_reset_forgets_what_was_seen_but_not_the_running_second() -> None:
    witness = witness_of([100.0] * 26)
    witness.reset()
    assert (witness.requests, witness.violation_count, witness.most_in_a_second) == (0, 0, 0)
    assert witness.arrived("buyer", 100.5)
    assert not witness.arrived("buyer", 102.0)
