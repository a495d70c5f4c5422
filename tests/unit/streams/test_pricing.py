"""The compiled rule set against a slow, obvious reading of the same table."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.nivoda.mapping import MAPPER_VERSION, MAPPING
from schemas.columns import NULL_INT, epoch_s
from schemas.feeds import FEEDS
from schemas.ruleset import BaseMargins, PublishedRuleSet, Rule, RuleSet, Terms
from schemas.stone import Stone
from schemas.vendor import Item
from streams.normalise import Normaliser
from streams.pages import PageReader
from streams.pricing.engine import PriceBook, in_share, price_cents, price_function
from tests.unit.streams.items import item, page
from tests.unit.streams.reference import CHANGES, PUBLISHED, TERMS, Outcome, slow_outcome, slow_price

_PRICED = {
    "price_cents": 1, "rule": "r", "rules_version": 1, "updated_at": "2026-01-01T00:00:00Z", "seq": 1,
    "mapper_version": 1, "content_hash": "0" * 16, "cause": "new", "margin_bps": 1, "raw_offset": 1,
}  # fmt: skip


def a_stone(**changes: Any) -> Stone:
    decoded = PageReader(NIVODA_FORM).decode(page(item()))[0]
    assert isinstance(decoded, Item)
    content = Normaliser(MAPPING, MAPPER_VERSION, FEEDS["nivoda-natural"], NIVODA_FORM).content(decoded)
    stone = msgspec.convert(msgspec.to_builtins(content) | _PRICED, Stone)
    return msgspec.structs.replace(stone, **changes)


def outcome(book: PriceBook, stone: Stone) -> Outcome:
    """What the compiled rule set gives a record's stone."""
    seen_s = epoch_s(stone.first_seen)
    age, alike = book.age(seen_s), book.age_alike(seen_s)
    assert (book.margin(stone, age), book.rating(stone, age)) == (
        book.margin(stone, alike),
        book.rating(stone, alike),
    )
    return Outcome(*book.price(stone, age), book.rating(stone, age))


def published(*rules: Rule, base: BaseMargins | None = None) -> PublishedRuleSet:
    content = RuleSet(base=base or BaseMargins(), rules=rules)
    return PublishedRuleSet(number=1, published_at=0, actor="test", reason="test", content=content)


def rule(name: str, priority: int, margin_bps: int, **when: Any) -> Rule:
    return Rule.model_validate({"name": name, "priority": priority, "margin_bps": margin_bps, "when": when})


PLAIN_STONE = a_stone()


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(PUBLISHED, st.lists(CHANGES, min_size=1, max_size=20))
def test_price_and_rating_equal_the_obvious_reading(
    rules: PublishedRuleSet, stones: list[dict[str, Any]]
) -> None:
    book = PriceBook(rules)
    for changes in stones:
        stone = msgspec.structs.replace(PLAIN_STONE, **changes)
        assert outcome(book, stone) == slow_outcome(rules, stone)


@settings(max_examples=500, deadline=None)
@given(TERMS.map(Terms.model_validate), st.integers(1, 900_000_000), st.integers(0, 10**12))
def test_a_price_is_exact_whatever_the_terms(terms: Terms, ppm: int, cost_cents: int) -> None:
    assert price_function(terms, ppm)(cost_cents) == slow_price(terms, ppm, cost_cents)


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


def test_few_ages_stand_for_all() -> None:
    spans = ({"min": 1.5, "below": 30}, {"max": 7}, {"min": -3})
    book = PriceBook(
        published(
            *(rule(f"r{place}", place, place, age=span) for place, span in enumerate(spans))
        ).model_copy(update={"valid_at": 100 * 86_400_000})
    )
    alike = [book.age_alike(86_400 * (100 - days)) for days in range(-1, 35)]
    assert alike == [0] * 3 + [2] * 6 + [8] * 22 + [30] * 5
    assert book.age_alike(NULL_INT) is None


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
            assert Outcome(*book.price(stone), None) == slow_outcome(rules, stone)


TERMS_AND_PRICES = {
    "ends in 99": (
        {"margin_bps": 0, "rounding": {"to_cents": 10_000, "ending_cents": 9_900}},
        123_456,
        119_900,
    ),
    "ends in 99, halves up": (
        {"margin_bps": 0, "rounding": {"to_cents": 10_000, "ending_cents": 9_900}},
        124_900,
        129_900,
    ),
    "rounded up to fives": ({"margin_bps": 1, "rounding": {"to_cents": 500, "mode": "up"}}, 10_000, 10_500),
    "a fixed amount": ({"amount_cents": 2_500}, 10_000, 12_500),
    "not below the floor": ({"margin_bps": -5_000, "floor_cents": 9_000}, 10_000, 9_000),
    "not above the ceiling": ({"margin_bps": 5_000, "ceiling_cents": 11_000}, 10_000, 11_000),
    "a cheap stone gets the first price of the series": (
        {"margin_bps": 0, "rounding": {"to_cents": 10_000, "ending_cents": 9_900}},
        3_000,
        9_900,
    ),
    "never below nothing": ({"margin_bps": 0, "amount_cents": -20_000}, 10_000, 0),
}


@pytest.mark.parametrize("case", TERMS_AND_PRICES)
def test_terms_other_than_a_margin(case: str) -> None:
    terms, cost, price = TERMS_AND_PRICES[case]
    assert price_function(Terms.model_validate(terms), 1_000_000)(cost) == price


def test_a_larger_share_holds_the_smaller_one() -> None:
    ids = [f"nivoda-natural:{number}" for number in range(20_000)]
    shares = [{stone for stone in ids if in_share(stone, bps)} for bps in (100, 1_000, 10_000)]
    assert shares[0] < shares[1] < shares[2] == set(ids)
    assert 120 < len(shares[0]) < 280
