"""Looks after runs that have ended, and those that do not: settles ledgers, retires what is gone, names what hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import asyncpg
import msgspec
import structlog

from connectors.postgres import events
from connectors.runs import retirement, store
from connectors.runs.ledger import Ledger, Verdict, ledger_of, shown
from connectors.runs.transitions import BY_INGEST
from runtime.postgres import Database, Link
from runtime.settings import IngestSettings
from schemas.errors import Retriable
from schemas.events import Kind
from schemas.facts import Retire

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 2.0
SETTLE_S: Final = 30.0
"""A ledger that does not balance so long after its run was processed past is red: receipts travel apart from stones."""
KEEP_DETAILS: Final = timedelta(days=7)
"""Pages and receipts of older runs are dropped; their sums stay. Kafka keeps receipts as long."""
ARCHIVE_EVERY_S: Final = 600.0
PATIENT: Final = 50
"""A ledger that does not balance yet is looked at again after so many times as long as it took."""

_UNSETTLED: Final = """
SELECT r.run, r.feed, r.kind
FROM runs r LEFT JOIN feed_positions p USING (feed)
WHERE r.state = 'completed' AND r.archived_at IS NULL AND (p.raw_offset >= r.ended_offset OR r.forced)
  AND (r.ledger IS NULL OR (r.ledger ->> 'verdict' = 'red' AND r.ended_at > now() - interval '1 day'))
