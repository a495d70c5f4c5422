"""Does what operators asked for. Only the holder of the lease does: what changes a run is written into the log first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog

from connectors.ingest.lane import Lane, write_cancel
from connectors.ingest.sweep import FactWriter
from connectors.runs import store
from connectors.runs.actions import Action, Asked, to_asked
from connectors.runs.states import State
from connectors.runs.tailing import LogReader
from connectors.runs.transitions import born, move
from runtime.postgres import Database
from schemas.errors import Invalid
from schemas.facts import Kind, RunKind, Watermark

log = structlog.stdlib.get_logger(__name__)

_DUE: Final = (
    "SELECT * FROM run_actions WHERE done_at IS NULL AND due_at <= now() ORDER BY due_at, id LIMIT 20"
)
_DONE: Final = "UPDATE run_actions SET done_at = now(), outcome = $2 WHERE id = $1"
_DETAILS: Final = ("receipts", "run_pages", "run_partitions", "run_transitions", "runs")


class Orders:
    """Takes the due actions one after the other.

    Args:
        writers: by feed; write into its partition of the log.
        lanes: whose current run an action may end.
        reader: tells when a fact that was written is in the tables.
    """

    def __init__(
        self,
        database: Database,
        writers: Mapping[str, FactWriter],
        lanes: Sequence[Lane],
        reader: LogReader,
    ) -> None:
        self._database = database
        self._writers = writers
        self._lanes = lanes
        self._reader = reader

    async def do_due(self) -> bool:
        """Do what is due; whether there was anything."""
        async with self._database.link() as link:
            due = [to_asked(row) for row in await link.fetch(_DUE)]
        for asked in due:
            try:
                await self._do(asked)
                outcome = "done"
            except Invalid as error:
                outcome = str(error)
            log.info(
                "runs.action",
                action=asked.action,
                run=asked.run,
                feed=asked.feed,
                actor=asked.actor,
                outcome=outcome,
            )
            async with self._database.link() as link:
                await link.execute(_DONE, asked.id, outcome)
        return bool(due)

    async def _do(self, asked: Asked) -> None:
        if asked.feed is not None and asked.feed not in self._writers:
            raise Invalid("feed", f"{asked.feed} is not read here (ADAMAS_FEEDS_READ)", "unknown")
        if asked.action is Action.START and asked.feed:
            await self._start(asked.feed, RunKind(asked.value["kind"]), asked.actor)
        elif asked.action is Action.SET_WATERMARK and asked.feed:
            await self._set_watermark(asked.feed, asked.value["watermark"], asked.actor)
        elif asked.run:
            await self._do_to_run(asked, asked.run)

    async def _do_to_run(self, asked: Asked, run: str) -> None:
        lane = next((lane for lane in self._lanes if lane.current and lane.current.run == run), None)
        if asked.action is Action.CANCEL:
            await self._cancel(run, lane, asked)
        elif asked.action is Action.RETRY:
            await self._retry(run, lane, asked)
        elif asked.action is Action.FORCE:
            if lane is None:
                raise Invalid("run", "is not being read", "ended")
            await lane.force(asked.actor)
        elif asked.action is Action.DELETE:
            await self._delete(run)
        else:
            await self._decide(run, asked)

    async def _start(self, feed: str, kind: RunKind, actor: str) -> None:
        async with self._database.transaction() as link:
            name = store.new_name(feed, kind, datetime.now(UTC))
            await born(link, name, feed, kind, "asked for", actor)

    async def _set_watermark(self, feed: str, watermark: str, actor: str) -> None:
        at_ms = int(datetime.fromisoformat(watermark).timestamp() * 1000)
        fact = Watermark(feed=feed, watermark=at_ms, actor=actor)
        writer = self._writers[feed]
        seq = writer.asker.budget.last_seq
        await self._reader.until(
            feed, await writer.write(Kind.WATERMARK, seq, msgspec.json.encode(fact), None)
        )

    async def _cancel(self, run: str, lane: Lane | None, asked: Asked) -> None:
        cause = str(asked.value.get("cause") or "cancelled")
        if lane is not None:
            await lane.cancel(cause, asked.actor)
            return
        async with self._database.link() as link:
            found = await store.get(link, run)
        if found.state not in (State.PENDING, State.RUNNING):
            raise Invalid("run", f"is {found.state}", "ended")
        writer = self._writers[found.feed]
        offset = await write_cancel(writer, found, failed=False, cause=cause, actor=asked.actor)
        await self._reader.until(found.feed, offset)

    async def _retry(self, run: str, lane: Lane | None, asked: Asked) -> None:
        partition = asked.value.get("partition")
        if lane is not None:
            if partition is None:
                raise Invalid("partition", "must be named: the run is under way")
            lane.retry(int(partition))
            return
        async with self._database.transaction() as link:
            if partition is not None:
                await link.execute(
                    "UPDATE run_partitions SET end_page = NULL, ended_at = NULL WHERE run = $1 AND number = $2",
                    *(run, int(partition)),
                )
            await move(link, run, State.PENDING, "taken up again", asked.actor)
            await link.execute(
                "UPDATE runs SET attempt = 1, due_at = now(), ended_at = NULL WHERE run = $1", run
            )

    async def _delete(self, run: str) -> None:
        async with self._database.transaction() as link:
            if (await store.get(link, run)).state in (State.PENDING, State.RUNNING):
                raise Invalid("run", "is still open: cancel it first", "ended")
            for table in _DETAILS:
                await link.execute(f"DELETE FROM {table} WHERE run = $1", run)

    async def _decide(self, run: str, asked: Asked) -> None:
        decided = "approved" if asked.action is Action.APPROVE else "refused"
        async with self._database.link() as link:
            changed = await link.execute(
                """UPDATE runs SET retirement = $2, retirement_actor = $3
                   WHERE run = $1 AND retirement = 'waiting'""",
                *(run, decided, asked.actor),
            )
        if changed != "UPDATE 1":
            raise Invalid("run", "waits for no approval", "ended")
