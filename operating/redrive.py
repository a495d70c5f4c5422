"""Redriving dead letters: what passes the sandbox goes into the raw log again, as the fact it was.

A redriven item carries the `seq` of its grant, so the owner weighs it as if it had been understood at the time: where a
newer fact is known, it is superseded. It belongs to no run, for its run has counted it as dead. Nothing redrives by
itself, and an item that came back three times is not sent again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Message

from connectors.feeds.mappings import MAPPINGS
from connectors.postgres import actions
from operating import letters
from operating.groups import Groups
from operating.letters import MAX_REDRIVES, Letter
from operating.raw_log import Place, append, wait_processed
from operating.sandbox import Failure, Sandbox, refusal
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job
from runtime.postgres import Database, Link
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.errors import Retriable
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS
from schemas.receipt import Outcome, Receipt
from schemas.ruleset import PublishedRuleSet
from schemas.seq import epoch_of
from schemas.topics import RECEIPTS
from streams.rules.head import RuleHead

log = structlog.stdlib.get_logger(__name__)

KIND: Final = "redrive"
BATCH: Final = 500
LANDED: Final = (Outcome.CANONICAL, Outcome.UNCHANGED, Outcome.SUPERSEDED)
_READ_S: Final = 60.0

_decode_receipt: Final = msgspec.json.Decoder(Receipt).decode


@dataclass(slots=True)
class Report:
    """What the sandbox found.

    Attributes:
        mapper: the number of the mapper that was tried.
        passed: letters that would land now.
        failed: those that would die again, by cause.
        refused: those that cannot be redriven, by reason.
    """

    mapper: int
    passed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "mapper_version": self.mapper,
            "passed": self.passed,
            "failed": dict(self.failed.most_common()),
            "refused": dict(self.refused.most_common()),
        }


async def fix(
    database: Database, kafka: KafkaSettings, fingerprint: str, candidate: Path | None = None
) -> Report:
    """Try a group's new letters with the installed code or a candidate mapper; nothing is changed.

    Raises:
        Invalid: there is no such group, or the candidate is no mapper.
        Retriable: Kafka or Postgres does not answer.
    """
    async with database.link() as link:
        group = await letters.group(link, fingerprint)
    with Sandbox(await asyncio.to_thread(head_rules, kafka), candidate) as sandbox:
        report = Report(await sandbox.version())
        after = 0
        while True:
            async with database.link() as link:
                batch = await letters.waiting(link, group.fingerprint, after=after, limit=BATCH)
            if not batch:
                return report
            after = batch[-1].id
            await _sift(sandbox, batch, report)


async def request(link: Link, fingerprint: str, actor: str) -> Job:
    """Ask for a group to be redriven.

    Raises:
        Invalid: there is no such group, or it is being redriven.
    """
    group = await letters.group(link, fingerprint)
    job = await jobs.submit(
        *(link, KIND, group.fingerprint, {}), actor=actor, unit="letters", total=group.new + group.retrying
    )
    await actions.note(link, actor, "dead.redrive", group.fingerprint, {"job": job.id, "letters": group.new})
    return job


def handler(database: Database, kafka: KafkaSettings) -> Handler:
    """What does a redrive job."""
    return lambda task: _Redrive(database, kafka, task).run()


class _Redrive:
    def __init__(self, database: Database, kafka: KafkaSettings, task: Task) -> None:
        self._database = database
        self._kafka = kafka
        self._task = task
        self._groups = Groups(kafka)
        self._sent: dict[Place, int] = {}

    async def run(self) -> Mapping[str, Any]:
        fingerprint, receipts_from = self._task.job.subject, await self._ends(RECEIPTS.name)
        with Sandbox(await asyncio.to_thread(head_rules, self._kafka)) as sandbox:
            report = Report(await sandbox.version())
            await self._send_all(sandbox, fingerprint, report)
        outcomes = await self._outcomes(receipts_from) if self._sent else {}
        came_to = await self._settle(outcomes)
        async with self._database.link() as link:
            await letters.close_if_done(link, fingerprint)
        return {**report.shown(), "came_to": came_to}

    async def _send_all(self, sandbox: Sandbox, fingerprint: str, report: Report) -> None:
        after = done = 0
        while True:
            async with self._database.link() as link:
                batch = await letters.waiting(
                    link, fingerprint, job=self._task.job.id, after=after, limit=BATCH
                )
            if not batch:
                return
            after = batch[-1].id
            passed = await _sift(sandbox, batch, report)
            # Marked before they are sent: a runner that takes over sends them again, and never one too few.
            async with self._database.link() as link:
                await letters.retry(link, [letter.id for letter in passed], self._task.job.id)
            await asyncio.to_thread(self._send, passed)
            done += len(batch)
            self._task.progress(done)

    def _send(self, batch: list[Letter]) -> None:
        places = append(self._kafka, [fact_of(letter) for letter in batch])
        self._sent.update({place: letter.id for place, letter in zip(places, batch, strict=True)})

    async def _outcomes(self, receipts_from: Mapping[int, int]) -> dict[tuple[int, int], Outcome]:
        """What the owners made of what was sent, by its place in the raw log."""
        await wait_processed(self._groups, self._sent, lambda: self._task.progress(self._task.job.total or 0))
        return await asyncio.to_thread(self._read_receipts, dict(receipts_from))

    def _read_receipts(self, start: dict[int, int]) -> dict[tuple[int, int], Outcome]:
        found: dict[tuple[int, int], Outcome] = {}

        def take(messages: list[Message]) -> None:
            for message in messages:
                receipt = _decode_receipt(message.value() or b"{}")
                place = (message.partition() or 0, receipt.raw_offset)
                if place in self._sent and receipt.outcomes:
                    found[place] = receipt.outcomes[0]

        tail = Tail(self._kafka, RECEIPTS.name, take, start=start)
        tail.start()
        read = tail.wait_caught_up(_READ_S)
        tail.stop()
        if not read:
            raise Retriable(f"the receipts were not read in {_READ_S:g} s") from tail.failure
        return found

    async def _settle(self, outcomes: Mapping[tuple[int, int], Outcome]) -> dict[str, int]:
        by_outcome: defaultdict[str, list[int]] = defaultdict(list)
        for place, letter in self._sent.items():
            by_outcome[outcomes.get(place, "unknown")].append(letter)
        landed = {name: ids for name, ids in by_outcome.items() if name in LANDED}
        async with self._database.transaction() as link:
            await letters.settle(link, landed, self._task.job.actor)
            await letters.give_back(
                link,
                by_outcome[Outcome.DUPLICATE],
                "the owner knows this version with other content: raise the mapper's number",
            )
            await letters.give_back(
                link, by_outcome[Outcome.DEAD], "came back: the workers run other code than this"
            )
            await letters.give_back(link, by_outcome["unknown"], "no receipt of it was found")
        return {name: len(ids) for name, ids in by_outcome.items() if ids}

    async def _ends(self, topic: str) -> dict[int, int]:
        slots = [feed.slot for feed in FEEDS.values()]
        bounds = await asyncio.to_thread(self._groups.bounds, topic, slots)
        return {slot: end for slot, (_, end) in bounds.items()}


def returned(result: Mapping[str, Any]) -> int:
    """How many of a redrive's letters are new again."""
    landed = sum(result["came_to"].get(outcome, 0) for outcome in LANDED)
    return int(sum(result["came_to"].values()) - landed)


