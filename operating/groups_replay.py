"""Having any consumer group read a partition again: the sink, or one of somebody's own, by its offsets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from connectors.postgres import actions, pauses
from operating.groups import Groups
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job
from runtime.postgres import Database, Link
from runtime.settings import KafkaSettings
from schemas.errors import Invalid, Retriable
from schemas.topics import CANONICAL, SINK_GROUP

KIND: Final = "replay-group"
_LEAVE_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.5

# The sink reads on from where Postgres says it has written to.
_SINK_BACK: Final = (
    "UPDATE sink_positions SET next_offset = least(next_offset, $2) WHERE kafka_partition = $1"
)


async def request(
    link: Link, kafka: KafkaSettings, group: str, topic: str | None, partition: int, start: int, actor: str
) -> Job:
    """Ask for it; the end is where the group stands now.

    Raises:
        Invalid: the group reads several topics and none is named, or it does not stand behind the offset.
    """
    groups = Groups(kafka)
    if topic is None:
        topics = await asyncio.to_thread(groups.topics, group)
        if len(topics) != 1:
            raise Invalid("topic", f"{group} reads {', '.join(topics) or 'nothing'}; name one of its topics")
        topic = topics[0]
    committed = (await asyncio.to_thread(groups.committed, group, topic)).get(partition, 0)
    low, _ = (await asyncio.to_thread(groups.bounds, topic, [partition]))[partition]
    start = max(low, start)
    if start >= committed:
        raise Invalid("from", f"{group} stands at {committed} of partition {partition}, not behind {start}")
    wanted = {"group": group, "topic": topic, "partition": partition, "from": start, "to": committed}
    job = await jobs.submit(
        link, KIND, f"{group}/{partition}", wanted, actor=actor, unit="records", total=committed - start
    )
    await actions.note(link, actor, "replay.group", group, {"job": job.id, **wanted})
    return job


def handler(database: Database, kafka: KafkaSettings) -> Handler:
    """What does such a job."""
    return lambda task: _GroupReplay(database, kafka, task).run()


class _GroupReplay:
    def __init__(self, database: Database, kafka: KafkaSettings, task: Task) -> None:
        self._database = database
        self._groups = Groups(kafka)
        self._task = task
        wanted = task.job.request
        self._group, self._topic, self._partition = wanted["group"], wanted["topic"], wanted["partition"]
        self._start, self._end = wanted["from"], wanted["to"]

    async def run(self) -> Mapping[str, Any]:
        if not (self._task.job.checkpoint or {}).get("moved"):
            await self._move_back()
            self._task.progress(0, checkpoint={"moved": True})
        while True:
            committed = await asyncio.to_thread(self._groups.committed, self._group, self._topic)
            at = min(max(committed.get(self._partition, 0), self._start), self._end)
            self._task.progress(at - self._start)
            if at >= self._end:
                return {"records": self._end - self._start, "group": self._group, "old_offset": self._end}
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _move_back(self) -> None:
        job, name = self._task.job, self._group
        async with self._database.link() as link:
            await pauses.pause_group(link, name, f"replay {job.id}", actor=job.actor, job=job.id)
        try:
            if not await asyncio.to_thread(self._groups.wait_empty, name, _LEAVE_S):
                raise Retriable(f"{name} still has members; stop them, or cancel")
            if (name, self._topic) == (SINK_GROUP, CANONICAL.name):
                async with self._database.link() as link:
                    await link.execute(_SINK_BACK, self._partition, self._start)
            await asyncio.to_thread(self._groups.move, name, self._topic, {self._partition: self._start})
        finally:
            async with self._database.link() as link:
                await pauses.resume_group(link, name, actor=job.actor, job=job.id)
