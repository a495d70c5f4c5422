from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feeds.protocol import NO_UPPER_END, Slice
from connectors.planner import SHAPES, TARGET, plan_partitions
from schemas.errors import Invalid
from schemas.facts import PlanPartition

Stock = list[tuple[float, float]]
"""Dollars per carat and carats of each stone."""

SIZE = 60_000
OFFSET_CAP = 50_000

plan = partial(plan_partitions, offset_cap=OFFSET_CAP)


class Vendor:
    """Counts a stock exactly, or drifting by up to a share; its stones have these shapes by turns."""

    def __init__(self, stock: Stock, drift: float = 0, shapes: tuple[str, ...] = ("ROUND",)) -> None:
        self._stock = sorted((int(price), carats) for price, carats in stock)
        self._prices = [price for price, _ in self._stock]
        self._drift = drift
        self._shapes = shapes
        self._chance = random.Random(1)
        self.asked = 0

    async def count(self, part: Slice) -> int:
        self.asked += 1
        low, high = part.dollars_per_carat
        places = range(bisect_left(self._prices, low), bisect_right(self._prices, high))
        chosen = [
            place
            for place in places
            if (part.carats is None or part.carats[0] <= self._stock[place][1] <= part.carats[1])
            and (part.shapes is None or self._shapes[place % len(self._shapes)] in part.shapes)
        ]
        return round(len(chosen) * (1 + self._chance.uniform(-self._drift, self._drift)))


def carats(chance: random.Random) -> float:
    return round(chance.choice([0.3, 0.5, 0.7, 1.0, 1.5]) + chance.expovariate(8), 2)


def stock(price: Callable[[random.Random], float], size: int = SIZE) -> Stock:
    chance = random.Random(3)
    return [(price(chance), carats(chance)) for _ in range(size)]


SKEWED: dict[str, Callable[[random.Random], float]] = {
    "uniform": lambda chance: chance.uniform(100, 20_000),
    "80 % within 5 %": lambda chance: (
        chance.uniform(2_000, 2_900) if chance.random() < 0.8 else chance.uniform(100, 18_000)
    ),
    "bimodal": lambda chance: chance.gauss(500, 40) if chance.random() < 0.5 else chance.gauss(9_000, 300),
    "long tail": lambda chance: min(100 * chance.paretovariate(1.1), 2e6),
    "lab-grown": lambda chance: (
        chance.uniform(50, 250) if chance.random() < 0.85 else chance.uniform(250, 3_000)
    ),
}


def spread(partitions: tuple[PlanPartition, ...]) -> float:
    sizes = [partition.estimate for partition in partitions]
    return max(sizes) / (sum(sizes) / len(sizes))


def assert_covers_everything(partitions: tuple[PlanPartition, ...]) -> None:
    """Every price, within a price every weight, and within a weight every shape, belongs to a partition."""
    reached, weight = -1, 0.0
    shapes: set[str] = set()
    for number, partition in enumerate(partitions):
        assert partition.number == number
        if partition.shapes is not None:
            assert partition.carat_from == weight
            assert shapes.isdisjoint(partition.shapes)
            shapes.update(partition.shapes)
            if len(shapes) < len(SHAPES):
                continue
            shapes = set()
        assert partition.dollars_per_carat_from == (reached + 1 if weight == 0 else reached)
        if partition.carat_from is not None and partition.carat_to is not None:
            assert partition.dollars_per_carat_from == partition.dollars_per_carat_to
            assert partition.carat_from == weight
            weight = partition.carat_to if partition.carat_to < 1_000 else 0.0
        reached = partition.dollars_per_carat_to
    assert reached == NO_UPPER_END
    assert weight == 0
    assert not shapes


@pytest.mark.parametrize("name", SKEWED)
async def test_partitions_are_balanced_on_skewed_prices(name: str) -> None:
    vendor = Vendor(stock(SKEWED[name]))
    counted, partitions = await plan(vendor.count)
    assert_covers_everything(partitions)
    assert counted == SIZE == sum(partition.estimate for partition in partitions)
    assert spread(partitions) <= 1.5
    assert max(partition.estimate for partition in partitions) <= 1.5 * TARGET
    assert vendor.asked <= 8 * len(partitions)


