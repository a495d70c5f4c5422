"""From content to price: a published rule set compiled once into one function. Pure; money in integers only.

What a row means is said in `schemas.ruleset`, how its conditions are compiled in `streams.pricing.matching`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.columns import NULL_INT
from schemas.conditions import AGE, TYPES, Range, conditions_in
from schemas.ruleset import (
    HOME_CURRENCY,
    RATE_ONE,
    WHOLE_BPS,
    BaseMargins,
    PublishedRuleSet,
    Rate,
    Rounding,
    RuleSet,
    Side,
    Terms,
)
from schemas.stone import Content
from streams.pricing.matching import Case, Match, compile_cases, fields_read, stone_type

SCALE: Final = WHOLE_BPS * RATE_ONE
"""A cost times (10 000 + margin) times rate is a price in this many parts of a minor unit."""
DAY_S: Final = 86_400
TO_THE_CENT: Final = Rounding(to_cents=1)

ResultT = TypeVar("ResultT")


class Priced(NamedTuple):
    """A price and what it came from."""

    price_cents: int
    rule: str
    margin_bps: int


class Margin(NamedTuple):
    """What holds for a stone.

    Attributes:
        rule: the rule's name.
        bps: its margin.
        price: cost in US cents to price in minor units of the sale currency.
        sale_json: sale currency and rule as they stand in a record.
        terms_json: margin and exchange rate likewise, up to the previous price.
    """

    rule: str
    bps: int
    price: Callable[[int], int]
    sale_json: bytes
    terms_json: bytes


class PriceBook:
    """A rule set ready to price.

    Attributes:
        number: the rule set's number.
        margin: the compiled function: content and age to the margin that holds for it.
        rating: the same to the rating that holds for it, 1 to 10, or null.
        reads: the fields of a content that both may look at.
        asks_age: whether they look at the age too.
    """

    def __init__(self, published: PublishedRuleSet) -> None:
        self.number = published.number
        self.reads = frozenset(_reads(sides(published)))
        self.asks_age = any(side.content.asks(AGE) for side in sides(published))
        self._ages = sorted({0, *(bound for bound in _age_bounds(sides(published)) if bound > 0)})
        at_ms, share, rest = published.counted_at, published.share_bps, published.rest
        self._counted_at_s = at_ms // 1000
        self.margin = compile_margins(published.content, published.rate, at_ms)
        self.rating = compile_ratings(published.content, at_ms)
        if rest is not None and share < WHOLE_BPS:
            self.margin = _shared(share, self.margin, compile_margins(rest.content, rest.rate, at_ms))
            self.rating = _shared(share, self.rating, compile_ratings(rest.content, at_ms))

    def age(self, first_seen_s: int) -> int | None:
        """Whole days in stock of a stone that was first seen then (seconds since 1970); null for `NULL_INT`."""
        return None if first_seen_s == NULL_INT else age_at(first_seen_s, self._counted_at_s)

    def age_alike(self, first_seen_s: int) -> int | None:
        """The least age that is given what the stone's own is: one of few, for what is remembered by it."""
        age = self.age(first_seen_s)
        return None if age is None else self._ages[bisect_right(self._ages, age) - 1]

    def price(self, content: Content, age: int | None = None) -> Priced:
        """The stone's price, rule and margin."""
        margin = self.margin(content, age)
        return Priced(margin.price(content.cost_cents), margin.rule, margin.bps)


def price_cents(cost_cents: int, margin_bps: int) -> int:
    """`round_half_up(cost × (10 000 + margin) / 10 000)`, for a cost that is not negative."""
    return (cost_cents * (WHOLE_BPS + margin_bps) + 5_000) // WHOLE_BPS


def bucket(stone_id: str) -> int:
    """Where a stone stands among all, 0 to 9 999: for ever the same, and equally often each."""
    return crc32(stone_id.encode()) % WHOLE_BPS


def buckets(stone_ids: Sequence[str]) -> NDArray[np.int64]:
    """The same of many stones."""
    return np.fromiter(map(crc32, map(str.encode, stone_ids)), np.int64, len(stone_ids)) % WHOLE_BPS


def in_share(stone_id: str, share_bps: int) -> bool:
    """Whether a stone is among the share that takes a new rule set first; a larger share holds every smaller one."""
    return bucket(stone_id) < share_bps


def sides(published: PublishedRuleSet) -> list[Side]:
    """The rule sets that price stones under a number: the published one, and that of the stones outside its share."""
    # Constructed, not read: its parts were checked when the number was.
    own = Side.model_construct(number=published.number, content=published.content, rate=published.rate)
    return [own, published.rest] if published.rest and published.share_bps < WHOLE_BPS else [own]


