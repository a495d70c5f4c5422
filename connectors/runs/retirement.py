"""Guarded retirement: what no run has seen since a full sweep began leaves the stock, and only then.

The command carries S, the seq of the sweep's first grant. It is given when that sweep, and an incremental run planned
after its end that reads on from before its beginning, are complete, processed past and balanced. The owner of the feed
retires what it knows only from before S; what is counted here, from receipts, only decides whether to ask a person first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec

from connectors.runs import store
from connectors.runs.ledger import Verdict
from connectors.runs.store import Run
from runtime.postgres import Link
from schemas.facts import Plan

PARTITION_PERCENT: Final = 25.0
"""Second guard: a price range that lost more than this, while the feed as a whole may be under its limit, was not sold
but not read."""
PARTITION_LEAST: Final = 100
"""Stones below which a price range says nothing."""

_SWEEP: Final = """
SELECT run FROM runs WHERE feed = $1 AND kind = 'full' AND state = 'completed' ORDER BY ended_offset DESC LIMIT 1"""
_COVER: Final = """
SELECT max(i.ended_offset) FROM runs i
WHERE i.feed = $1 AND i.kind = 'incremental' AND i.state = 'completed' AND NOT i.forced
  AND i.plan_offset > $2 AND i.updated_from <= $3 AND i.ledger ->> 'verdict' IN ('green', 'amber')"""
_LOSSES: Final = """
WITH seen AS (
    SELECT DISTINCT $1 || ':' || stone AS id FROM receipts r, unnest(r.stones) AS stone
    WHERE r.feed = $1 AND r.seq >= $2 AND stone IS NOT NULL
)
SELECT width_bucket(floor(d.cost_cents / 100.0 / greatest(d.carat, 0.001))::bigint, $3::bigint[]) AS range,
       count(*) AS stock, count(*) FILTER (WHERE s.id IS NULL) AS lost
FROM diamonds d LEFT JOIN seen s ON s.id = d.id COLLATE "C"
WHERE d.feed = $1 AND d.retired_at IS NULL GROUP BY 1"""


@dataclass(frozen=True, slots=True)
class Losses:
    """What a sweep would retire.

    Attributes:
        stock: the feed's stones in stock.
        lost: those that no run has seen since the sweep began.
        worst_percent: the greatest share lost of a price range with at least `PARTITION_LEAST` stones.
        worst_from: where that range begins, whole dollars a carat.
    """

    stock: int
    lost: int
    worst_percent: float
    worst_from: int | None

    @property
    def percent(self) -> float:
        """Share of the stock, in percent."""
        return 100 * self.lost / max(self.stock, 1)

    def objection(self, limit_percent: float) -> str | None:
        """Why a person has to look first, or none."""
        if self.percent > limit_percent:
            return f"{self.lost} of {self.stock} stones ({self.percent:.1f} %) are gone, more than {limit_percent:g} %"
        if self.worst_percent > max(PARTITION_PERCENT, limit_percent):
            place = f"the price range from {self.worst_from} dollars a carat"
            return f"{self.worst_percent:.1f} % of {place} are gone: it may not have been read"
        return None

    def shown(self) -> dict[str, Any]:
        """As it is kept and shown."""
        return {**asdict(self), "percent": round(self.percent, 3)}


async def due_sweep(link: Link, feed: str) -> Run | None:
    """The feed's last full sweep, when nothing was decided about its retirement and everything it needs is there."""
    name = await link.fetchval(_SWEEP, feed)
    if name is None:
        return None
    sweep = await store.get(link, name)
    if sweep.retirement not in (None, "approved") or sweep.ledger is None or sweep.watermark is None:
        return None
    if sweep.forced or sweep.ledger["verdict"] == Verdict.RED:
        await decide(link, sweep.run, "skipped", {"why": "the sweep is not whole"})
        return None
    covered = await link.fetchval(_COVER, feed, sweep.ended_offset, sweep.watermark)
    passed = await link.fetchval("SELECT raw_offset FROM feed_positions WHERE feed = $1", feed)
    if covered is None or passed is None or passed < max(covered, sweep.ended_offset or 0):
        return None
    return sweep


async def losses_of(link: Link, sweep: Run) -> Losses:
    """What the sweep would retire, as Postgres has the stock and the receipts."""
    plan = msgspec.json.decode(
        await link.fetchval("SELECT plan FROM runs WHERE run = $1", sweep.run), type=Plan
    )
    bounds = sorted({part.dollars_per_carat_from for part in plan.partitions})
    rows = await link.fetch(_LOSSES, sweep.feed, sweep.first_seq, bounds, timeout=300)
    worst = max(
        ((100 * row["lost"] / row["stock"], row["range"]) for row in rows if row["stock"] >= PARTITION_LEAST),
        default=(0.0, 0),
    )
    return Losses(
        stock=sum(row["stock"] for row in rows),
        lost=sum(row["lost"] for row in rows),
        worst_percent=round(worst[0], 3),
        worst_from=bounds[worst[1] - 1] if worst[1] else None,
    )


async def decide(
    link: Link, run: str, decision: str, detail: dict[str, Any], actor: str | None = None
) -> None:
    """Keep what was decided about a sweep's retirement."""
    await link.execute(
        """UPDATE runs SET retirement = $2, retirement_detail = $3, retirement_actor = coalesce($4, retirement_actor)
           WHERE run = $1""",
        *(run, decision, msgspec.json.encode(detail).decode(), actor),
    )
