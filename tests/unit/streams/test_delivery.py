"""Which offsets are ours without a gap."""

from __future__ import annotations

import pytest

from streams.delivery import last_stretch


@pytest.mark.parametrize(
    ("offsets", "begin"),
    [([5], 5), ([5, 6, 7], 5), ([5, 7], 7), ([5, 6, 9, 10, 11], 9), ([1, 3, 4, 6], 6), ([0, 2, 3], 2)],
)
def test_a_stretch_begins_behind_the_last_gap(offsets: list[int], begin: int) -> None:
    assert last_stretch(offsets) == begin
