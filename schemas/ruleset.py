"""Rule sets: the decision tables that turn a cost into a price and a rating. People write them, so pydantic guards them.

A rule set is published whole, under a new number. The first rule by priority (lowest number first) whose conditions
all hold gives the terms; without one, the base margin of the stone's type does. Of two rows with one priority, which
no file may have, the upper one is first.

A price is computed in one piece and rounded once:

1. cost × (1 + margin) × rate + amount, an exact fraction of the sale currency's minor unit;
2. rounded to the nearest minor unit, halves up; or as the row's `rounding` says;
3. not below `floor_cents`, then not above `ceiling_cents`.

A rounding gives no price below its first, `ending_cents`; without one that is nothing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BeforeValidator, Field, model_validator

from schemas.conditions import Strict, When, conditions_in

RULESET_VERSION: Final = 2
MARGIN_BPS_MIN: Final = -9_999
MARGIN_BPS_MAX: Final = 1_000_000
MAX_RULES: Final = 10_000
MAX_AMOUNT: Final = 10**12
HOME_CURRENCY: Final = "USD"
"""The currency of costs."""
RATE_ONE: Final = 1_000_000
"""The rate of the home currency to itself."""
WHOLE_BPS: Final = 10_000

MarginBps = Annotated[int, Field(strict=True, ge=MARGIN_BPS_MIN, le=MARGIN_BPS_MAX)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217")]
Rating = Annotated[int, Field(strict=True, ge=1, le=10)]


def _as_written(value: Any) -> Any:
    """No number: 20261201 would be a day in 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and re.match(r"\d{4}-", value)):
        raise ValueError("must be a moment with its zone, e.g. 2026-12-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_as_written)]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _ms(moment: datetime) -> int:
    """The first whole millisecond since 1970 that is not before a moment."""
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


class Rounding(Strict):
    """An explicit rounding: to `ending_cents` more than a multiple of `to_cents`.

    `{to_cents: 10000, ending_cents: 9900}` gives prices that end in 99 whole units (psychological rounding);
    `{to_cents: 500}` gives multiples of five.
    """

    to_cents: Annotated[int, Field(strict=True, ge=1, le=10**9)]
    ending_cents: Annotated[int, Field(strict=True, ge=0)] = 0
    mode: Literal["half_up", "up", "down"] = "half_up"

    @model_validator(mode="after")
    def _ending_is_smaller(self) -> Rounding:
        if self.ending_cents >= self.to_cents:
            raise ValueError(f"ending_cents {self.ending_cents} must be less than to_cents {self.to_cents}")
        return self


class Row(Strict):
    """What rows of every table have: a name, a place in the order, conditions that must all hold, and a validity.

    A row counts from `valid_from` on and no longer from `valid_until` on.
    """

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^:\s][^:]*$")]
    priority: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    when: When
    valid_from: Moment | None = None
    valid_until: Moment | None = None

    @model_validator(mode="after")
    def _is_ever_valid(self) -> Row:
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_from must be before valid_until")
        return self

    def valid_at(self, at_ms: int) -> bool:
        """Whether the row counts at a moment (milliseconds since 1970, UTC)."""
        return (self.valid_from is None or _ms(self.valid_from) <= at_ms) and (
            self.valid_until is None or at_ms < _ms(self.valid_until)
        )


class Terms(Strict):
    """What a price is made of; amounts in minor units of the sale currency. See the module for the order."""

    margin_bps: MarginBps | None = None
    amount_cents: Annotated[int, Field(strict=True, ge=-MAX_AMOUNT, le=MAX_AMOUNT)] = 0
    rounding: Rounding | None = None
    floor_cents: Amount | None = None
    ceiling_cents: Amount | None = None

    @model_validator(mode="after")
    def _is_a_price(self) -> Terms:
        if self.margin_bps is None and not self.amount_cents:
            raise ValueError("a row gives margin_bps, amount_cents or both")
        floor, ceiling = self.floor_cents, self.ceiling_cents
        if floor is not None and ceiling is not None and floor > ceiling:
            raise ValueError(f"floor_cents {floor} is greater than ceiling_cents {ceiling}")
        return self

    @property
    def bps(self) -> int:
        """The margin; none when only an amount is given."""
        return self.margin_bps or 0


class Rule(Row, Terms):
    """One row of the price table."""


class RatingRule(Row):
    """One row of the rating table."""

    rating: Rating


