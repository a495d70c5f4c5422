"""The compiled rule set against a slow, obvious reading of the same table."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feeds.nivoda.mapping import MAPPER_VERSION, MAPPING
from schemas.feeds import FEEDS
from schemas.ruleset import BaseMargins, Condition, PublishedRuleSet, Range, Rule, RuleSet
from schemas.stone import Content
from schemas.vendor import Item
from streams.normalise import Normaliser
from streams.pages import decode_page
from streams.pricing import PriceBook, Priced, price_cents
from tests.unit.streams.items import item, page


def a_stone(**changes: Any) -> Content:
    decoded = decode_page(page(item()))[0]
    assert isinstance(decoded, Item)
    content = Normaliser(MAPPING, MAPPER_VERSION, FEEDS["nivoda-natural"], Item).content(decoded)
    return msgspec.structs.replace(content, **changes)


def published(*rules: Rule, base: BaseMargins | None = None) -> PublishedRuleSet:
    content = RuleSet(base=base or BaseMargins(), rules=rules)
    return PublishedRuleSet(number=1, published_at=0, actor="test", reason="test", content=content)


def rule(name: str, priority: int, margin_bps: int, **when: Any) -> Rule:
    return Rule.model_validate({"name": name, "priority": priority, "margin_bps": margin_bps, "when": when})


# The reference shares nothing with the compiler but the table.
def slow_price(rules: PublishedRuleSet, stone: Content) -> Priced:
    name, bps = slow_margin(rules.content, stone)
    exact = Decimal(stone.cost_cents) * (10_000 + bps) / 10_000
    return Priced(int(exact.quantize(Decimal(1), ROUND_HALF_UP)), name, bps)


def slow_margin(rules: RuleSet, stone: Content) -> tuple[str, int]:
    for row in sorted(rules.rules, key=lambda row: row.priority):
        if all(slow_holds(condition, getattr(stone, name)) for name, condition in row.when.items()):
            return row.name, row.margin_bps
    if stone.color == "FANCY" or stone.fancy_color is not None:
        return "base:fancy", rules.base.fancy_bps
    if stone.lab_grown:
        return "base:lab_grown", rules.base.lab_grown_bps
    return "base:natural", rules.base.natural_bps


def slow_holds(condition: Condition, value: Any) -> bool:
    if value is None:
        return False
    if isinstance(condition, Range):
        return (
            (condition.min is None or value >= condition.min)
            and (condition.max is None or value <= condition.max)
            and (condition.below is None or value < condition.below)
        )
    return bool(value == condition) if isinstance(condition, bool) else value in condition


TEXTS: dict[str, list[Any]] = {
    "shape": ["ROUND", "OVAL", "PEAR", "HEART"],
    "color": ["D", "E", "F", "FANCY"],
    "lab": ["GIA", "IGI", 'it\'s "quoted"\\ {name}'],
    "fancy_color": ["YELLOW", "PINK"],
}
NUMBERS: dict[str, list[Any]] = {
    "carat": [0.3, 0.5, 1, 1.0, 1.5, 2.001],
    "cost_cents": [1, 5_000, 10_000],
    "depth_mm": [3, 4.5],
}


def ranges(values: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    bound = st.one_of(st.none(), st.sampled_from(values))
    return st.tuples(bound, bound, st.sampled_from(["max", "below"])).map(
        lambda drawn: (
            {
                name: value
                for name, value in (("min", _low(drawn[0], drawn[1])), (drawn[2], _high(drawn[0], drawn[1])))
                if value is not None
            }
            or {"min": values[0]}
        )
    )


def _low(one: Any, other: Any) -> Any:
    return one if one is None or other is None else min(one, other)


def _high(one: Any, other: Any) -> Any:
    return other if one is None or other is None else max(one, other)


CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.lists(st.sampled_from(values), min_size=1, max_size=3) for name, values in TEXTS.items()},
        **{name: ranges(values) for name, values in NUMBERS.items()},
        "lab_grown": st.booleans(),
        "treated": st.booleans(),
        "availability": st.sampled_from(["available", "on_hold"]),
    },
).filter(bool)
TABLES = st.lists(st.tuples(CONDITIONS, st.integers(-9_999, 30_000)), max_size=25)
BASES = st.builds(
    BaseMargins,
    natural_bps=st.integers(-9_999, 50_000),
    lab_grown_bps=st.integers(-9_999, 50_000),
    fancy_bps=st.integers(-9_999, 50_000),
)
STONES = st.fixed_dictionaries(
    {
        **{name: st.sampled_from([None, *values]) for name, values in TEXTS.items() if name != "shape"},
        "shape": st.sampled_from(TEXTS["shape"]),
        "carat": st.sampled_from([*NUMBERS["carat"], 0.299, 1.01]),
        "cost_cents": st.sampled_from([*NUMBERS["cost_cents"], 4_999, 123_456_789]),
        "depth_mm": st.sampled_from([None, 2.9, *NUMBERS["depth_mm"]]),
        "lab_grown": st.booleans(),
        "treated": st.sampled_from([None, True, False]),
        "availability": st.sampled_from(["available", "on_hold", "unavailable"]),
    }
)
PLAIN_STONE = a_stone()


@settings(max_examples=300, deadline=None)
@given(TABLES, BASES, st.lists(STONES, min_size=1, max_size=12))
def test_price_equals_the_obvious_reading(
    table: list[tuple[dict[str, Any], int]], base: BaseMargins, stones: list[dict[str, Any]]
) -> None:
    # Priorities run against the order in the file: a rule's place must not matter.
    rows = [rule(f"row-{place}", 1_000 - place, bps, **when) for place, (when, bps) in enumerate(table)]
    rules = published(*rows, base=base)
    book = PriceBook(rules)
    for changes in stones:
        stone = msgspec.structs.replace(PLAIN_STONE, **changes)
        assert book.price(stone) == slow_price(rules, stone)


@given(st.integers(0, 10**12), st.integers(-9_999, 1_000_000))
def test_rounding_is_half_up_and_exact(cost_cents: int, margin_bps: int) -> None:
    exact = Decimal(cost_cents) * (10_000 + margin_bps) / 10_000
    assert price_cents(cost_cents, margin_bps) == int(exact.quantize(Decimal(1), ROUND_HALF_UP))


@pytest.mark.parametrize(
    ("cost", "bps", "price"), [(1, 5_000, 2), (10_001, 4_000, 14_001), (5, 1_000, 6), (0, 4_000, 0)]
)
def test_a_half_cent_goes_up(cost: int, bps: int, price: int) -> None:
    assert price_cents(cost, bps) == price


def test_base_margins_by_type() -> None:
    book = PriceBook(published())
    assert book.price(a_stone(cost_cents=100)) == (140, "base:natural", 4_000)
    assert book.price(a_stone(cost_cents=100, lab_grown=True)) == (179, "base:lab_grown", 7_900)
    assert book.price(a_stone(cost_cents=100, color="FANCY")) == (140, "base:fancy", 4_000)
    assert book.price(a_stone(cost_cents=100, lab_grown=True, fancy_color="PINK")).rule == "base:fancy"


def test_null_never_holds() -> None:
    book = PriceBook(published(rule("deep", 1, 1, depth_mm={"below": 100}), rule("any", 2, 2, color="D")))
    assert book.price(a_stone(depth_mm=None, color=None)).rule == "base:natural"
    assert book.price(a_stone(depth_mm=99.9)).rule == "deep"


def test_a_hundred_rows_are_narrowed_before_they_are_compared() -> None:
    rows = [
        rule(
            f"{shape}-{step}",
            20 * place + step,
            step,
            shape=shape,
            carat={"min": step / 10, "below": step / 10 + 0.1},
        )
        for place, shape in enumerate(["ROUND", "OVAL", "PEAR", "HEART", "EMERALD"])
        for step in range(20)
    ]
    rules = published(*rows)
    book = PriceBook(rules)
    for shape in ("ROUND", "OVAL", "PEAR", "HEART", "EMERALD", "KITE"):
        for carat in (0.01, 0.1, 0.55, 1.0, 1.99, 2.0, 7.5):
            stone = a_stone(shape=shape, carat=carat)
            assert book.price(stone) == slow_price(rules, stone)
