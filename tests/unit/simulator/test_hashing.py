from uuid import UUID

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectors.simulator.hashing import (
    Identifiers,
    certificate_digits,
    certificate_id,
    identity_of_digits,
    shares,
)


@given(st.integers(0, 10**6), st.integers(0, 3_000_000))
def test_an_id_leads_back_to_its_row(seed: int, row: int) -> None:
    ids = Identifiers(seed)
    (identifier,) = ids.of_rows(np.array([row]))
    assert UUID(identifier).version == 4
    assert str(UUID(identifier)) == identifier
    assert ids.row_of(identifier, 3_000_001) == row
    assert ids.row_of(identifier, row) is None


def test_a_foreign_id_belongs_to_no_row() -> None:
    ids = Identifiers(1)
    (identifier,) = ids.of_rows(np.array([5]))
    assert ids.row_of(identifier[:-20] + "0" * 6 + identifier[-14:], 100) is None
    assert ids.row_of("not a uuid", 100) is None


@given(st.integers(0, 10**9 - 1))
def test_certificate_digits_lead_back_to_the_stone(identity: int) -> None:
    (digits,) = certificate_digits(np.array([identity]))
    assert identity_of_digits(f"LG{digits:09d}") == identity


def test_certificate_digits_differ() -> None:
    assert len(set(certificate_digits(np.arange(100_000)))) == 100_000
    assert identity_of_digits("KD-12") is None


def test_a_report_has_one_id_of_version_5() -> None:
    assert UUID(certificate_id("GIA", "2141438171")).version == 5
    assert certificate_id("GIA", "1") == certificate_id("GIA", "1") != certificate_id("IGI", "1")


def test_shares_are_even() -> None:
    drawn = shares(np.arange(100_000), 3)
    assert abs(np.mean(drawn < 0.1) - 0.1) < 0.005
    assert abs(np.corrcoef(drawn, shares(np.arange(100_000), 4))[0, 1]) < 0.02
