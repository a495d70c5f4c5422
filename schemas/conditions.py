"""Conditions over a stone's attributes: what a row of a decision table may ask.

All conditions of a row must hold. `any` is a list of groups of which at least one must hold, `all` one of groups that
all must; groups nest:

    when:
      lab_grown: false
      any:
        - {shape: ROUND, carat: {min: 1, below: 2}}
        - {cost_per_carat_cents: {max: 300000}}

Null has one meaning: a condition on an attribute that is null does not hold, whatever it asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, WithJsonSchema, model_validator
from pydantic.functional_validators import BeforeValidator, PlainValidator

from schemas.stone import Content

MAX_DEPTH: Final = 5
MAX_CONDITIONS: Final = 1_000
"""Conditions of one row, those in groups included."""
MAX_BOUND: Final = 10**15
"""Every integer up to it is exact as a float too, so that scalar and columnar comparisons agree."""

_UNASKED: Final = frozenset(
    {
        *("offer_id", "certificate_number", "certificate_url", "image_url", "video_url"),
        *("key_to_symbols", "comments", "supplier_stock_number"),
    }
)
"""Free text and identities of one stone: no rule is about them, and no dictionary of columns could hold them."""

TYPES: Final = ("natural", "lab_grown", "fancy")
"""Values of the derived attribute `type`; a fancy color makes a stone fancy, however it grew."""

AGE: Final = "age"
"""Whole days since a stone came into stock, at the moment that a number counts (decision 19)."""

DERIVED: Final[dict[str, type]] = {"type": str, "cost_per_carat_cents": float, AGE: int}
"""Attributes that no content has as such: `type` (see `TYPES`), cost divided by carats, and `AGE`."""


def _attribute_types() -> dict[str, type]:
    types: dict[str, type] = {}
    for name, hint in get_type_hints(Content).items():
        plain = [part for part in get_args(hint) or (hint,) if part is not type(None)]
        types[name] = plain[0] if isinstance(plain[0], type) else str
    return types


ATTRIBUTES: Final = {
    **{name: kind for name, kind in _attribute_types().items() if name not in _UNASKED},
    **DERIVED,
}
"""What a condition may look at, with its type (str, int, float, bool)."""


class Strict(BaseModel):
    """Refuses unknown keys and numbers without end, never changes after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _a_number(value: Any) -> Any:
    """Nothing that could be read as a number: neither "1" nor true is one."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError("must be a number")
    return value


Bound = Annotated[int | float | None, BeforeValidator(_a_number)]


class Range(Strict):
    """A range of numbers: `min` and `max` belong to it, `below` does not."""

    min: Bound = None
    max: Bound = None
    below: Bound = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        upper = self.max if self.max is not None else self.below
        if self.min is None and upper is None:
            raise ValueError("a range needs min, max or below")
        if self.max is not None and self.below is not None:
            raise ValueError("a range takes max or below, not both")
        if self.min is not None and upper is not None and self.min > upper:
            raise ValueError(f"min {self.min} is greater than {upper}")
        if any(abs(bound) > MAX_BOUND for bound in (self.min, upper) if bound is not None):
            raise ValueError(f"a bound must not be beyond {MAX_BOUND}")
        return self

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return (
            (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.below is None or value < self.below)
        )


Condition = Range | bool | tuple[str, ...]
"""A range for numbers, true or false, or the texts of which one must be equal."""

GROUPS: Final = ("any", "all")


class BadCondition(ValueError):
    """A condition breaks a rule; `path` says where below `when`."""

    def __init__(self, path: tuple[str, ...], rule: str) -> None:
        super().__init__(rule)
        self.path = path
        self.rule = rule


def _read_when(value: Any) -> dict[str, Any]:
    read = _read_group(value, (), 1)
    if (count := sum(1 for _ in conditions_in(read))) > MAX_CONDITIONS:
        raise BadCondition((), f"has {count} conditions; at most {MAX_CONDITIONS} are taken")
    return read


def _read_group(value: Any, path: tuple[str, ...], depth: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadCondition(path, "must be a mapping of attributes to conditions")
    if not value:
        raise BadCondition(path, "should have at least 1 condition")
    if depth > MAX_DEPTH:
        raise BadCondition(path, f"groups nest deeper than {MAX_DEPTH}")
    read: dict[str, Any] = {}
    for name, condition in value.items():
        if name in GROUPS:
            if not isinstance(condition, list | tuple) or not condition:
                raise BadCondition((*path, name), "takes a list of groups")
            read[name] = tuple(
                _read_group(group, (*path, name, str(place)), depth + 1)
                for place, group in enumerate(condition, start=1)
            )
        else:
            read[str(name)] = _fitting(str(name), condition, (*path, str(name)))
    return read


def _fitting(name: str, value: Any, path: tuple[str, ...]) -> Condition:
    """The condition as its attribute's type wants it; a single text stands for a list of one."""
    kind = ATTRIBUTES.get(name)
    if kind is None:
        near = get_close_matches(name, (*ATTRIBUTES, *GROUPS), 1, 0.75)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadCondition(path, f"{name}: a stone has no such attribute that rules may ask for{hint}")
    if kind is bool:
        if not isinstance(value, bool):
            raise BadCondition(path, f"{name}: takes true or false")
        return value
    if kind in (int, float):
        return _range(name, value, path)
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadCondition(path, f"{name}: takes a text or a list of texts")
    return tuple(texts)


def _range(name: str, value: Any, path: tuple[str, ...]) -> Range:
    if isinstance(value, Range):
        return value
    if not isinstance(value, dict):
        raise BadCondition(path, f"{name}: takes a range {{min:, max:, below:}}")
    try:
        return Range.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        # Where a union failed, pydantic names the type it tried too; the writer of the file knows no such field.
        place = [str(part) for part in first["loc"][:1]]
        if first["type"] == "extra_forbidden":
            raise BadCondition((*path, *place), "a range takes min, max and below") from error
        raise BadCondition((*path, *place), first["msg"].removeprefix("Value error, ")) from error


When = Annotated[
    dict[str, Any],
    PlainValidator(_read_when),
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "description": (
                "attribute to condition: true or false, a text or a list of texts, or a range of min, max and below; "
                "`any` and `all` take lists of such groups"
            ),
        }
    ),
]
"""Attribute to `Condition`, and under `any` and `all` tuples of the like."""


def conditions_in(when: Mapping[str, Any]) -> Iterator[tuple[str, Condition]]:
    """Every condition of a row with its attribute, those in groups too."""
    for name, condition in when.items():
        if name in GROUPS:
            for group in condition:
                yield from conditions_in(group)
        else:
            yield name, condition


def direct(when: Mapping[str, Any]) -> dict[str, Condition]:
    """The conditions that must hold whatever the groups say."""
    return {name: condition for name, condition in when.items() if name not in GROUPS}
