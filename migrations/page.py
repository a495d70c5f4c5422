"""The page of the SQL schema: what the revisions execute, and what the columns of `diamonds` mean."""

from __future__ import annotations

from migrations import runner
from schemas.sql import SINK_COLUMNS, STONE_COLUMNS


def sql_page() -> str:
    """The schema as a Markdown page."""
    lines = [
        "# SQL schema",
        "",
        "Generated from `migrations/` and `schemas/` by `make docs`.",
        "",
        "## The columns of `diamonds`",
        "",
        "| column | type | null | meaning |",
        "|---|---|---|---|",
    ]
    for column in STONE_COLUMNS + SINK_COLUMNS:
        null = "yes" if column.nullable else ""
        lines.append(f"| `{column.name}` | {column.sql_type} | {null} | {column.meaning} |")
    return "\n".join(
        [
            *lines,
            "",
            "## What the revisions execute",
            "",
            "```sql",
            runner.render(None, "head").strip(),
            "```",
            "",
        ]
    )
