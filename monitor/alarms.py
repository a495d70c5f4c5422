"""Keeps the events of the monitor's own conditions in step with what holds: recorded when it begins, resolved when over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from connectors.postgres import events
from monitor.evaluation import Alarm, Evaluation
from monitor.rules import RULES
from monitor.samples import Samples
from runtime.postgres import Database
from schemas.errors import Retriable
from schemas.events import Kind

log = structlog.stdlib.get_logger(__name__)

ACTOR: Final = "monitor"
OVER_AFTER_S: Final = 5.0
"""A condition that pauses for less is not over."""
STEP_EVERY_S: Final = 1.0
_MINE: Final = """
SELECT kind, subject FROM events WHERE resolved_at IS NULL AND actor = $1 AND kind = ANY($2)"""
_RECORDED: Final = {rule.kind for rule in RULES if rule.recorded}

Key = tuple[Kind, str]


@dataclass
class Alarms:
    """Records and resolves.

    Args:
        blind: whether what is wrong cannot be seen now; then nothing counts as over.
    """

    database: Database
    samples: Samples
    blind: Callable[[], bool]
    evaluation: Evaluation = field(default_factory=Evaluation)
    _open: dict[Key, float] | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.step(time.time())
            except Retriable as error:
                log.warning("monitor.alarms_wait", reason=str(error))
            await asyncio.sleep(STEP_EVERY_S)

    async def step(self, now_s: float) -> None:
        """Evaluate, and write what has changed.

        Raises:
            Retriable: Postgres is away; what could not be written is tried in the next step.
        """
        alarms = {(alarm.kind, alarm.subject): alarm for alarm in self.evaluation.alarms(self.samples, now_s)}
        if self._open is None:
            async with self.database.link() as link:
                rows = await link.fetch(_MINE, ACTOR, self.evaluation.kinds)
            self._open = {(Kind(row["kind"]), row["subject"]): now_s for row in rows}
        for key, alarm in alarms.items():
            if key not in self._open:
                await self._raise(alarm)
            self._open[key] = now_s
        if self.blind():
            self._open = dict.fromkeys(self._open, now_s)
        for key in [key for key, seen_s in self._open.items() if now_s - seen_s >= OVER_AFTER_S]:
            await self._resolve(key)
            del self._open[key]

    async def _raise(self, alarm: Alarm) -> None:
        log.warning("monitor.alarm", kind=alarm.kind, subject=alarm.subject, text=alarm.text)
        async with self.database.link() as link:
            await events.record(link, alarm.kind, alarm.subject, alarm.text, actor=ACTOR)

    async def _resolve(self, key: Key) -> None:
        log.info("monitor.alarm_over", kind=key[0], subject=key[1])
        async with self.database.link() as link:
            await events.resolve(link, *key)


async def take_alertmanager(database: Database, alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """Record and resolve what Alertmanager sends; an alert that we evaluate too is one event.

    Nothing is written of a kind that whoever finds out records: its alert counts the open events, so one more of
    them would keep it firing for ever.

    Returns:
        How many were taken, and the names of alerts that are not in our list.

    Raises:
        Retriable: Postgres is away; Alertmanager sends again.
    """
    taken, unknown = 0, []
    for alert in alerts:
        labels, notes = alert.get("labels", {}), alert.get("annotations", {})
        kind = labels.get("kind") or labels.get("alertname", "")
        if kind not in set(Kind):
            unknown.append(str(labels.get("alertname")))
            continue
        taken += 1
        if kind in _RECORDED:
            continue
        subject = notes.get("subject") or "all"
        async with database.link() as link:
            if alert.get("status") == "resolved":
                await events.resolve(link, Kind(kind), subject)
            else:
                await events.record(
                    link,
                    Kind(kind),
                    subject,
                    notes.get("description") or notes.get("summary", ""),
                    actor="alertmanager",
                )
    return {"taken": taken, "unknown": unknown}