async def test_a_crowded_dollar_is_cut_by_carats() -> None:
    def price(chance: random.Random) -> float:
        return 180 if chance.random() < 0.7 else chance.uniform(50, 2_000)

    partitions = (await plan(Vendor(stock(price)).count))[1]
    assert_covers_everything(partitions)
    crowded = [partition for partition in partitions if partition.dollars_per_carat_to == 180]
    assert len(crowded) > 4
    assert max(partition.estimate for partition in partitions) <= 2 * TARGET


@pytest.mark.parametrize("stones", [[], [(1_234.5, 1.0)], [(500.0, 1.01)] * 4_000])
async def test_a_small_stock_is_one_open_ended_partition(stones: Stock) -> None:
    counted, partitions = await plan(Vendor(stones).count)
    assert counted == len(stones)
    assert [(p.dollars_per_carat_from, p.dollars_per_carat_to, p.estimate) for p in partitions] == [
        (0, NO_UPPER_END, len(stones))
    ]


async def test_one_price_for_all_is_cut_by_carats_alone() -> None:
    partitions = (await plan(Vendor(stock(lambda _: 500)).count))[1]
    assert_covers_everything(partitions)
    assert max(partition.estimate for partition in partitions) <= 2 * TARGET


async def test_one_price_and_one_weight_are_cut_by_shape() -> None:
    """What is still too full at one dollar and one step of carats: common shapes alone, the others together."""
    shapes = ("ROUND", "OVAL", "PEAR", "ROUND", "KITE", "FAN", "ROUND", "OVAL")
    vendor = Vendor([(500.0, 1.0)] * 4_000, shapes=shapes)
    counted, partitions = await plan(vendor.count, target=600)
    assert_covers_everything(partitions)
    assert counted == sum(partition.estimate for partition in partitions) == 4_000
    by_shape = {partition.shapes: partition.estimate for partition in partitions if partition.shapes}
    assert (by_shape["ROUND",], by_shape["OVAL",]) == (1_500, 1_000)
    assert sorted(by_shape.values()) == [500, 500, 500, 1_000, 1_500], (
        "shapes without stones get no partition"
    )


async def test_shapes_that_no_list_knows_keep_the_shapes_together() -> None:
    vendor = Vendor([(500.0, 1.0)] * 4_000, shapes=("ROUND", "PUMPKIN"))
    partitions = (await plan(vendor.count, target=600))[1]
    assert_covers_everything(partitions)
    assert all(partition.shapes is None for partition in partitions)
    assert sum(partition.estimate for partition in partitions) == 4_000


@pytest.mark.parametrize("offset_cap", [1_000, 4_000, OFFSET_CAP])
async def test_partitions_stay_under_the_vendors_offsets_with_room_to_grow(offset_cap: int) -> None:
    vendor = Vendor(stock(SKEWED["lab-grown"], 20_000))
    partitions = (await plan_partitions(vendor.count, offset_cap=offset_cap))[1]
    assert_covers_everything(partitions)
    assert max(partition.estimate for partition in partitions) <= offset_cap / 2


async def test_what_nothing_can_split_is_refused() -> None:
    with pytest.raises(Invalid, match="500 dollars a carat"):
        await plan(Vendor([(500.0, 1.0)] * SIZE).count)


async def test_drifting_counts_still_make_a_plan_that_covers_everything() -> None:
    partitions = (await plan(Vendor(stock(SKEWED["lab-grown"]), drift=0.1).count))[1]
    assert_covers_everything(partitions)
    assert all(partition.estimate >= 0 for partition in partitions)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0.3, 0.5, 1.0, 2.5])), max_size=300),
    st.integers(2, 40),
)
def test_any_stock_is_covered_and_counted_once(stones: Stock, target: int) -> None:
    counted, partitions = asyncio.run(plan(Vendor(stones).count, target=target))
    assert_covers_everything(partitions)
    assert sum(partition.estimate for partition in partitions) == counted == len(stones)