def base_terms(base: BaseMargins) -> dict[str, Terms]:
    """The terms of stones that no row matches, by type."""
    return {kind: Terms(margin_bps=getattr(base, f"{kind}_bps")) for kind in TYPES}


def base_rule(kind: str) -> str:
    """The name under which a base margin stands in a record."""
    return f"base:{kind}"


def compile_margins(content: RuleSet, rate: Rate | None, at_ms: int) -> Match[Margin]:
    """The price table's rows that are valid at a moment (ms since 1970) as one function."""
    by_type = {
        kind: margin_of(base_rule(kind), terms, content, rate)
        for kind, terms in base_terms(content.base).items()
    }
    rows = sorted((rule for rule in content.rules if rule.valid_at(at_ms)), key=lambda rule: rule.priority)
    cases = [Case(rule.when, margin_of(rule.name, rule, content, rate)) for rule in rows]
    return compile_cases(cases, lambda stone, _age: by_type[stone_type(stone)])


def compile_ratings(content: RuleSet, at_ms: int) -> Match[int | None]:
    """The rating table's rows that are valid at a moment (ms since 1970) as one function."""
    rows = sorted(
        (rule for rule in content.ratings.rules if rule.valid_at(at_ms)), key=lambda rule: rule.priority
    )
    base = content.ratings.base
    return compile_cases(
        [Case[int | None](rule.when, rule.rating) for rule in rows], lambda _stone, _age: base
    )


def age_at(first_seen_s: int, at_s: int) -> int:
    """Whole days in stock at a moment, never less than 0; both moments in seconds since 1970 (decision 19)."""
    return max(0, (at_s - first_seen_s) // DAY_S)


def price_function(terms: Terms, ppm: int) -> Callable[[int], int]:
    """The terms as a function of the cost, at a rate in minor units per million US cents."""
    factor = WHOLE_BPS + terms.bps
    plain = terms.rounding is None and terms.floor_cents is None and terms.ceiling_cents is None
    if plain and ppm == RATE_ONE and not terms.amount_cents:
        return lambda cost_cents: (cost_cents * factor + 5_000) // WHOLE_BPS
    rounding = terms.rounding or TO_THE_CENT
    step, mode = rounding.to_cents * SCALE, rounding.mode
    # Half a step more, or all but nothing of it, before rounding down: the whole of `mode`.
    lift = {"half_up": step // 2, "up": step - 1, "down": 0}[mode]
    scaled, shift = factor * ppm, (terms.amount_cents - rounding.ending_cents) * SCALE + lift
    to_cents, ending = rounding.to_cents, rounding.ending_cents
    floor = max(0, terms.floor_cents or 0)
    ceiling = terms.ceiling_cents

    def price(cost_cents: int) -> int:
        steps = (cost_cents * scaled + shift) // step
        rounded = (steps if steps > 0 else 0) * to_cents + ending
        limited = rounded if ceiling is None or rounded < ceiling else ceiling
        return limited if limited > floor else floor

    return price


def _reads(sides: Sequence[Side]) -> Iterator[str]:
    yield from fields_read("type")
    for side in sides:
        for row in side.content.rows:
            for name, _ in conditions_in(row.when):
                yield from fields_read(name)
    if len(sides) > 1:
        # Which of them holds is decided by the stone itself.
        yield "id"


def _age_bounds(sides: Sequence[Side]) -> Iterator[int]:
    """The ages from which on a condition holds or ceases to hold."""
    for side in sides:
        for row in side.content.rows:
            for name, span in conditions_in(row.when):
                if name == AGE and isinstance(span, Range):
                    if span.max is not None:
                        yield floor(span.max) + 1
                    yield from (ceil(bound) for bound in (span.min, span.below) if bound is not None)


def margin_of(name: str, terms: Terms, content: RuleSet, rate: Rate | None) -> Margin:
    """What a row of a rule set gives, by the rate of the rule set's currency."""
    if content.currency == HOME_CURRENCY:
        rate = None
    encode = msgspec.json.encode
    return Margin(
        name,
        terms.bps,
        price_function(terms, RATE_ONE if rate is None else rate.ppm),
        b',"currency":%b,"rule":%b' % (encode(content.currency), encode(name)),
        b'%d,"rate_id":%b,"previous_price_cents":' % (terms.bps, encode(rate and rate.id)),
    )


def _shared(share_bps: int, inside: Match[ResultT], outside: Match[ResultT]) -> Match[ResultT]:
    return lambda content, age: (inside if bucket(content.id) < share_bps else outside)(content, age)