async def _sift(sandbox: Sandbox, batch: list[Letter], report: Report) -> list[Letter]:
    """The letters that may be sent; the report is told of all."""
    able = []
    for letter in batch:
        reason = refusal(letter)
        if reason is None and letter.redrives >= MAX_REDRIVES:
            reason = f"was redriven {letter.redrives} times and came back"
        if reason is None:
            able.append(letter)
        else:
            report.refused[reason] += 1
    failures = await sandbox.attempt(able) if able else []
    passed = [letter for letter, failure in zip(able, failures, strict=True) if failure is None]
    report.passed += len(passed)
    report.failed.update(_cause(failure) for failure in failures if failure is not None)
    return passed


def _cause(failure: Failure) -> str:
    return f"{failure.stage}, {failure.error}, {failure.field}"


def fact_of(letter: Letter) -> tuple[FactHeaders, bytes]:
    """A letter's item as the fact it is redriven as."""
    assert letter.seq is not None
    assert letter.payload is not None
    headers = FactHeaders(
        kind=Kind.ITEM,
        feed=letter.feed,
        epoch=epoch_of(letter.seq),
        seq=letter.seq,
        granted_at=letter.granted_at,
        origin=letter.place,
        redriven=letter.redrives + (letter.state is letters.State.NEW),
        traceparent=letter.traceparent,
    )
    return headers, MAPPINGS[letter.feed].form.around(letter.payload) if letter.is_item else letter.payload


def head_rules(kafka: KafkaSettings) -> PublishedRuleSet:
    """The highest published rule set. Raises `Retriable` where there is none, or Kafka does not answer."""
    head = RuleHead(kafka)
    head.tail.start()
    read = head.tail.wait_caught_up(_READ_S)
    head.tail.stop()
    if not read or head.published is None:
        raise Retriable("there is no rule set to price under, or Kafka does not answer")
    return head.published
