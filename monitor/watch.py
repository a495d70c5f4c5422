"""The loops that look: at Kafka every second, at the processes every second, at Postgres every few."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import structlog
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from connectors.postgres import events
from connectors.postgres.events import Event
from monitor.collector import LagCollector
from monitor.lag import Look
from monitor.movement import Movement, Movements
from monitor.positions import Positions
from monitor.samples import Samples
from runtime.metrics import gauge
from runtime.postgres import Database, Link
from schemas.errors import Retriable

log = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
ASK_EVERY_S: Final = 2.0
ANSWER_S: Final = 2.0
SELF: Final = "monitor"

KAFKA_UP: Final = gauge("adamas_monitor_kafka_up")
POSTGRES_UP: Final = gauge("adamas_monitor_postgres_up")
MEMBER_UP: Final = gauge("adamas_monitor_member_up")
OPEN_EVENTS: Final = gauge("adamas_monitor_open_events")
DEAD_LETTERS: Final = gauge("adamas_monitor_dead_letters")
RECENT_EVENTS: Final = gauge("adamas_monitor_recent_events")
UNDELIVERED: Final = gauge("adamas_monitor_undelivered")
RUNS: Final = gauge("adamas_monitor_runs")

_DEAD: Final = "SELECT state, count(*) AS letters FROM dead_letters GROUP BY state"
_RECENT: Final = """
SELECT kind, count(*) AS events FROM events WHERE last_at > now() - interval '1 hour' AND resolved_at = at GROUP BY kind"""
_UNDELIVERED: Final = """
SELECT count(*) FROM notices WHERE state = 'undelivered' AND settled_at > now() - interval '1 day'"""
_RUN_STATES: Final = """
SELECT feed, kind, state, count(*) AS runs FROM runs
WHERE changed_at > now() - interval '7 days' GROUP BY feed, kind, state"""
_RUNS: Final = """
SELECT run, state, rows AS items, requested_at AS started_at FROM runs
WHERE state <> 'pending' ORDER BY requested_at DESC, run DESC LIMIT 8"""
_DEAD_GROUPS: Final = """
SELECT stage, error, field, new + retrying AS waiting, first_at, last_at FROM dead_letter_groups
WHERE new + retrying > 0 ORDER BY last_at DESC LIMIT 8"""


@dataclass
class Watch:
    """What is known now; the loops write it, the board and the conditions read it, all in one event loop.

    Attributes:
        look: the last look at Kafka; none while it is away.
        answered_at: when each process last answered, seconds of the monotonic clock; none if it never did.
        told_of: channels by event, and whether the last attempt over each was taken.
        dead: dead letters by state.
    """

    members: Mapping[str, str]
    database: Database
    positions: Positions
    collector: LagCollector
    samples: Samples
    movements: Movements = field(default_factory=Movements)
    registry: CollectorRegistry = REGISTRY
    look: Look | None = None
    kafka_error: str | None = None
    postgres_error: str | None = None
    asked_postgres: bool = False
    told: dict[str, Movement] = field(default_factory=dict)
    answered_at: dict[str, float | None] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    told_of: dict[int, dict[str, bool]] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    dead_groups: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def open_events(self) -> list[Event]:
        """Events that last."""
        return [event for event in self.events if event.open]

    async def look_at_kafka(self) -> None:
        """For ever."""
        while True:
            began = time.monotonic()
            try:
                self.look = await asyncio.to_thread(self.positions.look)
                self.told = self.movements.see(self.look)
                self.kafka_error = None
            except Retriable as error:
                if self.kafka_error is None:
                    log.warning("monitor.kafka_away", reason=str(error))
                self.look, self.told, self.kafka_error = None, {}, str(error)
            KAFKA_UP.set(self.kafka_error is None)
            self.collector.show(self.look, self.told)
            await asyncio.sleep(max(0.1, LOOK_EVERY_S - (time.monotonic() - began)))

    async def ask_members(self, then: Callable[[float], None] = lambda _now_s: None) -> None:
        """For ever; `then` is called after each round with the time, epoch seconds."""
        async with httpx.AsyncClient(timeout=ANSWER_S, trust_env=False) as client:
            while True:
                now_s = time.time()
                await asyncio.gather(
                    *(self._ask(client, name, url, now_s) for name, url in self.members.items())
                )
                self.samples.take(now_s, SELF, generate_latest(self.registry).decode())
                then(now_s)
                await asyncio.sleep(LOOK_EVERY_S)

    async def _ask(self, client: httpx.AsyncClient, name: str, url: str, now_s: float) -> None:
        self.answered_at.setdefault(name, None)
        try:
            reply = await client.get(f"{url}/metrics")
            reply.raise_for_status()
        except httpx.HTTPError:
            self.samples.lost(name)
            MEMBER_UP.labels(name).set(0)
            return
        self.samples.take(now_s, name, reply.text)
        self.answered_at[name] = time.monotonic()
        MEMBER_UP.labels(name).set(1)

    async def ask_postgres(self) -> None:
        """For ever."""
        while True:
            try:
                async with self.database.link() as link:
                    self.events = await events.list_events(link, limit=50)
                    self.told_of = await events.reached(link, [event.id for event in self.events])
                    self.dead = {row["state"]: row["letters"] for row in await link.fetch(_DEAD)}
                    self.dead_groups = [dict(row) for row in await link.fetch(_DEAD_GROUPS)]
                    self.runs = [dict(row) for row in await link.fetch(_RUNS)]
                    await self._count(link)
                self.postgres_error = None
            except Retriable as error:
                if self.postgres_error is None:
                    log.warning("monitor.postgres_away", reason=str(error))
                self.postgres_error = str(error)
            self.asked_postgres = True
            self._show_counts()
            await asyncio.sleep(ASK_EVERY_S)

    async def _count(self, link: Link) -> None:
        RECENT_EVENTS.clear()
        for row in await link.fetch(_RECENT):
            RECENT_EVENTS.labels(row["kind"]).set(row["events"])
        RUNS.clear()
        for row in await link.fetch(_RUN_STATES):
            RUNS.labels(row["feed"], row["kind"], row["state"]).set(row["runs"])
        UNDELIVERED.set(await link.fetchval(_UNDELIVERED))

    def _show_counts(self) -> None:
        POSTGRES_UP.set(self.postgres_error is None)
        OPEN_EVENTS.clear()
        for event in self.open_events:
            OPEN_EVENTS.labels(event.kind, event.severity).inc()
        for state in ("new", "retrying"):
            DEAD_LETTERS.labels(state).set(self.dead.get(state, 0))
