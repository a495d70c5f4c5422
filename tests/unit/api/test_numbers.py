"""Columns of numbers: moments to the second are held in four bytes, and everything is read back as it was given."""

import numpy as np

from api.engine.numbers import LADDERS, fit, widen
from connectors.records.scan import NO_NUMBER

NAME = "first_seen"
AT = 1_790_000_000_000


def test_whole_seconds_take_four_bytes_and_are_read_back() -> None:
    stored, level = fit(NAME, np.array([AT, NO_NUMBER, 0, AT + 1000]), 0)
    assert (level, stored.itemsize) == (0, 4)
    step = LADDERS[NAME][0]
    assert [step.load(one) for one in stored.tolist()] == [AT, None, 0, AT + 1000]


def test_a_fraction_or_a_far_year_widens_the_column_and_changes_no_moment() -> None:
    seconds, _ = fit(NAME, np.array([AT, NO_NUMBER]), 0)
    for odd in (AT + 1, 2**31 * 1000, -1):
        stored, level = fit(NAME, np.array([odd]), 0)
        assert (level, stored.itemsize, stored.tolist()) == (1, 8, [odd])
    widened = widen(NAME, seconds, 0, 1)
    assert [LADDERS[NAME][1].load(one) for one in widened.tolist()] == [AT, None]


def test_a_bound_between_two_seconds_takes_neither_by_mistake() -> None:
    step = LADDERS[NAME][0]
    assert [step.low(bound) for bound in (1000, 1001, 1999.5, -1)] == [1, 2, 2, 0]
    assert [step.high(bound) for bound in (1000, 999, 1999.5, -1)] == [1, 0, 1, -1]
