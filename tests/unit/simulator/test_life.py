import numpy as np
import pytest

from connectors.simulator import vocabulary as words
from connectors.simulator.holds import OTHER_BUYER, Holds
from connectors.simulator.inventory import Inventory
from connectors.simulator.life import Life, LifeRates

NOW_MS = 1_800_000_000_000


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(2_000, seed=2)


@pytest.fixture
def life(inventory: Inventory) -> Life:
    return Life(inventory, Holds(inventory, 2))


def test_nothing_happens_at_rest(life: Life, inventory: Inventory) -> None:
    life.advance(3_600, NOW_MS)
    assert inventory.version == 0


def test_rates_are_kept_over_uneven_looks(life: Life, inventory: Inventory) -> None:
    life.set(LifeRates(price_moves=40, sales=2.5, holds=3, new=4, media=1))
    elapsed_s = 0.0
    for step_s in (0.013, 0.2, 0.7, 1.1, 2.987, 5.0):
        elapsed_s += step_s
        life.advance(elapsed_s, NOW_MS + int(elapsed_s * 1000))
    assert life.done == {"price_moves": 400, "sales": 25, "holds": 30, "new": 40, "media": 10}
    assert inventory.rows == 2_040
    assert np.count_nonzero(inventory["availability"] == words.SOLD) == 25
    assert np.count_nonzero(inventory["availability"] == words.HOLD) == 30


def test_every_change_is_stamped_when_it_was_due(life: Life, inventory: Inventory) -> None:
    life.set(LifeRates(price_moves=10))
    life.advance(2.0, NOW_MS)
    stamps = sorted(int(inventory["updated_ms"][row]) for row in set(inventory.change_log))
    assert NOW_MS - 2_000 <= stamps[0] < stamps[-1] == NOW_MS


def test_the_same_seed_lives_the_same_life() -> None:
    prices = []
    for _ in range(2):
        inventory = Inventory(500, 3)
        life = Life(inventory, Holds(inventory, 3))
        life.set(LifeRates(price_moves=100, sales=5, seed=9))
        life.advance(3, NOW_MS)
        prices.append(inventory["price_cents"].tolist() + inventory["availability"].tolist())
    assert prices[0] == prices[1]


def test_a_moved_price_is_another_price(life: Life, inventory: Inventory) -> None:
    for row in range(50):
        before = int(inventory["price_cents"][row])
        life._move_price(row, NOW_MS)
        assert inventory["price_cents"][row] != before


def test_when_all_is_sold_nothing_more_can_be(life: Life, inventory: Inventory) -> None:
    assert life.sell_share(1.0, 1, NOW_MS) == 2_000
    assert not life.happen("sales", NOW_MS)


def test_a_share_is_sold_at_once(life: Life, inventory: Inventory) -> None:
    assert life.sell_share(0.3, 1, NOW_MS) == 600
    assert np.count_nonzero(inventory["availability"] == words.SOLD) == 600


def test_holds_end_by_themselves_and_are_seen_by_their_holder_only(inventory: Inventory) -> None:
    holds = Holds(inventory, 1)
    mine = holds.take(5, "me", NOW_MS, NOW_MS + 1_000)
    assert mine is not None
    assert holds.take(5, OTHER_BUYER, NOW_MS, NOW_MS + 1_000) is None
    assert holds.of("me") == {5: mine.id}
    assert holds.of(OTHER_BUYER) == {}
    holds.expire(NOW_MS + 999)
    assert inventory["availability"][5] == words.HOLD
    holds.expire(NOW_MS + 1_000)
    assert inventory["availability"][5] == words.AVAILABLE
    assert holds.release(mine.id, NOW_MS) is None


def test_a_held_stone_is_sold_to_its_holder_only(inventory: Inventory) -> None:
    holds = Holds(inventory, 1)
    mine = holds.take(5, "me", NOW_MS, NOW_MS + 1_000)
    assert mine is not None
    assert not holds.sell(5, OTHER_BUYER, NOW_MS)
    assert holds.sell(5, "me", NOW_MS)
    holds.expire(NOW_MS + 5_000)
    assert inventory["availability"][5] == words.SOLD
