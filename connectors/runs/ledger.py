"""The ledger of a run: every item that was fetched has one outcome, and what is missing is named.

Two sides that know nothing of each other are held together: what the raw log holds of the run (its pages, by their
headers) and what `process` says became of each item (its receipts). Then, by stone, distinct fetched = canonical +
unchanged + superseded + duplicate + dead: a stone that came several times counts once, by its first outcome other than
duplicate, so that receipts written twice around a crash change nothing. The vendor's own count stands beside it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from connectors.runs.receipts import CODES
from runtime.postgres import Link
from schemas.facts import PART_STEP
from schemas.receipt import Outcome

MOST_NAMED: Final = 100
"""Missing pieces that are named; the rest is only counted."""


class Verdict(StrEnum):
    """What the ledger comes to."""

    OPEN = "open"
    """The run, or its processing, is still under way."""
    GREEN = "green"
    AMBER = "amber"
    """It balances, but the vendor's own count is off by more than the setting."""
    RED = "red"
    """It does not balance."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A piece that is not as it must be.

    Attributes:
        what: `page` (not in the log), `receipt` (in the log and not accounted for), `items` (a receipt for another number
            of items), `end` (a partition without an end), or `doubled` (twice in the log: it counts once, no fault).
    """

    what: str
    partition: int
    page: int | None = None
    reread: int = 0
    raw_offsets: tuple[int, ...] = ()


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a run.

    Attributes:
        pages: page facts in the log, re-reads included, each once.
        items: items in them.
        receipted: items with an outcome.
        distinct: different stones among them; an item whose stone cannot be told is one of its own.
        outcomes: distinct stones by outcome.
        counted: what the vendor counted for the whole run; it drifts.
        gaps: what is missing, at most `MOST_NAMED`.
        missing: how many of the gaps make it unbalanced.
        doubled: pages that stand in the log twice.
    """

    run: str
    verdict: Verdict
    pages: int
    items: int
    receipted: int
    distinct: int
    outcomes: dict[str, int]
    counted: int
    gaps: tuple[Gap, ...]
    missing: int
    doubled: int

    @property
    def balanced(self) -> bool:
        """Whether nothing is missing and the sum holds."""
        return (
            self.missing == 0
            and self.items == self.receipted
            and self.distinct == sum(self.outcomes.values())
        )

    @property
    def off_percent(self) -> float:
        """How far the vendor's count lies from what was fetched."""
        return off_percent(self.counted, self.distinct)


def off_percent(counted: int, fetched: int) -> float:
    """How far a vendor's count lies from what was fetched, in percent of the larger."""
    return 100 * abs(counted - fetched) / max(counted, fetched, 1)


# The first of several facts of one page counts; `copies` are all of them.
_LOGGED: Final = """
WITH logged AS (
    SELECT partition, page, reread, min(raw_offset) AS raw_offset, array_agg(raw_offset ORDER BY raw_offset) AS copies,
           min(rows) AS rows
    FROM run_pages WHERE run = $1 GROUP BY partition, page, reread)"""

_SUMS: Final = f"""{_LOGGED}
SELECT count(*) AS pages, coalesce(sum(l.rows), 0) AS items, coalesce(sum(cardinality(r.outcomes)), 0) AS receipted,
       count(*) FILTER (WHERE cardinality(l.copies) > 1) AS doubled
FROM logged l LEFT JOIN receipts r ON r.run = $1 AND r.raw_offset = l.raw_offset"""

