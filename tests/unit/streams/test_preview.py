"""A preview's figures against the same stones priced and counted one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ruleset import BaseMargins, PublishedRuleSet, Rate, RuleSet
from schemas.stone import Stone
from streams.pricing.guards import Guards
from streams.pricing.preview import BANDS, MOVES_BPS, changes, preview
from streams.pricing.shelf import Shelf
from tests.unit.streams.reference import AT_MS, CHANGES, RULE_SETS, slow_outcome, slow_value
from tests.unit.streams.test_bulk import PLAIN, shelf_of
from tests.unit.streams.test_pricing import published, rule


def stocked(
    stones: dict[str, Stone], prices: dict[str, int], rules: PublishedRuleSet, currency: str = "USD"
) -> Shelf:
    priced = [
        msgspec.structs.replace(stone, price_cents=prices[stone.id], currency=currency)
        for stone in stones.values()
    ]
    return shelf_of(priced, rules)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    RULE_SETS.filter(lambda content: content.currency == "USD"),
    st.lists(st.tuples(CHANGES, st.integers(0, 30_000)), min_size=1, max_size=60),
)
def test_the_report_counts_what_each_stone_does(
    content: RuleSet, drawn: list[tuple[dict[str, Any], int]]
) -> None:
    rules = published(base=None)
    rules = rules.model_copy(update={"content": content, "valid_at": AT_MS})
    stones = {change["id"]: msgspec.structs.replace(PLAIN, **change) for change, _ in drawn}
    prices = {change["id"]: price for change, price in drawn}
    shelf = stocked(stones, prices, rules)
    guards = Guards(min_margin_bps=500, max_move_bps=2_000, max_changed_bps=5_000)
    report = preview(rules, shelf, guards)

    after = {stone.id: slow_outcome(rules, stone) for stone in stones.values()}
    moved = {stone for stone in stones if after[stone].price_cents != prices[stone]}
    assert {change.id: (change.before_cents, change.after_cents) for change in changes(rules, shelf)} == {
        stone: (prices[stone], after[stone].price_cents) for stone in moved
    }
    assert (report.stones, report.changed) == (len(stones), len(moved))
    assert report.risen == sum(after[stone].price_cents > prices[stone] for stone in moved)
    assert report.before_cents == sum(prices.values())
    assert report.change_cents == sum(after[stone].price_cents - prices[stone] for stone in stones)
    moves = {stone: _bps(prices[stone], after[stone].price_cents) for stone in moved}
    assert [bar.stones for bar in report.histogram] == _histogram(list(moves.values()))
    falling = sorted((bps, stone) for stone, bps in moves.items() if after[stone].price_cents < prices[stone])
    assert [mover.move_bps for mover in report.fallers] == [bps for bps, _ in falling[:10]]
    hits = Counter(outcome.rule for outcome in after.values())
    assert {row.name: row.hits for row in report.rows if row.hits} == hits
    assert set(report.dead) == {row.name for row in content.rules if row.valid_at(AT_MS)} - set(hits)
    parts: dict[str, Callable[[Stone], Any]] = {
        "by_type": lambda stone: slow_value(stone, "type"),
        "by_shape": lambda stone: stone.shape,
        "by_band": lambda stone: sum(stone.carat >= bound for bound in BANDS),
    }
    for name, of in parts.items():
        wanted: dict[Any, list[int]] = {}
        for stone in stones.values():
            sums = wanted.setdefault(of(stone), [0, 0, 0])
            sums[0] += 1
            sums[1] += stone.id in moved
            sums[2] += after[stone.id].price_cents - prices[stone.id]
        slices = getattr(report, name)
        assert sorted([part.stones, part.changed, part.change_cents] for part in slices) == sorted(
            wanted.values()
        )
    _check_breaks(report.breaks, stones, prices, after, len(moved), guards)


def _check_breaks(
    breaks: Any, stones: dict[str, Stone], prices: dict[str, int], after: Any, moved: int, guards: Guards
) -> None:
    found = {one.guard: one.stones for one in breaks}
    below = sum(
        after[stone.id].price_cents < Fraction(stone.cost_cents * (10_000 + guards.min_margin_bps), 10_000)
        for stone in stones.values()
    )
    far = sum(
        abs(after[stone].price_cents - prices[stone]) * 10_000 > prices[stone] * guards.max_move_bps
        for stone in stones
    )
    assert found.get("below_cost", 0) == below
    assert found.get("max_move", 0) == far
    assert ("max_changed" in found) == (moved * 10_000 > guards.max_changed_bps * len(stones))


def _bps(before: int, after: int) -> int:
    return (after - before) * 10_000 // before if before else 1_000_000


def _histogram(moves: list[int]) -> list[int]:
    edges = [float("-inf"), *MOVES_BPS, float("inf")]
    return [sum(low <= bps < high for bps in moves) for low, high in pairwise(edges)]


def test_a_publish_that_changes_nothing_says_so() -> None:
    stones = {f"f:{n}": msgspec.structs.replace(PLAIN, id=f"f:{n}", cost_cents=100) for n in range(4)}
    report = preview(published(), stocked(stones, dict.fromkeys(stones, 140), published()), Guards())
    assert (report.changed, report.change_cents, report.breaks) == (0, 0, [])
    assert preview(published(), stocked({}, {}, published()), Guards()).stones == 0


def test_prices_of_another_currency_are_compared_at_the_rates() -> None:
    euros = Rate(id="r", currency="EUR", ppm=900_000, at=0, source="test")
    content = RuleSet(currency="EUR", base=BaseMargins(natural_bps=4_000))
    draft = PublishedRuleSet(number=2, published_at=0, actor="a", reason="r", content=content, rate=euros)
    stones = {f"f:{n}": msgspec.structs.replace(PLAIN, id=f"f:{n}", cost_cents=1_000) for n in range(2)}
    shelf = stocked(stones, {"f:0": 1_400, "f:1": 2_800}, draft)
    report = preview(draft, shelf, Guards(), published())
    assert [(one.id, one.before_cents, one.after_cents) for one in report.fallers] == [("f:1", 2_520, 1_260)]
    assert report.changed == 1


@pytest.mark.parametrize(("price", "breaks"), [(139, ["below_cost"]), (140, [])])
def test_the_floor_is_exact(price: int, breaks: list[str]) -> None:
    rules = published(rule("fixed", 1, 0, cost_cents={"min": 0}))
    fixed = rules.content.rules[0].model_copy(update={"floor_cents": price, "ceiling_cents": price})
    rules = rules.model_copy(update={"content": RuleSet(rules=(fixed,))})
    stone = msgspec.structs.replace(PLAIN, id="f:1", cost_cents=139)
    report = preview(
        rules, stocked({"f:1": stone}, {"f:1": 140}, rules), Guards(min_margin_bps=10, max_changed_bps=10_000)
    )
    assert [one.guard for one in report.breaks] == breaks
