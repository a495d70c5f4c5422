"""The kernel that counts grades and prices, beside numpy: stretches longer than its blocks, sparse and dense."""

import numpy as np
import pytest
from numpy.typing import NDArray

from api.engine.kernels import counting
from api.engine.limits import GREATEST

EDGES = np.array([-5, 0, 1, 500, 1_000, 1_000, GREATEST, GREATEST + 1, 2**40], dtype=np.int64)


def marked(spans: NDArray[np.int64], here: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Each span's part of a mask by position, filled up to whole words."""
    parts = [here[begin:end].astype(np.uint8) for begin, end in spans]
    return np.concatenate([np.pad(part, (0, -len(part) % 8)) for part in parts])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.5, 0.9, 1.0])
def test_grades_and_prices_are_counted_as_numpy_counts_them(share: float) -> None:
    random = np.random.default_rng(5)
    grades = random.integers(0, 40, 5_000).astype(np.uint16)
    price = random.choice(np.array([0, 1, 499, 500, 999, 1_000, 70_000, GREATEST], np.int32), 5_000)
    spans = np.array([[0, 3], [10, 1_400], [1_400, 1_912], [2_000, 4_999], [5_000, 5_000]])
    here = (random.random(5_000) < share) & np.isin(
        np.arange(5_000), np.concatenate([np.arange(*span) for span in spans])
    )
    mask = marked(spans, here)
    counts, buckets = np.zeros(64, dtype=np.int32), np.zeros(len(EDGES) + 1, dtype=np.int64)
    low, high, total = counting.count_grades_and_prices(
        spans, mask, mask.view(np.uint64), grades, price, True, True, EDGES, counts, buckets
    )
    found = price[here].astype(np.int64)
    assert counts.tolist() == np.bincount(grades[here], minlength=64).tolist()
    expected = np.bincount(np.searchsorted(EDGES, found, side="right"), minlength=len(EDGES) + 1)
    assert buckets.tolist() == expected.tolist()
    assert total == found.sum()
    if len(found):
        assert (low, high) == (found.min(), found.max())