_GAPS: Final = f"""{_LOGGED}, ends AS (
    SELECT number, end_page FROM run_partitions WHERE run = $1 AND end_page IS NOT NULL)
SELECT 'page' AS what, e.number AS partition, wanted.page, 0 AS reread, ARRAY[]::bigint[] AS copies
FROM ends e, generate_series(0, e.end_page - 1) AS wanted (page)
WHERE NOT EXISTS (SELECT FROM logged l WHERE l.partition = e.number AND l.page = wanted.page)
UNION ALL
SELECT 'page', (r.value->>0)::int, (r.value->>1)::int, (r.value->>2)::int, ARRAY[]::bigint[]
FROM runs, jsonb_array_elements(rereads) AS r
WHERE run = $1 AND NOT EXISTS (
    SELECT FROM logged l
    WHERE (l.partition, l.page, l.reread % {PART_STEP}) = ((r.value->>0)::int, (r.value->>1)::int, (r.value->>2)::int))
UNION ALL
SELECT 'receipt', l.partition, l.page, l.reread, l.copies
FROM logged l WHERE NOT EXISTS (SELECT FROM receipts r WHERE r.run = $1 AND r.raw_offset = l.raw_offset)
UNION ALL
SELECT 'items', l.partition, l.page, l.reread, l.copies
FROM logged l JOIN receipts r ON r.run = $1 AND r.raw_offset = l.raw_offset WHERE cardinality(r.outcomes) <> l.rows
UNION ALL
SELECT 'end', number, NULL, 0, ARRAY[]::bigint[]
FROM run_partitions WHERE run = $1 AND ended_at IS NULL
UNION ALL
SELECT 'doubled', partition, page, reread, copies FROM logged WHERE cardinality(copies) > 1
ORDER BY 1, 2, 3, 4"""

_DUPLICATE: Final = CODES[Outcome.DUPLICATE]
# Packed so that one aggregate finds the first outcome by place in the log, with duplicates behind all others.
_OUTCOMES: Final = f"""
WITH items AS (
    SELECT u.stone, u.outcome, r.raw_offset
    FROM (SELECT min(raw_offset) AS raw_offset FROM run_pages WHERE run = $1 GROUP BY partition, page, reread) AS first
    JOIN receipts r ON r.run = $1 AND r.raw_offset = first.raw_offset,
    unnest(r.stones, r.outcomes) AS u (stone, outcome)
), stones AS (
    SELECT min(CASE outcome WHEN {_DUPLICATE} THEN 1::bigint << 61 ELSE raw_offset * 8 END + outcome) AS first
    FROM items WHERE stone IS NOT NULL GROUP BY stone)
SELECT (first & 7)::int AS outcome, count(*) FROM stones GROUP BY 1
UNION ALL
SELECT outcome::int, count(*) FROM items WHERE stone IS NULL GROUP BY 1"""


async def ledger_of(link: Link, run: str, off_limit_percent: float) -> Ledger:
    """The ledger of a run as the tables have it now; the verdict is that of a run whose processing is over.

    Raises:
        Invalid: there is no such run.
    """
    sums = await link.fetchrow(_SUMS, run)
    rows = await link.fetch(_GAPS, run)
    counted = await link.fetchval("SELECT coalesce(counted, 0) FROM runs WHERE run = $1", run)
    codes = list(Outcome)
    outcomes = dict.fromkeys(codes, 0)
    for code, number in await link.fetch(_OUTCOMES, run):
        outcomes[codes[code]] += number
    gaps = tuple(
        Gap(
            what=row["what"],
            partition=row["partition"],
            page=row["page"],
            reread=row["reread"],
            raw_offsets=tuple(row["copies"]),
        )
        for row in rows
    )
    made = Ledger(
        run=run,
        verdict=Verdict.GREEN,
        pages=sums["pages"],
        items=int(sums["items"]),
        receipted=int(sums["receipted"]),
        distinct=sum(outcomes.values()),
        outcomes={str(outcome): number for outcome, number in outcomes.items()},
        counted=counted or 0,
        gaps=gaps[:MOST_NAMED],
        missing=sum(gap.what != "doubled" for gap in gaps),
        doubled=sums["doubled"],
    )
    return msgspec.structs.replace(made, verdict=_verdict(made, off_limit_percent))


def _verdict(ledger: Ledger, off_limit_percent: float) -> Verdict:
    if not ledger.balanced:
        return Verdict.RED
    return Verdict.AMBER if ledger.off_percent > off_limit_percent else Verdict.GREEN


def shown(ledger: Ledger) -> dict[str, Any]:
    """A ledger as commands and routes show it."""
    return {
        **msgspec.to_builtins(ledger),
        "balanced": ledger.balanced,
        "vendor_off_percent": round(ledger.off_percent, 3),
    }
