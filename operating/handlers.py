"""Which long actions of an operator can be done outside an owner, and what does them."""

from __future__ import annotations

from collections.abc import Mapping

from operating import groups_replay, redrive, replay, shadow, undo
from runtime.job_runner import Handler
from runtime.postgres import Database
from runtime.settings import KafkaSettings


def handlers(database: Database, kafka: KafkaSettings) -> Mapping[str, Handler]:
    """By kind of job."""
    return {
        redrive.KIND: redrive.handler(database, kafka),
        replay.KIND: replay.handler(database, kafka),
        undo.KIND: undo.handler(database, kafka),
        shadow.KIND: shadow.handler(kafka),
        groups_replay.KIND: groups_replay.handler(database, kafka),
    }
