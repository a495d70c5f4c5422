from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from connectors.simulator import vocabulary as words
from connectors.simulator.columns import DTYPES
from connectors.simulator.density import LABGROWN_BUCKETS, NATURAL_BUCKETS, NATURAL_VALUE_SHARES
from connectors.simulator.generate import LEAST_CARAT_X100, MOST_CARAT_X100, round_diamonds
from connectors.simulator.inventory import Inventory

STONES = 40_000


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return Inventory(STONES, seed=7)


def of_feed(inventory: Inventory, column: str, labgrown: bool) -> NDArray[Any]:
    values: NDArray[Any] = inventory[column][inventory["lab"] == labgrown]
    return values


def test_the_same_seed_gives_the_same_stones_and_another_seed_others() -> None:
    first, again, other = Inventory(3_000, 5), Inventory(3_000, 5), Inventory(3_000, 6)
    assert all(np.array_equal(first[name], again[name]) for name in DTYPES)
    assert not np.array_equal(first["price_cents"], other["price_cents"])
    rows = np.arange(3_000)
    assert first.ids.of_rows(rows) == again.ids.of_rows(rows)
    assert not set(first.ids.of_rows(rows)) & set(other.ids.of_rows(rows))


def test_new_stones_are_the_same_after_a_restart_too() -> None:
    born = []
    for _ in range(2):
        inventory = Inventory(500, 5)
        rows = [inventory.add_stone(labgrown, 1_800_000_000_000) for labgrown in (True, False) * 400]
        born.append([inventory["price_cents"][row] for row in rows])
        assert inventory.rows == 1_300
        assert np.array_equal(inventory["lab"][rows], [True, False] * 400)
    assert born[0] == born[1]


def test_feeds_share_the_stock_438_to_904(inventory: Inventory) -> None:
    sizes = inventory.feed_sizes()
    assert sum(sizes.values()) == STONES
    assert sizes["nivoda-natural"] / sizes["nivoda-labgrown"] == pytest.approx(438 / 904, rel=0.001)


@pytest.mark.parametrize(("labgrown", "buckets"), [(False, NATURAL_BUCKETS), (True, LABGROWN_BUCKETS)])
def test_price_per_carat_lies_as_measured(
    inventory: Inventory, labgrown: bool, buckets: tuple[tuple[int, int, int], ...]
) -> None:
    prices = of_feed(inventory, "price_cents", labgrown) / of_feed(inventory, "carat_x100", labgrown)
    total = sum(count for _, _, count in buckets)
    for low, high, count in buckets:
        share = np.mean((prices >= low) & (prices < high))
        assert share == pytest.approx(count / total, abs=0.005), f"{low} to {high} dollars per carat"


def test_whole_prices_of_natural_stones_lie_as_measured(inventory: Inventory) -> None:
    dollars = of_feed(inventory, "price_cents", False) / 100
    for below, share in NATURAL_VALUE_SHARES:
        assert np.mean(dollars < below) == pytest.approx(share, abs=0.05), f"below {below} dollars"


def test_natural_rounds_are_rows_of_the_real_table(inventory: Inventory) -> None:
    table = round_diamonds()
    names = ("carat_x100", "length_x100", "width_x100", "depth_x100", "depth_percentage_x10", "table_x10")
    real = set(zip(*(table[name].tolist() for name in names), strict=True))
    rounds = (~inventory["lab"]) & (inventory["shape"] == words.ROUND) & (inventory["length_x100"] > 0)
    ours = list(zip(*(inventory[name][rounds].tolist() for name in names), strict=True))
    # A little over a hundredth is grown beyond the table's 5 carats.
    assert np.mean([stone in real for stone in ours]) > 0.98


def test_carats_are_in_range_and_crowd_above_the_round_weights(inventory: Inventory) -> None:
    carats = inventory["carat_x100"]
    assert carats.min() >= LEAST_CARAT_X100
    assert carats.max() <= MOST_CARAT_X100
    for spike in (50, 70, 100, 150, 200):
        just_above = np.count_nonzero((carats >= spike) & (carats < spike + 4))
        just_below = np.count_nonzero((carats >= spike - 4) & (carats < spike))
        assert just_above > 2 * just_below, f"{spike / 100} ct"


def test_better_grades_cost_more(inventory: Inventory) -> None:
    rounds = (~inventory["lab"]) & (inventory["shape"] == words.ROUND) & (inventory["color"] < 7)
    one_carat = rounds & (inventory["carat_x100"] >= 100) & (inventory["carat_x100"] < 110)
    prices = inventory["price_cents"]
    top = one_carat & (inventory["color"] <= 1) & (inventory["clarity"] <= words.CLARITIES.index("VS1"))
    low = one_carat & (inventory["color"] >= 5) & (inventory["clarity"] >= words.CLARITIES.index("SI1"))
    assert np.median(prices[top]) > 1.5 * np.median(prices[low])


def test_a_few_certificates_are_listed_by_several_suppliers(inventory: Inventory) -> None:
    identities, counts = np.unique(inventory["identity"], return_counts=True)
    assert 0.02 < np.sum(counts - 1) / STONES < 0.06
    twice = np.flatnonzero(inventory["identity"] == identities[counts > 1][0])
    assert len(set(inventory["carat_x100"][twice].tolist())) == 1
    assert len(set(inventory.ids.of_rows(twice))) == len(twice)


def test_planted_faults_have_the_asked_share_and_every_kind(inventory: Inventory) -> None:
    kinds, counts = np.unique(inventory["fault"], return_counts=True)
    planted = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    del planted[words.NULL]
    assert planted.pop(words.FAULTS.index("huge_comment")) == STONES // 20_000
    assert sum(planted.values()) == round(STONES * 0.003)
    assert set(planted) == set(range(len(words.FAULTS) - 1))


def test_faults_and_comments_can_be_left_out() -> None:
    inventory = Inventory(25_000, 1, bad_share=0, huge_comments=False)
    assert set(inventory["fault"].tolist()) == {words.NULL}


def test_a_part_can_start_unavailable() -> None:
    inventory = Inventory(5_000, 1, unavailable_share=0.2)
    gone = np.mean(inventory["availability"] != words.AVAILABLE)
    assert gone == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("stones", [0, 1, 2])
def test_tiny_inventories_work(stones: int) -> None:
    assert sum(Inventory(stones, 1).feed_sizes().values()) == stones
