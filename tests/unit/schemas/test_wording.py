"""What pydantic finds wrong is told in words that need no Python."""

from typing import Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from schemas.wording import rule_of


class Inner(BaseModel):
    number: int


class Asked(BaseModel, extra="forbid"):
    name: str = Field("a", min_length=1)
    limit: int = Field(1, ge=1)
    rows: tuple[int, ...] = ()
    inner: Inner = Inner(number=1)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"name": ""}, "must have at least 1 character"),
        ({"limit": 0}, "must be greater than or equal to 1"),
        ({"limit": "x"}, "must be a valid integer, unable to parse string as an integer"),
        ({"rows": {}}, "must be a list"),
        ({"inner": 1}, "must be a mapping"),
        ({"inner": {}}, "is missing"),
        ({"sparkle": 1}, "is not permitted here"),
    ],
)
def test_a_rule_goes_on_after_the_fields_name(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Asked.model_validate(given)
    assert [rule_of(detail) for detail in raised.value.errors()] == [rule]
