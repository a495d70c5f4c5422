"""Cents from dollars that were sent as a float."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.feeds.table import Dollars, Unknown

DOLLARS = Dollars(1, 10**12)


@given(st.integers(1, 10**12))
def test_every_cent_survives_its_way_through_a_float(cents: int) -> None:
    assert DOLLARS.parse(cents / 100) == cents
    assert DOLLARS.parse(f"{cents // 100}.{cents % 100:02}") == cents


@pytest.mark.parametrize("value", [12.345, "1.001", 0, -5, 1e11, "a lot", float("nan")])
def test_what_is_no_amount_is_not_guessed(value: object) -> None:
    with pytest.raises(Unknown):
        DOLLARS.parse(value)


@pytest.mark.parametrize("value", [None, "", "n/a"])
def test_nothing_stays_nothing(value: object) -> None:
    assert DOLLARS.parse(value) is None