class BaseMargins(Strict):
    """Margins of stones that no rule matches, in basis points."""

    natural_bps: MarginBps = 4_000
    lab_grown_bps: MarginBps = 7_900
    fancy_bps: MarginBps = 4_000


class Ratings(Strict):
    """The rating table: how good an offer is, 1 to 10; `base` for stones that no row matches, null for none."""

    base: Rating | None = None
    rules: tuple[RatingRule, ...] = Field(default=(), max_length=MAX_RULES)


class RuleSet(Strict):
    """Whole decision tables, as a person writes them."""

    base: BaseMargins = BaseMargins()
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)
    ratings: Ratings = Ratings()
    currency: Currency = HOME_CURRENCY

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> RuleSet:
        _refuse_twins(self.rules, "")
        _refuse_twins(self.ratings.rules, "ratings ")
        return self

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of both tables, margins and ratings."""
        return (*self.rules, *self.ratings.rules)

    def asks(self, attribute: str) -> bool:
        """Whether a row of either table has a condition on an attribute."""
        return any(name == attribute for row in self.rows for name, _ in conditions_in(row.when))

    def boundaries(self) -> list[int]:
        """The moments (ms since 1970, UTC) at which a row begins or ceases to count, in order."""
        return sorted(
            {_ms(moment) for row in self.rows for moment in (row.valid_from, row.valid_until) if moment}
        )


def _refuse_twins(rows: tuple[Row, ...], table: str) -> None:
    for attribute in ("name", "priority"):
        seen: dict[object, int] = {}
        for place, row in enumerate(rows, start=1):
            value = getattr(row, attribute)
            if value in seen:
                raise ValueError(
                    f"{table}row {place}: {attribute} {value!r} is already that of row {seen[value]}"
                )
            seen[value] = place


class Rate(Strict):
    """An exchange rate: one record of `pricing.rates`."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    currency: Currency
    ppm: Annotated[
        int,
        Field(
            strict=True, ge=1, le=900_000_000, description="minor units of the currency per million US cents"
        ),
    ]
    at: Annotated[int, Field(description="when it was true: UTC, milliseconds since 1970")]
    source: str


class Side(Strict):
    """What the stones outside the share of a gradual publish are priced by: an earlier number's content and rate."""

    number: Annotated[int, Field(ge=1)]
    content: RuleSet
    rate: Rate | None = None


class TrialLimits(Strict):
    """What ends a gradual publish by itself, measured on the stones of the share."""

    mean_move_bps: Annotated[
        int, Field(strict=True, ge=0, description="their prices together may move by so much, up or down")
    ] = 1_000
    below_floor: Annotated[
        int, Field(strict=True, ge=0, description="so many may be priced below cost and least margin")
    ] = 0
    dead_letters: Annotated[int, Field(strict=True, ge=0, description="so many may fail to be priced")] = 10


class PublishedRuleSet(Strict):
    """A rule set under its number: one record of `pricing.rulesets`. Whatever moves a price is in it.

    Stones in the share take `content`, the others `rest`; see `streams.pricing.engine.in_share`.
    """

    number: Annotated[int, Field(ge=1)]
    published_at: Annotated[int, Field(description="UTC, milliseconds since 1970")]
    actor: str
    reason: str
    content: RuleSet
    cause: Annotated[
        str, Field(description="publish, rollback, share, return, rate or dates: what made the number")
    ] = "publish"
    valid_at: Annotated[
        int | None,
        Field(description="the moment whose valid rows count, ms since 1970; null: when it was published"),
    ] = None
    rate: Annotated[
        Rate | None, Field(description="of the content's currency; null for the home currency")
    ] = None
    share_bps: Annotated[int, Field(ge=0, le=WHOLE_BPS, description="share of the stones, basis points")] = (
        WHOLE_BPS
    )
    rest: Side | None = None
    trial: Annotated[TrialLimits | None, Field(description="of a gradual publish; null without")] = None

    @model_validator(mode="after")
    def _is_whole(self) -> PublishedRuleSet:
        for side in (self, self.rest) if self.rest else (self,):
            currency, rate = side.content.currency, side.rate
            if currency != HOME_CURRENCY and (rate is None or rate.currency != currency):
                raise ValueError(f"there is no rate for {currency}")
        if self.share_bps < WHOLE_BPS and self.rest is None:
            raise ValueError("a share needs the rule set of the other stones")
        return self

    @property
    def counted_at(self) -> int:
        """The moment whose valid rows count, ms since 1970, UTC."""
        return self.published_at if self.valid_at is None else self.valid_at
