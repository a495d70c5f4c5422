"""What was published, drafted and recorded, for people and programs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from runtime.postgres import Link
from schemas.errors import Invalid
from schemas.ruleset import WHOLE_BPS

_LIST: Final = """
SELECT number, published_at, actor, reason, cause, base, draft, override_reason, delivered_at,
       jsonb_array_length(content->'rules') AS rows, jsonb_array_length(coalesce(diff, '[]')) AS changes,
       coalesce((record->>'share_bps')::int, $3) AS share_bps
FROM rulesets WHERE $1::bigint IS NULL OR number < $1 ORDER BY number DESC LIMIT $2"""
_ONE: Final = """
SELECT number, published_at, actor, reason, cause, base, draft, override_reason, delivered_at, content, record,
       diff, report, coalesce((record->>'share_bps')::int, $2) AS share_bps
FROM rulesets WHERE number = $1"""
_DRAFTS: Final = """
SELECT id, created_at, actor, note, base, state, previewed_at, number, ended_at, ended_by,
       jsonb_array_length(content->'rules') AS rows
FROM rule_drafts ORDER BY id DESC LIMIT $1"""
_DRAFT: Final = "SELECT * FROM rule_drafts WHERE id = $1"
_JSON: Final = frozenset({"content", "record", "diff", "report"})


async def numbers(link: Link, *, before: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
    """Published numbers, the highest first, below `before`."""
    return [_shown(row) for row in await link.fetch(_LIST, before, limit, WHOLE_BPS)]


async def number(link: Link, wanted: int) -> dict[str, Any]:
    """Everything about one number: who, when, why, what it changed, what its preview said. Raises `Invalid`."""
    row = await link.fetchrow(_ONE, wanted, WHOLE_BPS)
    if row is None:
        raise Invalid("number", f"there is no rule set {wanted}", code="unknown")
    return _shown(row)


async def drafts(link: Link, *, limit: int = 50) -> list[dict[str, Any]]:
    """Drafts, the newest first."""
    return [_shown(row) for row in await link.fetch(_DRAFTS, limit)]


async def draft(link: Link, draft_id: int) -> dict[str, Any]:
    """Everything about one draft. Raises `Invalid` when there is none such."""
    row = await link.fetchrow(_DRAFT, draft_id)
    if row is None:
        raise Invalid("draft", f"there is no draft {draft_id}", code="unknown")
    return _shown(row)


def _shown(row: Any) -> dict[str, Any]:
    return {name: _value(name, value) for name, value in row.items()}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.loads(value) if name in _JSON and value is not None else value
