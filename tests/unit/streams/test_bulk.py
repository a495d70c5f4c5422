"""The columnar engine against the scalar one and against the slow, obvious reading of the same tables."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.log.records import of
from schemas.ruleset import PublishedRuleSet, Rule
from schemas.stone import Stone, encode
from streams.pricing.bulk import MAX_COST, BulkBook
from streams.pricing.engine import PriceBook
from streams.pricing.shelf import Shelf, attributes_of
from streams.pricing.stock import Stock
from tests.unit.streams.reference import AT_MS, CHANGES, FIRST_SEEN, PUBLISHED, slow_outcome
from tests.unit.streams.test_pricing import a_stone, outcome, published, rule

PLAIN = a_stone()


def shelf_of(records: list[Stone], rules: PublishedRuleSet) -> Shelf:
    """Stones as columns, the way records of the topic come in."""
    stock = Stock(attributes_of(rules))
    stock.apply(of((stone.id.encode(), encode(stone)) for stone in records), {0: len(records)})
    return stock.shelf()


def bulk_outcomes(shelf: Shelf, rules: PublishedRuleSet) -> dict[str, tuple[int, str, int | None]]:
    """Price, rule and rating by stone."""
    book = BulkBook(rules, shelf)
    found: dict[str, tuple[int, str, int | None]] = {}
    for rows in book.lots():
        lot = book.lot(rows)
        names = [book.names[place] for place in lot.terms.tolist()]
        ratings = [rating or None for rating in lot.rating.tolist()]
        found |= zip(shelf.ids[rows], zip(lot.price_cents.tolist(), names, ratings, strict=True), strict=True)
    assert book.hits.sum() == len(shelf)
    return found


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(PUBLISHED, st.lists(CHANGES, min_size=1, max_size=40))
def test_scalar_bulk_and_reference_agree_to_the_cent(
    rules: PublishedRuleSet, changes: list[dict[str, Any]]
) -> None:
    stones = list(
        {
            stone.id: stone for stone in (msgspec.structs.replace(PLAIN, **change) for change in changes)
        }.values()
    )
    found = bulk_outcomes(shelf_of(stones, rules), rules)
    book = PriceBook(rules)
    for stone in stones:
        expected = slow_outcome(rules, stone)
        assert outcome(book, stone) == expected
        assert found[stone.id] == (expected.price_cents, expected.rule, expected.rating)


@pytest.mark.slow
def test_a_hundred_thousand_cases_agree_to_the_cent() -> None:
    """Every stone of a grid that sits on, above and below each bound, under each of a few hundred drawn tables."""
    cases = 0
    grid = _grid()
    records = grid
    rng = np.random.default_rng(20_261_125)
    tables = _tables(rng, 200)
    for number, rules in enumerate(tables):
        shelf = shelf_of(records, rules)
        found = bulk_outcomes(shelf, rules)
        book = PriceBook(rules)
        for stone in grid[number % 5 :: 5]:
            expected = slow_outcome(rules, stone)
            assert outcome(book, stone) == expected
            assert found[stone.id] == (expected.price_cents, expected.rule, expected.rating)
            cases += 1
    assert cases >= 100_000


def _grid() -> list[Stone]:
    stones: list[Stone] = []
    for carat in (0.29, 0.3, 0.5, 1.0, 1.499, 1.5, 2.001):
        for color in (None, "D", "E", "FANCY"):
            for cost in (1, 4_999, 5_000, 123_456_789, 10**12):
                for grown in (True, False):
                    for depth in (None, 3.0, 4.5):
                        for lab in (None, "GIA", "IGI"):
                            stones.append(
                                msgspec.structs.replace(
                                    PLAIN, id=f"nivoda-natural:{len(stones)}", carat=carat, color=color,
                                    cost_cents=cost, lab_grown=grown, depth_mm=depth, lab=lab,
                                    shape=("ROUND", "OVAL", "PEAR")[len(stones) % 3],
                                    first_seen=(None, *FIRST_SEEN)[len(stones) % 11],
                                    fancy_color=(None, None, "PINK")[len(stones) % 7 % 3],
                                )
                            )  # fmt: skip
    return stones


def _tables(rng: np.random.Generator, count: int) -> list[PublishedRuleSet]:
    def pick(values: list[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    def flat() -> dict[str, Any]:
        kinds: dict[str, Any] = {
            "carat": pick([{"min": 0.3, "below": 1}, {"max": 0.5}, {"min": 1, "max": 1.5}, {"min": 1.5}]),
            "cost_cents": pick([{"below": 5_000}, {"min": 5_000, "max": 10**9}]),
            "depth_mm": pick([{"max": 3}, {"below": 4.5}, {"min": 3}]),
            "cost_per_carat_cents": pick([{"below": 10_000}, {"min": 10_000}]),
            "color": pick([["D"], ["D", "E"], ["FANCY", "Z"]]),
            "lab": pick(["GIA", ["GIA", "IGI"]]),
            "shape": pick(["ROUND", ["OVAL", "PEAR"]]),
            "type": pick(["natural", ["fancy", "lab_grown"]]),
            "lab_grown": pick([True, False]),
            "age": pick([{"max": 0}, {"min": 1}, {"min": 1, "below": 30}, {"min": 30}]),
        }
        chosen = rng.choice(list(kinds), size=int(rng.integers(1, 4)), replace=False)
        return {str(name): kinds[str(name)] for name in chosen}

    def terms() -> dict[str, Any]:
        more: list[dict[str, Any]] = [
            {}, {}, {"amount_cents": int(rng.integers(-9_999, 9_999))},
            {"rounding": {"to_cents": 10_000, "ending_cents": 9_900, "mode": pick(["half_up", "up", "down"])}},
            {"rounding": {"to_cents": 3, "mode": pick(["half_up", "up", "down"])}},
            {"floor_cents": 5_000}, {"ceiling_cents": 7_500},
        ]  # fmt: skip
        return {"margin_bps": int(rng.integers(-9_999, 20_000)), **pick(more)}

    def when() -> dict[str, Any]:
        groups: list[dict[str, Any]] = [
            {},
            {},
            {"any": [flat(), flat()]},
            {"all": [flat(), {"any": [flat(), flat()]}]},
        ]
        return {**flat(), **pick(groups)}

    tables = []
    for _ in range(count):
        rows = [
            Rule.model_validate({"name": f"row-{place}", "priority": place, "when": when(), **terms()})
            for place in range(int(rng.integers(0, 30)))
        ]
        tables.append(published(*rows).model_copy(update={"valid_at": AT_MS}))
    return tables


def test_hits_and_holds_tell_shadowed_rows_from_dead_ones() -> None:
    rules = published(
        rule("rounds", 1, 1, shape="ROUND"),
        rule("shadowed", 2, 2, shape="ROUND"),
        rule("dead", 3, 3, shape="KITE"),
    )
    rounds = [msgspec.structs.replace(PLAIN, id=f"f:{n}", shape="ROUND") for n in range(3)]
    shelf = shelf_of(rounds, rules)
    book = BulkBook(rules, shelf)
    for rows in book.lots():
        book.lot(rows)
    assert dict(zip(book.names, book.hits.tolist(), strict=True))["rounds"] == 3
    assert book.hits[:3].tolist() == [3, 0, 0]
    assert book.holds[:3].tolist() == [3, 3, 0]


@pytest.mark.parametrize("rows", [125, 126, 127, 128, 129, 300])
def test_a_table_of_more_rows_than_a_byte_counts_gives_base_margins_too(rows: int) -> None:
    rules = published(*(rule(f"r{place}", place, place, shape=f"S{place}") for place in range(rows)))
    kinds: dict[str, dict[str, Any]] = {
        "f:natural": {},
        "f:grown": {"lab_grown": True},
        "f:fancy": {"color": "FANCY"},
    }
    stones = [
        msgspec.structs.replace(PLAIN, **{"id": name, "shape": "ROUND", **kind})
        for name, kind in kinds.items()
    ]
    stones.append(msgspec.structs.replace(PLAIN, id="f:last", shape=f"S{rows - 1}"))
    found = bulk_outcomes(shelf_of(stones, rules), rules)
    own = {stone.id: outcome(PriceBook(rules), stone) for stone in stones}
    assert found == {name: (one.price_cents, one.rule, one.rating) for name, one in own.items()}
    assert {name: rule for name, (_, rule, _) in found.items()} == {
        "f:natural": "base:natural", "f:grown": "base:lab_grown", "f:fancy": "base:fancy", "f:last": f"r{rows - 1}"
    }  # fmt: skip


def test_a_cost_beyond_the_columns_arithmetic_is_exact_too() -> None:
    rules = published(rule("all", 1, 999_999, cost_cents={"min": 0}))
    stone = msgspec.structs.replace(PLAIN, cost_cents=MAX_COST * 900)
    found = bulk_outcomes(shelf_of([stone], rules), rules)
    assert found[stone.id][0] == PriceBook(rules).price(stone).price_cents


def test_a_shelf_is_a_copy_and_leaves_out_what_is_gone() -> None:
    stock = Stock()
    stones = [msgspec.structs.replace(PLAIN, id=f"f:{number}") for number in range(3)]
    stock.apply(of((stone.id.encode(), encode(stone)) for stone in stones), {0: 3})
    before = stock.shelf()
    stock.apply(
        of([(b"f:0", encode(msgspec.structs.replace(stones[0], cost_cents=5))), (b"f:1", None)]), {0: 5}
    )
    after = stock.shelf()
    assert list(before.ids) == ["f:0", "f:1", "f:2"]
    assert list(after.ids) == ["f:0", "f:2"]
    assert before.arrays["cost_cents"][0] == PLAIN.cost_cents
    assert after.arrays["cost_cents"].tolist() == [5, PLAIN.cost_cents]
