"""Undoing a replay: the stones it changed get their content of before back, through the raw log like everything else.

A stone that has moved on since (a newer fact, a newer mapper) is left alone. The restored content stands under the
version that the replay wrote, so the same replay again changes nothing, and whatever is newer still wins.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from connectors.postgres import actions
from operating.groups import Groups
from operating.raw_log import append, wait_processed, wait_stored
from operating.replay import KIND as REPLAY
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job
from runtime.postgres import LONG_STATEMENT_TIMEOUT_S, Database, Link
from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Invalid
from schemas.facts import FactHeaders, Kind, Restore, RestoredStone
from schemas.feeds import FEEDS
from schemas.stone import Content, encode

KIND: Final = "undo"
_BATCH: Final = 100

_CHANGED: Final = """
SELECT i.stone_id, d.seq, d.mapper_version, i.image
FROM replay_images i JOIN diamonds d ON d.id = i.stone_id
WHERE i.job = $1 AND d.seq = (i.image->>'seq')::bigint AND d.retired_at IS NULL
  AND d.content_hash <> i.image->>'content_hash'
ORDER BY i.stone_id"""

_CREATED: Final = """
SELECT d.id, d.seq, d.mapper_version FROM diamonds d
WHERE d.feed = $2 AND d.raw_offset >= $3 AND d.raw_offset < $4 AND d.retired_at IS NULL AND d.cause = 'new'
  AND NOT EXISTS (SELECT FROM replay_images i WHERE i.job = $1 AND i.stone_id = d.id)
  AND d.updated_at >= (SELECT started_at FROM jobs WHERE id = $1)"""


async def request(link: Link, replay_id: int, actor: str) -> Job:
    """Ask for a replay to be undone.

    Raises:
        Invalid: there is no such replay, or it is still under way.
    """
    replay = await jobs.get(link, replay_id)
    if replay.kind != REPLAY:
        raise Invalid("job", f"job {replay_id} is a {replay.kind}, not a replay")
    if not replay.state.final:
        raise Invalid("job", f"replay {replay_id} is under way; cancel it first", "busy")
    job = await jobs.submit(link, KIND, replay.subject, {"job": replay_id}, actor=actor, unit="stones")
    await actions.note(link, actor, "replay.undo", replay.subject, {"job": job.id, "replay": replay_id})
    return job


def handler(database: Database, kafka: KafkaSettings) -> Handler:
    """What does an undo job."""

    async def run(task: Task) -> Mapping[str, Any]:
        groups, slot = Groups(kafka), FEEDS[task.job.subject].slot
        await wait_stored(groups, slot, lambda: task.progress(0))
        async with database.link() as link:
            replay = await jobs.get(link, task.job.request["job"])
            stones = await _to_restore(link, replay)
        task.progress(0, total=len(stones))
        done = 0
        while batch := stones[done : done + _BATCH]:
            places = await asyncio.to_thread(append, kafka, [_fact(task.job, replay, batch)])
            done += len(batch)
            task.progress(done)
        if stones:
            await wait_processed(groups, places, lambda: task.progress(done))
            await wait_stored(groups, slot, lambda: task.progress(done))
        async with database.link() as link:
            left = await _to_restore(link, replay)
        if left:
            raise Fatal(f"{len(left)} of {len(stones)} stones are not as they were, e.g. {left[0].id}")
        return {"restored": len(stones), "replay": replay.id}

    return run


async def _to_restore(link: Link, replay: Job) -> list[RestoredStone]:
    changed = await link.fetch(_CHANGED, replay.id, timeout=LONG_STATEMENT_TIMEOUT_S)
    request = replay.request
    created = await link.fetch(
        *(_CREATED, replay.id, replay.subject, request["from"], request["to"]),
        timeout=LONG_STATEMENT_TIMEOUT_S,
    )
    return [
        *(
            RestoredStone(id=row[0], seq=row[1], mapper=row[2], content=_content(json.loads(row[3])))
            for row in changed
        ),
        *(RestoredStone(id=row[0], seq=row[1], mapper=row[2]) for row in created),
    ]


def _content(image: dict[str, Any]) -> Content:
    return msgspec.convert({name: image[name] for name in Content.__struct_fields__}, Content)


def _fact(job: Job, replay: Job, stones: list[RestoredStone]) -> tuple[FactHeaders, bytes]:
    headers = FactHeaders(kind=Kind.RESTORE, feed=replay.subject, epoch=0, seq=0)
    return headers, encode(Restore(feed=replay.subject, job=replay.id, actor=job.actor, stones=tuple(stones)))
