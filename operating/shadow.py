"""A range of the raw log through the installed code and the present rules, beside the truth: what would differ, field by field.

It weighs facts as the owner does, against the whole canonical topic, under a mapper number above any: so it tells what
the code makes of the facts that stones stand on, whether or not its number was raised. Nothing is touched; what would be
written goes to a topic of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from confluent_kafka import KafkaException, Producer

from connectors.feeds.mappings import MAPPINGS
from connectors.postgres import actions
from operating import replay
from operating.span import Preview, Span
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job, State
from runtime.kafka import ensure_topics, producer
from runtime.postgres import Link
from runtime.settings import KafkaSettings
from runtime.tail import Following
from schemas.errors import Invalid, Retriable
from schemas.feeds import FEEDS, SLOTS
from schemas.topics import CANONICAL, RAW, Topic
from streams.pricing.engine import PriceBook
from streams.ranges import Range
from streams.rules.head import RuleHead

if TYPE_CHECKING:
    from streams.memory import Memory

KIND: Final = "shadow"
ABOVE_ALL: Final = 1_000_000
_BATCH: Final = 64
_LOAD_S: Final = 600.0
_EXAMPLES: Final = 3
_KEPT_MS: Final = 7 * 24 * 3_600_000
PROVENANCE: Final = frozenset(
    (
        *("seq", "mapper_version", "content_hash", "cause", "previous_price_cents", "run", "raw_offset"),
        *("updated_at", "rules_version"),
    )
)
"""Fields that say where a version came from; two versions that differ in nothing else are the same stone."""


def topic_of(job_id: int) -> Topic:
    """Where a shadow's stones are."""
    return Topic(
        name=f"diamonds.shadow.{job_id}",
        key="feed:stone",
        record="what a shadow replay would have written",
        partitions=SLOTS,
        config={"cleanup.policy": "delete", "retention.ms": str(_KEPT_MS)},
    )


async def request(link: Link, span: Span, actor: str) -> Job:
    """Ask for a shadow of a range. Raises `Invalid` where the feed has one under way."""
    wanted = {"from": span.start, "to": span.end}
    job = await jobs.submit(
        link, KIND, span.feed, wanted, actor=actor, unit="records", total=span.end - span.start
    )
    await actions.note(link, actor, "replay.shadow", span.feed, {"job": job.id, **wanted})
    return job


async def promote(link: Link, shadow: Job, preview: Preview, actor: str) -> Job:
    """Make a shadow the truth: the owner reads its range again. Returns the replay.

    Raises:
        Invalid: the shadow did not end well, was made by other code, or its mapper's number was not raised.
    """
    if shadow.kind != KIND or shadow.state is not State.DONE or shadow.result is None:
        raise Invalid("job", f"job {shadow.id} is no shadow that was done")
    installed = MAPPINGS[shadow.subject].version
    if shadow.result["mapper_version"] != installed:
        made_by = shadow.result["mapper_version"]
        raise Invalid("job", f"the shadow was made by mapper {made_by}, and this is {installed}")
    if shadow.result["remapped"] and preview.rewritten == 0:
        raise Invalid(
            "mapper",
            "its number was not raised, so the owner would write nothing: raise MAPPER_VERSION and deploy",
        )
    await actions.note(link, actor, "replay.promote", shadow.subject, {"shadow": shadow.id})
    return await replay.request(link, preview, "background", actor)


def span_of(shadow: Job) -> Span:
    """The range that a shadow was made of. Raises `Invalid` where the job is none."""
    if shadow.kind != KIND:
        raise Invalid("job", f"job {shadow.id} is no shadow but a {shadow.kind}")
    return Span(shadow.subject, shadow.request["from"], shadow.request["to"])


def handler(kafka: KafkaSettings) -> Handler:
    """What does a shadow job."""
    return lambda task: asyncio.to_thread(_run, kafka, task)


def _run(kafka: KafkaSettings, task: Task) -> Mapping[str, Any]:
    # An owner's tools are slow to import, and only who makes a shadow needs them.
    from connectors.log.tail import LogTail
    from streams.memory import Memory

    topic = topic_of(task.job.id)
    ensure_topics(kafka, [topic])
    with tempfile.TemporaryDirectory(prefix="adamas-shadow-") as folder:
        memory, head = Memory(Path(folder)), RuleHead(kafka)
        tail = LogTail(kafka, CANONICAL.name, memory.apply, start={})
        try:
            for one in (tail, head.tail):
                one.start()
            _wait(task, tail, head)
        finally:
            for one in (tail, head.tail):
                one.stop()
        assert head.book is not None
        return _compare(kafka, task, memory, head.book, topic)


