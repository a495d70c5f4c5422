"""The price history as CSV: a stone's, a rule's or a period's, line by line, however long it is."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from runtime.postgres import Link
from schemas.errors import Invalid

COLUMNS: Final = (
    *(
        "stone_id",
        "changed_at",
        "price_cents",
        "previous_price_cents",
        "currency",
        "cost_cents",
        "margin_bps",
    ),
    *("rule", "rules_version", "mapper_version", "rate_id", "cause", "seq"),
)
_AT_ONCE: Final = 1_000
_SELECT: Final = f"""
SELECT {", ".join(COLUMNS)} FROM price_history
WHERE ($1::text IS NULL OR stone_id = $1) AND ($2::text IS NULL OR rule = $2)
  AND ($3::timestamptz IS NULL OR changed_at >= $3) AND ($4::timestamptz IS NULL OR changed_at < $4)
ORDER BY changed_at, stone_id, seq, rules_version, mapper_version"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported; each that is named narrows it. Times without a zone are UTC.

    Attributes:
        start: the first moment.
        end: the first moment no more.

    Raises:
        Invalid: nothing is named, or the period is empty.
    """

    stone: str | None = None
    rule: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def __post_init__(self) -> None:
        if not any((self.stone, self.rule, self.start, self.end)):
            raise Invalid("stone", "name a stone, a rule or a period to export")
        start, end = _zoned(self.start), _zoned(self.end)
        if start is not None and end is not None and start >= end:
            raise Invalid("from", f"{start} is not before {end}")


async def lines(link: Link, wanted: Wanted) -> AsyncIterator[str]:
    """CSV lines, the names of the columns first, oldest price first; one snapshot of the history."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    async with link.transaction(isolation="repeatable_read", readonly=True):
        arguments = (wanted.stone, wanted.rule, _zoned(wanted.start), _zoned(wanted.end))
        cursor = await link.cursor(_SELECT, *arguments)
        while True:
            rows = await cursor.fetch(_AT_ONCE)
            writer.writerows([_shown(value) for value in row] for row in rows)
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
            if len(rows) < _AT_ONCE:
                return


def _shown(value: object) -> object:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _zoned(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
