"""Rule sets: the decision table that turns a cost into a price. People write these files, so pydantic guards them.

A rule set is published whole, under a new number. The first rule by priority (lowest number first) whose conditions
all hold gives the margin; without one, the base margin of the stone's type does. A condition on an attribute that is
null never holds.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args, get_type_hints

import msgspec
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.errors import Invalid
from schemas.stone import Content

RULESET_VERSION: Final = 1
MARGIN_BPS_MIN: Final = -9_999
MARGIN_BPS_MAX: Final = 1_000_000
MAX_RULES: Final = 10_000
MAX_FILE_BYTES: Final = 4 * 1024 * 1024

MarginBps = Annotated[int, Field(strict=True, ge=MARGIN_BPS_MIN, le=MARGIN_BPS_MAX)]


def _attribute_types() -> dict[str, type]:
    types: dict[str, type] = {}
    for name, hint in get_type_hints(Content).items():
        plain = [part for part in get_args(hint) or (hint,) if part is not type(None)]
        types[name] = plain[0] if isinstance(plain[0], type) else str
    return types


ATTRIBUTES: Final = _attribute_types()
"""What a condition may look at: every field of a stone's content with its type (str, int, float, bool)."""


class Strict(BaseModel):
    """Refuses unknown keys and numbers without end, never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(Strict):
    """A range of numbers: `min` and `max` belong to it, `below` does not."""

    min: int | float | None = None
    max: int | float | None = None
    below: int | float | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        upper = self.max if self.max is not None else self.below
        if self.min is None and upper is None:
            raise ValueError("a range needs min, max or below")
        if self.max is not None and self.below is not None:
            raise ValueError("a range takes max or below, not both")
        if self.min is not None and upper is not None and self.min > upper:
            raise ValueError(f"min {self.min} is greater than {upper}")
        return self


Condition = Range | bool | tuple[str, ...]


class Rule(Strict):
    """One row: conditions that must all hold, and the margin they give."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^:\s][^:]*$")]
    priority: Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
    when: dict[str, Condition] = Field(min_length=1)
    margin_bps: MarginBps

    @field_validator("when", mode="before")
    @classmethod
    def _conditions_fit_their_attribute(cls, when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        return {name: _fitting(name, value) for name, value in when.items()}


def _fitting(name: str, value: Any) -> Any:
    """The condition as its attribute's type wants it; a single text stands for a list of one."""
    kind = ATTRIBUTES.get(name)
    if kind is None:
        raise ValueError(f"{name}: a stone has no such attribute")
    if kind is bool:
        fits, wanted = isinstance(value, bool), "true or false"
    elif kind in (int, float):
        fits, wanted = isinstance(value, dict | Range), "a range {min:, max:, below:}"
    else:
        value = (value,) if isinstance(value, str) else value
        texts = isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)
        fits, wanted = texts and len(value) > 0, "a text or a list of texts"
    if not fits:
        raise ValueError(f"{name}: takes {wanted}")
    return value


class BaseMargins(Strict):
    """Margins of stones that no rule matches, in basis points."""

    natural_bps: MarginBps = 4_000
    lab_grown_bps: MarginBps = 7_900
    fancy_bps: MarginBps = 4_000


class RuleSet(Strict):
    """A whole decision table, as a person writes it."""

    base: BaseMargins = BaseMargins()
    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> RuleSet:
        for attribute in ("name", "priority"):
            seen: dict[object, int] = {}
            for row, rule in enumerate(self.rules, start=1):
                value = getattr(rule, attribute)
                if value in seen:
                    raise ValueError(f"row {row}: {attribute} {value!r} is already that of row {seen[value]}")
                seen[value] = row
        return self


class PublishedRuleSet(Strict):
    """A rule set under its number: one record of `pricing.rulesets`."""

    number: Annotated[int, Field(ge=1)]
    published_at: Annotated[int, Field(description="UTC, milliseconds since 1970")]
    actor: str
    reason: str
    content: RuleSet


def parse_rule_file(data: bytes) -> RuleSet:
    """Read a rule set from YAML or JSON (JSON is YAML).

    Raises:
        Invalid: names the row and the field of the first mistake, and the rule it breaks.
    """
    if len(data) > MAX_FILE_BYTES:
        raise Invalid("file", f"has {len(data)} bytes; at most {MAX_FILE_BYTES} are read", code="too_large")
    try:
        document = msgspec.json.decode(data) if data.lstrip()[:1] == b"{" else yaml.safe_load(data)
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("file", f"is neither YAML nor JSON: {error}", code="unreadable") from error
    if not isinstance(document, dict):
        raise Invalid("file", "must be a mapping with `base` and `rules`", code="unreadable")
    try:
        return RuleSet.model_validate(document)
    except ValidationError as error:
        raise Invalid(*_first_mistake(error), code="bad_rule") from error


def _first_mistake(error: ValidationError) -> tuple[str, str]:
    first = error.errors()[0]
    # Where a union failed, pydantic adds the tried type's name to the path; the writer of the file knows no such field.
    place = [str(part) for part in first["loc"] if "Range" not in str(part)]
    if place[:1] == ["rules"] and len(place) > 1:
        place[:2] = [f"row {int(place[1]) + 1}"]
    return ".".join(place) or "rules", first["msg"].removeprefix("Value error, ")
