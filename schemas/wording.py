"""What pydantic finds wrong, in words for whoever wrote it: a shop's developer knows nothing of tuples and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = {
    "missing": "is missing",
    "extra_forbidden": "is not permitted here",
    "json_invalid": "must be JSON",
    "string_type": "must be a text",
    "int_type": "must be an integer",
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be a mapping"),
}


def rule_of(detail: Mapping[str, Any]) -> str:
    """The rule that one of a `ValidationError`'s errors says was broken; it goes on after the field's name."""
    message = str(detail["msg"]).removeprefix("Value error, ")
    for subject in ("Input", "String", "Value", "List", "Tuple", "Datetime"):
        message = message.replace(f"{subject} should", "must", 1)
    return _WORDS.get(detail["type"], message)
