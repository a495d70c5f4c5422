"""A slow, obvious reading of rule sets, sharing nothing with the engine but the table; and random tables and stones."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple

from hypothesis import strategies as st

from schemas.conditions import Range
from schemas.ruleset import (
    BaseMargins,
    PublishedRuleSet,
    Rate,
    RatingRule,
    Ratings,
    Rounding,
    Row,
    Rule,
    RuleSet,
    Terms,
)
from schemas.stone import Stone

AT_MS = 1_750_000_000_000


class Outcome(NamedTuple):
    """What a stone is given."""

    price_cents: int
    rule: str
    margin_bps: int
    rating: int | None


def slow_outcome(published: PublishedRuleSet, stone: Stone) -> Outcome:
    """Price and rating by the letter of `schemas.ruleset`."""
    at_ms = published.published_at if published.valid_at is None else published.valid_at
    content, rate = published.content, published.rate
    if published.rest and zlib.crc32(stone.id.encode()) % 10_000 >= published.share_bps:
        content, rate = published.rest.content, published.rest.rate
    name, terms = slow_terms(content, stone, at_ms)
    ppm = 1_000_000 if content.currency == "USD" else (rate or _none()).ppm
    rated = first_row(content.ratings.rules, stone, at_ms)
    rating = content.ratings.base if rated is None else rated.rating
    return Outcome(slow_price(terms, ppm, stone.cost_cents), name, terms.margin_bps or 0, rating)


def _none() -> Any:
    raise AssertionError("a foreign currency has a rate")


def slow_terms(content: RuleSet, stone: Stone, at_ms: int) -> tuple[str, Terms]:
    """Name and terms of the first row that holds, or of the base margin."""
    row = first_row(content.rules, stone, at_ms)
    if row is not None:
        return row.name, row
    kind = slow_value(stone, "type")
    return f"base:{kind}", Terms(margin_bps=getattr(content.base, f"{kind}_bps"))


def first_row(rows: tuple[Any, ...], stone: Stone, at_ms: int) -> Any:
    """The first row by priority that is valid and holds; the upper one of two alike."""
    for row in sorted(rows, key=lambda row: row.priority):
        if slow_valid(row, at_ms) and slow_group(row.when, stone, at_ms):
            return row
    return None


def slow_valid(row: Row, at_ms: int) -> bool:
    """Whether a row counts at a moment."""
    began = row.valid_from is None or row.valid_from.timestamp() <= at_ms / 1000
    return began and not (row.valid_until is not None and row.valid_until.timestamp() <= at_ms / 1000)


def slow_group(when: dict[str, Any], stone: Stone, at_ms: int = AT_MS) -> bool:
    """Whether all conditions of a group hold."""
    for name, condition in when.items():
        if name == "any":
            holds = any(slow_group(group, stone, at_ms) for group in condition)
        elif name == "all":
            holds = all(slow_group(group, stone, at_ms) for group in condition)
        else:
            holds = slow_holds(condition, slow_value(stone, name, at_ms))
        if not holds:
            return False
    return True


def slow_value(stone: Stone, name: str, at_ms: int = AT_MS) -> Any:
    """An attribute of a stone, derived ones too."""
    if name == "age":
        if stone.first_seen is None:
            return None
        return max(0, (datetime.fromtimestamp(at_ms // 1000, UTC) - stone.first_seen) // timedelta(days=1))
    if name == "type":
        if stone.color == "FANCY" or stone.fancy_color is not None:
            return "fancy"
        return "lab_grown" if stone.lab_grown else "natural"
    if name == "cost_per_carat_cents":
        return stone.cost_cents / stone.carat
    return getattr(stone, name)


def slow_holds(condition: Any, value: Any) -> bool:
    """One condition, on one value."""
    if value is None:
        return False
    if isinstance(condition, Range):
        return (
            (condition.min is None or value >= condition.min)
            and (condition.max is None or value <= condition.max)
            and (condition.below is None or value < condition.below)
        )
    return bool(value == condition) if isinstance(condition, bool) else value in condition


_MODES = {"half_up": ROUND_HALF_UP, "up": ROUND_CEILING, "down": ROUND_FLOOR}


def slow_price(terms: Terms, ppm: int, cost_cents: int) -> int:
    """Cost to price in exact decimals."""
    with localcontext() as exactly:
        exactly.prec = 60
        exact = Decimal(cost_cents) * (10_000 + (terms.margin_bps or 0)) / 10_000 * ppm / 1_000_000
        exact += terms.amount_cents
        rounding = terms.rounding or Rounding(to_cents=1)
        steps = (exact - rounding.ending_cents) / rounding.to_cents
        if rounding.mode == "half_up":
            # ROUND_HALF_UP of decimals goes away from zero; ours always goes up.
            whole = (steps + Decimal("0.5")).to_integral_value(ROUND_FLOOR)
        else:
            whole = steps.to_integral_value(_MODES[rounding.mode])
        # There is no price below the first of the series.
        price = max(int(whole), 0) * rounding.to_cents + rounding.ending_cents
    if terms.floor_cents is not None:
        price = max(price, terms.floor_cents)
    if terms.ceiling_cents is not None:
        price = min(price, terms.ceiling_cents)
    return max(price, 0)


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
    "delivery_days_max": [2, 5],
    "cost_per_carat_cents": [2, 5_000.5, 10_000],
    "age": [0, 1, 30],
}
_DAYS_OLD = (-3, -1e-5, 0, 0.5, 0.99999, 1, 1.00001, 29.99999, 30, 31)
FIRST_SEEN = [datetime.fromtimestamp(round(AT_MS / 1000 - 86_400 * days), UTC) for days in _DAYS_OLD]
"""Around the bounds of ages, to the second."""


def _range_of(values: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    bound = st.one_of(st.none(), st.sampled_from(values))

    def build(drawn: tuple[Any, Any, str]) -> dict[str, Any]:
        low, high, upper = drawn
        if low is not None and high is not None and low > high:
            low, high = high, low
        named = {"min": low, upper: high}
        return {name: value for name, value in named.items() if value is not None} or {"min": values[0]}

    return st.tuples(bound, bound, st.sampled_from(["max", "below"])).map(build)


_CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.lists(st.sampled_from(values), min_size=1, max_size=3) for name, values in TEXTS.items()},
    **{name: _range_of(values) for name, values in NUMBERS.items()},
    "lab_grown": st.booleans(),
    "treated": st.booleans(),
    "availability": st.sampled_from(["available", "on_hold"]),
    "type": st.sampled_from(["natural", "lab_grown", "fancy", ["natural", "fancy"]]),
    "id": st.sampled_from([f"nivoda-natural:{number}" for number in range(4)]),
}
_FLAT = st.dictionaries(st.sampled_from(list(_CONDITIONS)), st.none(), min_size=1, max_size=3).flatmap(
    lambda chosen: st.fixed_dictionaries({name: _CONDITIONS[name] for name in chosen})
)
WHENS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _FLAT,
    lambda groups: st.builds(
        lambda flat, kind, inner: {**flat, kind: inner},
        st.one_of(st.just({}), _FLAT),
        st.sampled_from(["any", "all"]),
        st.lists(groups, min_size=1, max_size=3),
    ),
    max_leaves=5,
)
_CENTS = st.sampled_from([1, 7, 100, 500, 9_900, 10_000])
_ROUNDINGS = st.builds(
    lambda to, ending, mode: {"to_cents": to, "ending_cents": ending % to, "mode": mode},
    _CENTS,
    st.integers(0, 9_999),
    st.sampled_from(["half_up", "up", "down"]),
)
TERMS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"margin_bps": st.integers(-9_999, 30_000)},
    optional={
        "amount_cents": st.integers(-20_000, 20_000),
        "rounding": _ROUNDINGS,
        "floor_cents": st.integers(0, 5_000),
        "ceiling_cents": st.integers(5_000, 1_000_000),
    },
)
_VALIDITY = st.sampled_from(
    [
        (None, None),
        ("2025-06-15T15:06:39Z", None),
        ("2025-06-15T15:06:40Z", "2026-01-01T00:00:00Z"),
        ("2025-06-15T17:06:41+02:00", None),
        (None, "2025-06-15T15:06:40Z"),
        ("2025-01-01T00:00:00Z", "2025-06-15T17:06:41+02:00"),
    ]
)
"""Around `AT_MS`, 2025-06-15T15:06:40Z."""


def _rows(outcome: st.SearchStrategy[dict[str, Any]], most: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    def named(drawn: list[tuple[Any, Any, int, Any]]) -> list[dict[str, Any]]:
        rows = []
        for place, (when, result, priority, (begins, ends)) in enumerate(drawn):
            validity = {"valid_from": begins, "valid_until": ends}
            rows.append({"name": f"row-{place}", "priority": priority, "when": when, **result, **validity})
        return rows

    # Few priorities, so that ties are common.
    return st.lists(st.tuples(WHENS, outcome, st.integers(0, 12), _VALIDITY), max_size=most).map(named)


def _rule_set(rows: list[Any], ratings: list[Any], base: Any, rated: int | None, currency: str) -> RuleSet:
    # Past the check that refuses ties: the engine has an answer to them all the same.
    rules = tuple(map(Rule.model_validate, rows))
    rated_rows = tuple(map(RatingRule.model_validate, ratings))
    table = Ratings(base=rated).model_copy(update={"rules": rated_rows})
    content = RuleSet(base=BaseMargins.model_validate(base), currency=currency)
    return content.model_copy(update={"rules": rules, "ratings": table})


_MARGIN = st.integers(-9_999, 50_000)
RULE_SETS = st.builds(
    _rule_set,
    _rows(TERMS, 14),
    _rows(st.fixed_dictionaries({"rating": st.integers(1, 10)}), 4),
    st.fixed_dictionaries({"natural_bps": _MARGIN, "lab_grown_bps": _MARGIN, "fancy_bps": _MARGIN}),
    st.one_of(st.none(), st.integers(1, 10)),
    st.sampled_from(["USD", "USD", "EUR"]),
)


def _published(content: RuleSet, rest: RuleSet | None, share_bps: int, ppm: int) -> PublishedRuleSet:
    rate = Rate(id="EUR-1", currency="EUR", ppm=ppm, at=0, source="test")
    published = PublishedRuleSet(
        number=2, published_at=0, actor="test", reason="test", content=RuleSet(), valid_at=AT_MS, rate=rate
    )
    side = rest and {"number": 1, "content": RuleSet(), "rate": rate}
    published = PublishedRuleSet.model_validate(
        {**dict(published), "rest": side, "share_bps": share_bps if rest else 10_000}
    )
    return published.model_copy(
        update={
            "content": content,
            "rest": published.rest and published.rest.model_copy(update={"content": rest}),
        }
    )


PUBLISHED = st.builds(
    _published,
    RULE_SETS,
    st.one_of(st.none(), RULE_SETS),
    st.sampled_from([0, 100, 5_000, 9_999]),
    st.sampled_from([1, 923_456, 1_000_001, 157_000_000, 900_000_000]),
)
CHANGES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        **{name: st.sampled_from([None, *values]) for name, values in TEXTS.items() if name != "shape"},
        "id": st.sampled_from([f"nivoda-natural:{number}" for number in range(40)]),
        "shape": st.sampled_from(TEXTS["shape"]),
        "carat": st.sampled_from([*NUMBERS["carat"], 0.299, 1.01]),
        "cost_cents": st.sampled_from([*NUMBERS["cost_cents"], 0, 4_999, 123_456_789, 10**12]),
        "depth_mm": st.sampled_from([None, 2.9, *NUMBERS["depth_mm"]]),
        "delivery_days_max": st.sampled_from([None, 1, *NUMBERS["delivery_days_max"]]),
        "lab_grown": st.booleans(),
        "treated": st.sampled_from([None, True, False]),
        "first_seen": st.sampled_from([None, *FIRST_SEEN]),
        "availability": st.sampled_from(["available", "on_hold", "unavailable"]),
    }
)
"""Changes to a plain stone; small spaces, so that values meet bounds."""
