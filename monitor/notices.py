"""Sends what waits to be told: retried, over fall-backs, each attempt recorded, in the order it happened.

A notice is taken by moving its time on, so a monitor that dies leaves it to the next one; a receiver may then hear it
twice, under the same key, and never not at all.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from connectors.notify.channels import NotSent
from connectors.notify.notice import Notice, Phase
from connectors.notify.plan import Plan
from runtime.metrics import counter
from runtime.postgres import Database
from schemas.errors import Retriable
from schemas.events import Kind, Severity

log = structlog.stdlib.get_logger(__name__)

DELIVERIES: Final = counter("adamas_monitor_deliveries_total")

LOOK_EVERY_S: Final = 1.0
TRIES: Final = 2
"""Attempts on a channel in one round, before the next channel is tried."""
FIRST_WAIT_S: Final = 0.5
TAKEN_S: Final = 120
ROUNDS: Final = 6
ROUND_WAIT_S: Final = 10.0
"""Wait before the second round; each further one waits twice as long, so that a notice is given up after about 5 min."""

_TAKE: Final = """
UPDATE notices SET next_at = now() + make_interval(secs => $1), attempts = attempts + 1
WHERE (event_id, phase) IN (
    SELECT event_id, phase FROM notices AS one
    WHERE settled_at IS NULL AND next_at <= now() AND NOT EXISTS (
        SELECT FROM notices AS before
        WHERE before.event_id = one.event_id AND before.phase = 'raised' AND one.phase = 'resolved'
          AND before.settled_at IS NULL)
    ORDER BY event_id, phase LIMIT 10 FOR UPDATE SKIP LOCKED)
RETURNING event_id, phase, attempts"""
_EVENT: Final = "SELECT severity, kind, subject, text, at, resolved_at FROM events WHERE id = $1"
_REACHED: Final = "SELECT channel FROM deliveries WHERE event_id = $1 AND phase = $2 AND delivered"
_RECORD: Final = """
INSERT INTO deliveries (event_id, phase, channel, at, delivered, detail) VALUES ($1, $2, $3, now(), $4, $5)"""
_SETTLE: Final = "UPDATE notices SET state = $3, settled_at = now() WHERE event_id = $1 AND phase = $2"
_LATER: Final = """
UPDATE notices SET next_at = now() + make_interval(secs => $3) WHERE event_id = $1 AND phase = $2"""


class Notifier:
    """Sends notices.

    Args:
        database: where they wait.
        plan: whom they go to.
        round_wait_s: wait before the second round.
    """

    def __init__(self, database: Database, plan: Plan, round_wait_s: float = ROUND_WAIT_S) -> None:
        self._database = database
        self._plan = plan
        self._round_wait_s = round_wait_s

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                sent = await self.send_waiting()
            except Retriable as error:
                log.warning("monitor.notices_wait", reason=str(error))
                sent = 0
            if not sent:
                await asyncio.sleep(LOOK_EVERY_S)

    async def send_waiting(self) -> int:
        """One round over what waits; how many notices it held.

        Raises:
            Retriable: Postgres is away.
        """
        async with self._database.link() as link:
            taken = [
                (row, await link.fetchrow(_EVENT, row["event_id"]))
                for row in await link.fetch(_TAKE, TAKEN_S)
            ]
        await asyncio.gather(*(self._tell(_notice(row, event), row["attempts"]) for row, event in taken))
        return len(taken)

    async def _tell(self, notice: Notice, round_: int) -> None:
        legs = self._plan.legs(notice)
        async with self._database.link() as link:
            rows = await link.fetch(_REACHED, notice.event_id, notice.phase)
        reached = {row["channel"] for row in rows}
        told = await asyncio.gather(*(self._leg(notice, leg, reached) for leg in legs))
        if not legs:
            await self._settle(notice, "unrouted")
        elif all(told):
            await self._settle(notice, "delivered")
        elif round_ >= ROUNDS:
            log.error("monitor.notice_undelivered", event_id=notice.event_id, kind=notice.kind)
            await self._settle(notice, "partly" if any(told) else "undelivered")
        else:
            async with self._database.link() as link:
                wait_s = self._round_wait_s * 2 ** (round_ - 1)
                await link.execute(_LATER, notice.event_id, notice.phase, wait_s)

    async def _settle(self, notice: Notice, state: str) -> None:
        async with self._database.link() as link:
            await link.execute(_SETTLE, notice.event_id, notice.phase, state)

    async def _leg(self, notice: Notice, leg: tuple[str, ...], reached: set[str]) -> bool:
        """Tell one receiver, over the first channel that takes it; nothing when it was reached in a former round."""
        if reached & set(leg):
            return True
        for channel in leg:
            if await self.tell_over(notice, channel):
                return True
        return False

    async def tell_over(self, notice: Notice, channel: str, tries: int = TRIES) -> bool:
        """Try one channel, and record each attempt; whether it took the notice."""
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
            delivered, detail = await self._attempt(notice, channel)
            DELIVERIES.labels(channel, str(delivered).lower()).inc()
            async with self._database.link() as link:
                await link.execute(_RECORD, notice.event_id, notice.phase, channel, delivered, detail)
            if delivered:
                return True
        return False

    async def _attempt(self, notice: Notice, channel: str) -> tuple[bool, str]:
        try:
            return True, await self._plan.channels[channel].send(notice)
        except NotSent as error:
            log.warning("monitor.not_sent", channel=channel, kind=notice.kind, reason=str(error))
            return False, str(error)


def _notice(row: Any, event: Any) -> Notice:
    phase = Phase(row["phase"])
    return Notice(
        row["event_id"],
        phase,
        Severity(event["severity"]),
        Kind(event["kind"]),
        event["subject"],
        event["text"],
        event["resolved_at"] if phase is Phase.RESOLVED else event["at"],
    )
