"""Replay behind fresh facts: the owner reads a range of its own raw partition again, a few pages at a time.

A slice waits its turn like a batch of fresh facts does, and is small: fresh facts wait for one slice at most. What was
read again is weighed as ever, so that only what code or rules changed is written.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import Message

from runtime.job_runner import NotMine, Task
from runtime.settings import KafkaSettings
from schemas.feeds import FEEDS
from streams.ranges import Range
from streams.worker import RawRecord

log = structlog.stdlib.get_logger(__name__)

KIND: Final = "reread"
SLICE_PAGES: Final = 16

Reread = Callable[[Sequence[RawRecord]], Awaitable[Mapping[str, int]]]
"""Processes records behind fresh facts; their outcomes by name."""


class Rereading:
    """Does the owner's replay jobs.

    Args:
        kafka: where the log is.
        topic: the raw log's name.
        reread: hands records to the owner's loop.
        owned: the feeds the worker owns at the moment.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, reread: Reread, owned: Callable[[], Collection[str]]
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._reread = reread
        self._owned = owned

    async def run(self, task: Task) -> Mapping[str, Any]:
        """Read the job's range; its result is how many records and items that were, and what came of them.

        Raises:
            NotMine: the feed has another owner by now, who goes on.
        """
        feed, request = task.job.subject, task.job.request
        kept = task.job.checkpoint or {"next": request["from"], "records": 0, "outcomes": {}}
        outcomes = Counter(kept["outcomes"])
        records, first = kept["records"], request["from"]
        with Range(self._kafka, self._topic, FEEDS[feed].slot, kept["next"], request["to"]) as raw:
            while found := await asyncio.to_thread(raw.next, SLICE_PAGES):
                if feed not in self._owned():
                    raise NotMine
                came = await self._reread([raw_record(message) for message in found])
                outcomes.update(came)
                records += len(found)
                task.progress(
                    raw.position - first,
                    checkpoint={"next": raw.position, "records": records, "outcomes": dict(outcomes)},
                )
        return {"records": records, "outcomes": dict(outcomes), "items": outcomes.total()}


def raw_record(message: Message) -> RawRecord:
    """A record of the raw log as a worker takes it."""
    headers: Any = message.headers() or ()
    return RawRecord(
        message.partition() or 0,
        message.offset() or 0,
        message.key() or b"",
        message.value() or b"",
        headers,
        message.timestamp()[1] // 1000,
    )
