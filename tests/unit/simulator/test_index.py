from random import Random
from typing import Any

import numpy as np
import pytest

from connectors.simulator import vocabulary as words
from connectors.simulator.columns import CERTIFICATE_IMAGE, IMAGE, V360
from connectors.simulator.filters import MoneyRules, compile_query
from connectors.simulator.index import Index
from connectors.simulator.inventory import Inventory

STONES = 6_000
NOW_MS = 1_800_000_000_000


@pytest.fixture
def inventory() -> Inventory:
    return Inventory(STONES, seed=11)


def found(inventory: Inventory, query: dict[str, Any], money: MoneyRules | None = None) -> list[int]:
    compiled = compile_query(query, money or MoneyRules(), omitted_means_both=False)
    index = Index(inventory)
    rows = index.find(compiled).tolist()
    assert Index(inventory).count(compiled) == len(rows) == index.count(compiled)
    return list(rows)


def expected(inventory: Inventory, mask: np.ndarray[Any, Any]) -> list[int]:
    return list(np.flatnonzero(mask).tolist())


def test_left_out_labgrown_means_natural_unless_switched(inventory: Inventory) -> None:
    assert found(inventory, {}) == expected(inventory, ~inventory["lab"])
    both = compile_query({}, MoneyRules(), omitted_means_both=True)
    assert Index(inventory).count(both) == STONES


def test_price_per_carat_is_compared_in_whole_dollars_at_both_ends(inventory: Inventory) -> None:
    whole = inventory["price_cents"] // inventory["carat_x100"].astype(np.int64)
    mask = inventory["lab"] & (whole >= 100) & (whole <= 119)
    asked = {"labgrown": True, "dollar_per_carat": {"from": 100, "to": 119}}
    assert found(inventory, asked) == expected(inventory, mask)


def test_neighbouring_ranges_neither_gap_nor_overlap(inventory: Inventory) -> None:
    parts = [
        found(inventory, {"labgrown": True, "dollar_per_carat": {"from": low, "to": high}})
        for low, high in ((0, 49), (50, 50), (51, 99), (100, 180), (181, 10_000_000))
    ]
    together = [row for part in parts for row in part]
    assert sorted(together) == expected(inventory, inventory["lab"])


def test_the_unit_of_money_ranges_can_be_cents(inventory: Inventory) -> None:
    dollars = found(inventory, {"labgrown": True, "dollar_per_carat": {"from": 100, "to": 119}})
    asked = {"labgrown": True, "dollar_per_carat": {"from": 10_000, "to": 11_999}}
    assert found(inventory, asked, MoneyRules(cents=True)) == dollars


def test_exact_comparison_leaves_gaps_between_whole_dollars(inventory: Inventory) -> None:
    lost = set(expected(inventory, inventory["lab"]))
    for low, high in ((0, 99), (100, 199), (200, 10_000)):
        asked = {"labgrown": True, "dollar_per_carat": {"from": low, "to": high}}
        lost -= set(found(inventory, asked, MoneyRules(exact=True)))
    assert lost


def test_every_filter_an_ingester_uses_agrees_with_the_columns(inventory: Inventory) -> None:
    natural, carats = ~inventory["lab"], inventory["carat_x100"]
    shapes = words.codes(words.SHAPES, ("ROUND", "OVAL"))
    poor = words.codes(words.QUALITIES, words.FAIR_POOR)
    media = inventory["media"]
    cases: list[tuple[dict[str, Any], np.ndarray[Any, Any]]] = [
        ({"sizes": [{"from": 1.15, "to": 2.0}]}, (carats >= 115) & (carats <= 200)),
        ({"sizes": [{"from": 0.5, "to": 0.6}, {"from": 1, "to": 1.1}]}, ((carats >= 50) & (carats <= 60)) | ((carats >= 100) & (carats <= 110))),
        ({"shapes": ["ROUND", "OVAL"]}, np.isin(inventory["shape"], shapes)),
        ({"color": ["D", "FANCY"]}, np.isin(inventory["color"], [0, words.FANCY])),
        ({"clarity": ["VS1"]}, inventory["clarity"] == words.CLARITIES.index("VS1")),
        ({"cut": ["EX"]}, inventory["cut"] == words.QUALITIES.index("EX")),
        ({"certificate_lab": ["GIA"]}, inventory["laboratory"] == 0),
        ({"availability": ["SOLD"]}, np.zeros(STONES, dtype=bool)),
        ({"dollar_value": {"from": 1000, "to": 1999}}, (inventory["price_cents"] >= 100_000) & (inventory["price_cents"] < 200_000)),
        ({"excludeFairPoorCuts": True}, ~np.isin(inventory["cut"], poor)),
        ({"has_image": True}, (media & (IMAGE | CERTIFICATE_IMAGE)) > 0),
        ({"has_image": True, "has_v360": True}, (media & (IMAGE | CERTIFICATE_IMAGE | V360)) > 0),
        ({"hide_memo": True, "brown": [1], "sub": True, "treated": False}, np.ones(STONES, dtype=bool)),
        ({"color": []}, np.ones(STONES, dtype=bool)),
    ]  # fmt: skip
    for asked, mask in cases:
        assert found(inventory, {"labgrown": False, **asked}) == expected(inventory, natural & mask), asked