def _wait(task: Task, tail: Following, head: RuleHead) -> None:
    deadline = time.monotonic() + _LOAD_S
    while not (tail.caught_up and head.tail.caught_up and head.book is not None):
        task.progress(0)
        failure = tail.failure or head.tail.failure
        if failure is not None or time.monotonic() > deadline:
            raise Retriable(f"the canonical stones were not read: {failure or 'out of time'}")
        time.sleep(0.1)


def _compare(
    kafka: KafkaSettings, task: Task, memory: Memory, book: PriceBook, topic: Topic
) -> Mapping[str, Any]:
    from streams.normalise import Normaliser
    from streams.outbox import Outbox
    from streams.rereading import raw_record
    from streams.worker import Worker

    normalisers = {
        name: Normaliser(mapping.table, ABOVE_ALL, FEEDS[name], mapping.form)
        for name, mapping in MAPPINGS.items()
    }
    worker, differences, sender = Worker(memory, normalisers), Differences(), producer(kafka)
    start, end = task.job.request["from"], task.job.request["to"]
    with Range(kafka, RAW.name, FEEDS[task.job.subject].slot, start, end) as raw:
        while messages := raw.next(_BATCH):
            out = Outbox()
            for message in messages:
                worker.take(raw_record(message), book, int(time.time() * 1000), out)
            out.settle()
            for slot, version in out.versions():
                differences.compare(version.id, memory.body(version.id), version.body)
                _send(sender, topic.name, slot, version.id, version.body)
            differences.dead += len(out.dead)
            task.progress(raw.position - start)
    if sender.flush(60):
        raise Retriable("Kafka did not take all of the shadow's stones")
    return {
        "records": end - start,
        **differences.shown(),
        "topic": topic.name,
        "mapper_version": MAPPINGS[task.job.subject].version,
        "rules_version": book.number,
    }


def _send(sender: Producer, topic: str, slot: int, stone: str, body: bytes | None) -> None:
    while True:
        try:
            sender.produce(topic, body, stone.encode(), slot)
        except BufferError:
            sender.poll(0.1)
            continue
        except KafkaException as error:
            raise Retriable(f"Kafka did not take the shadow: {error}") from error
        sender.poll(0)
        return


class Differences:
    """Stones compared field by field.

    Attributes:
        compared: stones looked at.
        differing: those of them that differ in any field but provenance.
        remapped: those that differ in a field that does not come from the rules.
        new: stones that are not in stock.
        gone: stones that would leave the stock.
        dead: items that could not be used.
    """

    def __init__(self) -> None:
        self.compared = self.differing = self.remapped = self.new = self.gone = self.dead = 0
        self._stones: defaultdict[str, int] = defaultdict(int)
        self._examples: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def compare(self, stone: str, before: bytes | None, after: bytes | None) -> None:
        """Compare a canonical record with what would be written in its place."""
        if before is None or after is None:
            self.new += before is None and after is not None
            self.gone += after is None and before is not None
            return
        self.compared += 1
        old, new = msgspec.json.decode(before), msgspec.json.decode(after)
        fields = [
            name
            for name in old.keys() | new.keys()
            if name not in PROVENANCE and old.get(name) != new.get(name)
        ]
        self.differing += bool(fields)
        self.remapped += bool(set(fields) - _FROM_RULES)
        for name in fields:
            self._stones[name] += 1
            if len(self._examples[name]) < _EXAMPLES:
                self._examples[name].append({"stone": stone, "before": old.get(name), "after": new.get(name)})

    def shown(self) -> dict[str, Any]:
        """For people and programs."""
        counts = ("compared", "differing", "remapped", "new", "gone", "dead")
        return {
            **{name: getattr(self, name) for name in counts},
            "fields": {
                name: {"stones": number, "examples": self._examples[name]}
                for name, number in sorted(self._stones.items(), key=lambda pair: -pair[1])
            },
        }


_FROM_RULES: Final = frozenset(("price_cents", "currency", "rule", "margin_bps", "rating", "rate_id"))
