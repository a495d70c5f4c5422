"""Which long actions of an operator can be done outside an owner, and what does them."""

from __future__ import annotations

from collections.abc import Mapping

from operating import redrive
from runtime.job_runner import Handler
from runtime.postgres import Database
from runtime.settings import KafkaSettings


def handlers(database: Database, kafka: KafkaSettings) -> Mapping[str, Handler]:
    """By kind of job."""
    return {redrive.KIND: redrive.handler(database, kafka)}
