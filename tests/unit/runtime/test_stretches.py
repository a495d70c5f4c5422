"""Stretches of own records: what need not be read, and when it must be all the same."""

from runtime.stretches import QUIET_S, Stretches


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_tail_that_came_to_a_stretch_skips_to_its_end() -> None:
    own = Stretches(clock=Clock())
    own.wrote(2, 10, 20)
    own.wrote(2, 20, 25)
    assert own.skips({2: 9}) == {}
    assert own.skips({2: 10}) == {2: 25}
    assert own.skips({2: 17}) == {2: 25}
    assert own.skips({2: 30}) == {2: 30}
    assert own.skips({1: 10}) == {}


def test_a_gap_must_be_read() -> None:
    own = Stretches(clock=Clock())
    own.wrote(0, 0, 10)
    own.wrote(0, 11, 20)
    assert own.skips({0: 10}) == {}
    assert own.skips({0: 11}) == {0: 20}


def test_a_quiet_partition_is_read_again() -> None:
    clock = Clock()
    own = Stretches(clock=clock)
    own.wrote(0, 0, 10)
    clock.now_s = QUIET_S
    assert own.skips({0: 10}) == {}
    own.wrote(0, 10, 11)
    assert own.skips({0: 10}) == {0: 11}
    own.forget()
    assert own.skips({0: 10}) == {}