ORDER BY r.ended_at"""
_RECOVERED: Final = """
SELECT e.subject FROM events e LEFT JOIN runs r ON r.run = e.subject
WHERE e.kind = $1 AND e.resolved_at IS NULL AND (r.state IS DISTINCT FROM 'failed' OR EXISTS (
    SELECT FROM runs later WHERE later.feed = r.feed AND later.kind = r.kind AND later.state = 'completed'
      AND later.requested_at > r.requested_at))"""
_ARCHIVED: Final = """
UPDATE runs SET archived_at = now() WHERE archived_at IS NULL AND ended_at < $1 RETURNING run"""


class Retirer(Protocol):
    """Writes a retire command into the log."""

    async def retire(self, command: Retire) -> None:
        """Return when the command is in the log and told."""


class Auditor:
    """Looks every two seconds; all of it can be repeated.

    Args:
        retirers: by feed.
    """

    def __init__(self, settings: IngestSettings, database: Database, retirers: Mapping[str, Retirer]) -> None:
        self._settings = settings
        self._database = database
        self._retirers = retirers
        self._passed_at: dict[str, datetime] = {}
        self._again_at: dict[str, float] = {}
        self._archived_at: datetime | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._settle_all()
                for feed in self._retirers:
                    await self._retire(feed)
                await self._name_what_hangs()
                await self._archive()
            except (Retriable, asyncpg.PostgresError) as error:
                # Ingest itself goes on: whether Postgres is away for good is the lease's to find out.
                log.warning("runs.audit_failed", cause=f"{type(error).__name__}: {error}")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _settle_all(self) -> None:
        async with self._database.link() as link:
            for row in await link.fetch(_UNSETTLED):
                began = time.monotonic()
                if began >= self._again_at.get(row["run"], 0.0):
                    await self._settle(link, row)
                    # The sums of a whole stock take seconds: not again and again, while somebody waits for them.
                    self._again_at[row["run"]] = time.monotonic() + PATIENT * (time.monotonic() - began)

    async def _settle(self, link: Link, row: asyncpg.Record) -> None:
        run = row["run"]
        ledger = await ledger_of(link, run, self._settings.count_off_percent)
        now = datetime.now(UTC)
        if not ledger.balanced:
            since = self._passed_at.setdefault(run, now)
            if (now - since).total_seconds() < SETTLE_S:
                return
        self._passed_at.pop(run, None)
        before = await link.fetchval("SELECT ledger ->> 'verdict' FROM runs WHERE run = $1", run)
        if before == ledger.verdict:
            return
        await link.execute(
            "UPDATE runs SET ledger = $2 WHERE run = $1", run, msgspec.json.encode(shown(ledger)).decode()
        )
        log.info(
            "runs.ledger_settled",
            run=run,
            verdict=ledger.verdict,
            distinct=ledger.distinct,
            counted=ledger.counted,
            missing=ledger.missing,
        )
        await _tell(link, row, ledger)

    async def _retire(self, feed: str) -> None:
        async with self._database.link() as link:
            sweep = await retirement.due_sweep(link, feed)
            if sweep is None or sweep.first_seq is None:
                return
            losses = await retirement.losses_of(link, sweep)
            objection = losses.objection(self._settings.retire_unasked_percent)
            if losses.lost == 0:
                await retirement.decide(link, sweep.run, "nothing", losses.shown())
                return
            if objection and sweep.retirement != "approved":
                await retirement.decide(link, sweep.run, "waiting", {**losses.shown(), "why": objection})
                text = f"{objection}; adamas runs approve {sweep.run}, or refuse"
                await events.record(link, Kind.RETIREMENT_WAITS, sweep.run, text, actor=BY_INGEST)
                return
            actor = sweep.retirement_actor or BY_INGEST
            await retirement.decide(link, sweep.run, "approved", losses.shown(), actor)
            await events.resolve(link, Kind.RETIREMENT_WAITS, sweep.run)
        command = Retire(feed=feed, run=sweep.run, below=sweep.first_seq, actor=actor)
        await self._retirers[feed].retire(command)
        log.info("runs.retired", run=sweep.run, feed=feed, stones=losses.lost, actor=actor)

    async def _name_what_hangs(self) -> None:
        async with self._database.link() as link:
            hanging = await store.stuck(link, self._settings.patience_s)
            for run in hanging:
                since = max(run.moved_at, run.changed_at)
                text = f"{run.state} since {run.changed_at:%H:%M:%S}, nothing came since {since:%H:%M:%S} UTC"
                await events.record(link, Kind.RUN_STUCK, run.run, text, actor=BY_INGEST)
            names = {run.run for run in hanging}
            for row in await link.fetch(
                "SELECT subject FROM events WHERE kind = $1 AND resolved_at IS NULL", Kind.RUN_STUCK
            ):
                if row["subject"] not in names:
                    await events.resolve(link, Kind.RUN_STUCK, row["subject"])
            for row in await link.fetch(_RECOVERED, Kind.RUN_FAILED):
                await events.resolve(link, Kind.RUN_FAILED, row["subject"])

    async def _archive(self) -> None:
        now = datetime.now(UTC)
        if self._archived_at and (now - self._archived_at).total_seconds() < ARCHIVE_EVERY_S:
            return
        self._archived_at = now
        async with self._database.transaction() as link:
            old = [row["run"] for row in await link.fetch(_ARCHIVED, now - KEEP_DETAILS)]
            for table in ("receipts", "run_pages"):
                await link.execute(f"DELETE FROM {table} WHERE run = ANY($1)", old)
        if old:
            log.info("runs.archived", runs=len(old))


async def _tell(link: Link, row: asyncpg.Record, ledger: Ledger) -> None:
    run = row["run"]
    if ledger.verdict is Verdict.RED:
        gap = next(gap for gap in ledger.gaps if gap.what != "doubled")
        text = f"{ledger.missing} pieces are missing; the first: {gap.what} of partition {gap.partition}, page {gap.page}"
        await events.record(link, Kind.RUN_UNBALANCED, run, text, actor=BY_INGEST)
        return
    await events.resolve(link, Kind.RUN_UNBALANCED, run)
    if row["kind"] == "full":
        text = f"{ledger.distinct} stones of {row['feed']} read; the vendor counted {ledger.counted}"
        kind = Kind.RUN_COMPLETED if ledger.verdict is Verdict.GREEN else Kind.RUN_PARTIAL
        await events.record(link, kind, run, text, actor=BY_INGEST)
