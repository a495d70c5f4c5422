"""The history of what operators did: who, when, what, to what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runtime.postgres import Link


async def note(link: Link, actor: str, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Leave an action in the history, for ever."""
    await link.execute(
        "INSERT INTO actions (actor, action, subject, details) VALUES ($1, $2, $3, $4)",
        actor,
        action,
        subject,
        json.dumps(details),
    )


async def history(link: Link, limit: int = 50) -> list[dict[str, Any]]:
    """What was done, newest first."""
    rows = await link.fetch(
        "SELECT at, actor, action, subject, details FROM actions ORDER BY id DESC LIMIT $1", limit
    )
    return [{**row, "details": json.loads(row["details"])} for row in rows]
