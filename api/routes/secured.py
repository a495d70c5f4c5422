"""What every route that needs a key says of itself in OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from api.problems import answers

SECURED: Final[Mapping[str, Any]] = {"security": [{"key": []}]}


def secured(schema: Mapping[str, Any], *problems: int, **extra: Any) -> dict[str, Any]:
    """Arguments of a route's decorator: JSON of a schema, its refusals, the key, and more members of its operation."""
    return {"responses": answers(schema, *problems), "openapi_extra": {**extra, **SECURED}}