def test_single_stones_are_found_by_id_and_by_certificate(inventory: Inventory) -> None:
    row = int(np.flatnonzero(inventory["lab"])[5])
    (identifier,) = inventory.ids.of_rows(np.array([row]))
    assert found(inventory, {"labgrown": True, "ids": [identifier]}) == [row]


def test_updated_windows_are_inclusive_and_open_where_left_out(inventory: Inventory) -> None:
    inventory.touch(3, NOW_MS)
    inventory.touch(4, NOW_MS + 5_000)
    moment, later = "2027-01-15T08:00:00.000Z", "2027-01-15T08:00:04Z"
    natural_or_not = {"labgrown": bool(inventory["lab"][3]), "updated": {"from": moment, "to": later}}
    assert found(inventory, natural_or_not) == [3]
    labgrown = bool(inventory["lab"][4])
    assert 4 in found(inventory, {"labgrown": labgrown, "updated": {"from": moment}})


def test_a_wrong_time_is_refused() -> None:
    with pytest.raises(ValueError, match="soon"):
        compile_query({"updated": {"from": "soon"}}, MoneyRules(), omitted_means_both=False)


@pytest.mark.parametrize(
    ("order", "column"), [("price", "price_cents"), ("size", "carat_x100"), ("color", "color")]
)
def test_orders_sort_by_their_key_and_then_by_age(inventory: Inventory, order: str, column: str) -> None:
    query = compile_query({"labgrown": False}, MoneyRules(), omitted_means_both=False)
    for descending in (False, True):
        rows = Index(inventory).find(query, order, descending).tolist()
        sign = -1 if descending else 1
        assert rows == sorted(rows, key=lambda row: (sign * int(inventory[column][row]), row))


def test_the_default_order_is_that_of_creation_and_insert_is_newest_first(inventory: Inventory) -> None:
    query = compile_query({"labgrown": True}, MoneyRules(), omitted_means_both=False)
    rows = Index(inventory).find(query).tolist()
    assert rows == sorted(rows)
    assert Index(inventory).find(query, "insert").tolist() == rows[::-1]


def test_the_index_stays_true_while_prices_move_and_stones_come(inventory: Inventory) -> None:
    index, random = Index(inventory), Random(3)
    query = compile_query(
        {"labgrown": True, "dollar_per_carat": {"from": 90, "to": 140}},
        MoneyRules(),
        omitted_means_both=False,
    )
    for _ in range(40):
        for _ in range(120):
            row = random.randrange(inventory.rows)
            inventory.set_price(row, random.randrange(5_000, 90_000), NOW_MS)
        inventory.add_stone(True, NOW_MS)
        prices = inventory["price_cents"] / inventory["carat_x100"]
        mask = inventory["lab"] & (prices >= 90) & (prices < 141)
        assert index.find(query).tolist() == expected(inventory, mask)
        assert index.count(query) == np.count_nonzero(mask)


def test_an_inverted_range_is_noticed_wherever_it_is() -> None:
    for asked in (
        {"dollar_per_carat": {"from": 9, "to": 1}},
        {"sizes": [{"from": 1, "to": 2}, {"from": 3, "to": 2}]},
    ):
        assert compile_query(asked, MoneyRules(), omitted_means_both=False).inverted
    assert not compile_query({"dollar_value": {"from": 1, "to": 1}}, MoneyRules(), False).inverted
