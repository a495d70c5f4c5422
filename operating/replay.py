"""Replaying a range of the raw log: by the group's offsets, Kafka's own way, or by the owner behind its fresh facts.

A replay is a job that keeps what it may change as it was before (`replay_images`), has the range read again, and then
looks at what came of it: every record's receipt, and what the canonical topic got. `undo` brings the former content back.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
import structlog
from confluent_kafka import Message

from connectors.postgres import actions, pauses
from operating.groups import Groups
from operating.span import Preview, Span
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job, State
from runtime.postgres import LONG_STATEMENT_TIMEOUT_S, Database, Link
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.errors import Fatal, Retriable
from schemas.feeds import SLOTS
from schemas.receipt import Receipt
from schemas.stone import Cause, is_position
from schemas.topics import CANONICAL, PROCESS_GROUP, RAW, RECEIPTS, SINK_GROUP
from streams.ranges import Range

log = structlog.stdlib.get_logger(__name__)

KIND: Final = "replay"
By = Literal["offsets", "background"]

_LOOK_EVERY_S: Final = 0.25
_LEAVE_S: Final = 90.0
_SINK_S: Final = 300.0
_BATCH: Final = 2000

_KEEP: Final = """
INSERT INTO replay_images (job, stone_id, image)
SELECT $1, id, to_jsonb(d) FROM diamonds d
WHERE feed = $2 AND raw_offset >= $3 AND raw_offset < $4 AND retired_at IS NULL
ON CONFLICT DO NOTHING"""


class _Written(msgspec.Struct):
    id: str
    raw_offset: int
    cause: Cause


_decode_receipt: Final = msgspec.json.Decoder(Receipt).decode
_decode_written: Final = msgspec.json.Decoder(_Written).decode


async def request(link: Link, preview: Preview, by: By, actor: str) -> Job:
    """Ask for a replay of what was previewed.

    Raises:
        Invalid: the feed is being replayed already.
    """
    wanted = {"from": preview.start, "to": preview.end, "by": by, "items": preview.items}
    job = await jobs.submit(
        link, KIND, preview.feed, wanted, actor=actor, unit="records", total=preview.end - preview.start
    )
    await actions.note(link, actor, "replay", preview.feed, {"job": job.id, **wanted})
    return job


def handler(database: Database, kafka: KafkaSettings) -> Handler:
    """What does a replay job."""
    return lambda task: Replay(database, kafka, task).run()


class Replay:
    """One replay, from its images to its verification."""

    def __init__(self, database: Database, kafka: KafkaSettings, task: Task) -> None:
        self._database = database
        self._kafka = kafka
        self._task = task
        self._groups = Groups(kafka)
        self._span = Span(task.job.subject, task.job.request["from"], task.job.request["to"])
        self._kept: dict[str, Any] = dict(task.job.checkpoint or {})
        self._began = time.monotonic()
        self._pace: tuple[float, int] | None = None

    async def run(self) -> Mapping[str, Any]:
        """Do it; the result says what was read, what it came to and whether that is all of it."""
        if not self._kept:
            await self._prepare()
        self._began = time.monotonic()
        if self._task.job.request["by"] == "background":
            await self._behind()
        else:
            await self._by_offsets()
        result = await asyncio.to_thread(self._verify)
        if not result["verified"]:
            raise Fatal(f"replayed, but not all of it has a receipt: {result}")
        return result

    async def _prepare(self) -> None:
        """Keep what may change, as Postgres has it once everything until now is in there."""
        slots = [self._span.slot]
        canonical = (await asyncio.to_thread(self._groups.bounds, CANONICAL.name, slots))[self._span.slot][1]
        receipts = (await asyncio.to_thread(self._groups.bounds, RECEIPTS.name, slots))[self._span.slot][1]
        await self._sink_reaches(canonical)
        async with self._database.transaction() as link:
            await link.execute(
                *(_KEEP, self._task.job.id, self._span.feed, self._span.start, self._span.end),
                timeout=LONG_STATEMENT_TIMEOUT_S,
            )
        self._note(canonical_from=canonical, receipts_from=receipts)

    async def _sink_reaches(self, offset: int) -> None:
        deadline = time.monotonic() + _SINK_S
        while True:
            committed = await asyncio.to_thread(self._groups.committed, SINK_GROUP, CANONICAL.name)
            if committed.get(self._span.slot, 0) >= offset:
                return
            if time.monotonic() > deadline:
                raise Retriable("the sink does not catch up; what a replay changes could not be undone")
            self._task.progress(0)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _behind(self) -> None:
        """Have the owner read the range behind its fresh facts."""
        # The owner's side is slow to import, and nothing else here needs it.
        from streams.rereading import KIND as REREAD

        if "child" not in self._kept:
            async with self._database.link() as link:
                child = await jobs.submit(
                    link,
                    REREAD,
                    self._span.feed,
                    {"from": self._span.start, "to": self._span.end},
                    actor=self._task.job.actor,
                    unit="records",
                    total=self._span.end - self._span.start,
                )
            self._note(child=child.id)
        while True:
            async with self._database.link() as link:
                child = await jobs.get(link, self._kept["child"])
            if child.state is State.DONE:
                self._progress(child.done)
                return
            if child.state.final:
                raise Fatal(f"the owner's job {child.id} is {child.state}: {child.failure}")
            try:
                self._progress(child.done)
            except Exception:
                await self._cancel_child(child.id)
                raise
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _cancel_child(self, child: int) -> None:
        async with self._database.link() as link:
            await jobs.cancel(link, child, self._task.job.actor)

    async def _by_offsets(self) -> None:
        """Move the group back, and forward again where the range ends before the group's old place."""
        slot = self._span.slot
        try:
            if "saved" not in self._kept:
                committed = await asyncio.to_thread(self._groups.committed, PROCESS_GROUP, RAW.name)
                self._note(saved=committed.get(slot, 0))
                await self._move(self._span.start)
            await self._until(self._span.end)
        finally:
            # Whatever ended the replay, the group is at its old place or beyond it.
            committed = await asyncio.to_thread(self._groups.committed, PROCESS_GROUP, RAW.name)
            if committed.get(slot, 0) < self._kept.get("saved", 0):
                await self._move(self._kept["saved"])

    async def _move(self, offset: int) -> None:
        job = self._task.job
        async with self._database.link() as link:
            await pauses.pause_group(link, PROCESS_GROUP, f"replay {job.id}", actor=job.actor, job=job.id)
        try:
            if not await asyncio.to_thread(self._groups.wait_empty, PROCESS_GROUP, _LEAVE_S):
                raise Retriable(f"members of {PROCESS_GROUP} did not leave it in {_LEAVE_S:g} s")
            await asyncio.to_thread(self._groups.move, PROCESS_GROUP, RAW.name, {self._span.slot: offset})
        finally:
            async with self._database.link() as link:
                await pauses.resume_group(link, PROCESS_GROUP, actor=job.actor, job=job.id)

    async def _until(self, end: int) -> None:
        """Wait until the group has acknowledged the range; its receipts tell how far it is, in finer steps."""
        reached = self._span.start

        def take(messages: list[Message]) -> None:
            nonlocal reached
            for message in messages:
                receipt = _decode_receipt(message.value() or b"{}")
                if message.partition() == self._span.slot and receipt.replayed and receipt.raw_offset < end:
                    reached = max(reached, receipt.raw_offset + 1)

        bounds = await asyncio.to_thread(self._groups.bounds, RECEIPTS.name, list(range(SLOTS)))
        start = {slot: behind for slot, (_, behind) in bounds.items()}
        receipts = Tail(
            self._kafka, RECEIPTS.name, take, start={**start, self._span.slot: self._kept["receipts_from"]}
        )
        receipts.start()
        try:
            while True:
                committed = await asyncio.to_thread(self._groups.committed, PROCESS_GROUP, RAW.name)
                acknowledged = min(committed.get(self._span.slot, 0), end)
                self._progress(max(acknowledged, reached) - self._span.start)
                if acknowledged >= end:
                    return
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            await asyncio.to_thread(receipts.stop)

    def _progress(self, done: int) -> None:
        if done and self._pace is None:
            self._pace = (time.monotonic(), done)
        self._task.progress(done, checkpoint=self._kept)

    def _note(self, **kept: Any) -> None:
        self._kept.update(kept)
        self._task.progress(self._task.job.done, checkpoint=self._kept)

    def _verify(self) -> dict[str, Any]:
        outcomes, pages = self._receipts()
        written = self._written()
        records = self._span.end - self._span.start
        items = outcomes.total()
        result: dict[str, Any] = {
            "records": records,
            "pages": pages,
            "items": items,
            "outcomes": dict(outcomes),
            "written": dict(written),
            "verified": items == self._task.job.request["items"],
        }
        # One that was over before its first progress is measured as a whole.
        since, before = self._pace if self._pace and self._pace[1] < records else (self._began, 0)
        result["records_per_s"] = round((records - before) / (time.monotonic() - since), 2)
        return result

    def _receipts(self) -> tuple[Counter[str], int]:
        """What became of each item of the range since the replay began; each record counts once."""
        found: dict[int, Receipt] = {}
        for message in self._since(RECEIPTS.name, self._kept["receipts_from"]):
            receipt = _decode_receipt(message.value() or b"{}")
            if receipt.replayed and self._span.start <= receipt.raw_offset < self._span.end:
                found[receipt.raw_offset] = receipt
        outcomes = Counter(outcome.value for receipt in found.values() for outcome in receipt.outcomes)
        return outcomes, len(found)

    def _written(self) -> Counter[str]:
        """Stones of the range that the canonical topic got since the replay began, by cause."""
        causes: Counter[str] = Counter()
        for message in self._since(CANONICAL.name, self._kept["canonical_from"]):
            key, value = message.key() or b"", message.value()
            if value is not None and not is_position(key):
                stone = _decode_written(value)
                causes[stone.cause] += self._span.start <= stone.raw_offset < self._span.end
        return +causes

    def _since(self, topic: str, start: int) -> list[Message]:
        slot = self._span.slot
        end = self._groups.bounds(topic, [slot])[slot][1]
        with Range(self._kafka, topic, slot, start, end) as reader:
            found: list[Message] = []
            while messages := reader.next(_BATCH):
                found += messages
            return found
