"""Whatever about rule sets must happen by itself: deliveries that Kafka missed, dates that pass, rates that change,
gradual publishes that go wrong.

Every API replica runs a keeper, and a lock in Postgres lets one of them work. Each change it makes is a number with a
reason, like anybody's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg
import structlog
from confluent_kafka import Message, TopicPartition

from connectors.postgres import events
from runtime.kafka import consumer
from runtime.postgres import Link
from runtime.tail import Tail
from schemas.conditions import AGE
from schemas.dead_letter import DeadLetter
from schemas.errors import AdamasError, Invalid, Retriable
from schemas.events import Kind
from schemas.headers import from_headers
from schemas.ruleset import PublishedRuleSet, Rate, TrialLimits
from schemas.topics import DEAD
from streams.pricing.engine import DAY_S
from streams.pricing.shelf import attributes_of
from streams.pricing.trial import Arms, fault, measure
from streams.rules import rates
from streams.rules import store as rules_store
from streams.rules.desk import Intent, RuleDesk

log = structlog.stdlib.get_logger(__name__)

ACTOR: Final = "keeper"
TICK_S: Final = 2.0
TRIAL_EVERY_S: Final = 5.0
RATES_EVERY_S: Final = 6 * 3600.0
RATES_AGAIN_S: Final = 300.0
_LOCK: Final = 0x_ADA_B0
_TIMEOUT_S: Final = 10.0
_DAY_MS: Final = 1_000 * DAY_S

FetchRates = Callable[[], Awaitable[Sequence[Rate]]]


class Keeper:
    """One replica's keeper.

    Args:
        desk: the actions.
        fetch_rates: asks the daily source; null where rates are recorded by hand.
        tick_s: how often it looks.
    """

    def __init__(
        self, desk: RuleDesk, fetch_rates: FetchRates | None = None, *, tick_s: float = TICK_S
    ) -> None:
        self._desk = desk
        self._fetch_rates = fetch_rates
        self._tick_s = tick_s
        self._fetch_at = 0.0
        self._look_at = 0.0
        self._head: PublishedRuleSet | None = None
        self._dead: _DeadLetters | None = None
        self.arms: Arms | None = None

    async def run(self) -> None:
        """Work whenever no other replica does, until cancelled."""
        try:
            while True:
                try:
                    await self._work()
                except (Retriable, asyncpg.PostgresError) as error:
                    log.warning("keeper.waits", reason=str(error))
                await self._desk.shelves.let_go_if_idle()
                await asyncio.sleep(self._tick_s)
        finally:
            await self._end_trial()

    async def _work(self) -> None:
        async with self._desk.database.link() as link:
            if not await link.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                return
            log.info("keeper.began")
            # What a restored Postgres has forgotten is in Kafka.
            behind = True
            while True:
                behind = await self._tick(link, behind)
                await asyncio.sleep(self._pause_s())

    async def _tick(self, link: Link, behind: bool) -> bool:
        """One look at everything; whether the two stores may still differ."""
        behind = await self._deliver(link, behind)
        number = await link.fetchval("SELECT max(number) FROM rulesets")
        if number is not None and (self._head is None or self._head.number != number):
            self._head = await rules_store.get(link, number)
        for step in (self._keep_rates, self._keep_dates, self._keep_rate, self._keep_trial):
            try:
                await step(link)
            except AdamasError as error:
                # Somebody else published in between, or something is away: the next look tells.
                log.warning("keeper.step_failed", step=step.__name__, reason=str(error))
        await self._desk.shelves.let_go_if_idle()
        return behind

    def _pause_s(self) -> float:
        due_ms, _ = _next_boundary(self._head)
        until_s = self._tick_s if due_ms is None else due_ms / 1000 - time.time()
        return min(self._tick_s, max(0.0, until_s))

    async def _deliver(self, link: Link, behind: bool) -> bool:
        waiting = await link.fetchval("SELECT EXISTS (SELECT FROM rulesets WHERE delivered_at IS NULL)")
        try:
            if behind or waiting:
                await rules_store.sync(link, self._desk.kafka, self._desk.topic)
            await rates.deliver(link, self._desk.kafka)
        except Retriable as error:
            log.warning("keeper.kafka_away", reason=str(error))
            return True
        return False

    async def _keep_dates(self, _link: Link) -> None:
        due_ms, reason = _next_boundary(self._head)
        if due_ms is not None and due_ms <= time.time() * 1000:
            await self._desk.renew("dates", reason, ACTOR)

    async def _keep_rates(self, link: Link) -> None:
        if self._fetch_rates is None or time.monotonic() < self._fetch_at:
            return
        self._fetch_at = time.monotonic() + RATES_AGAIN_S
        for rate in await self._fetch_rates():
            try:
                await rates.record(link, rate, actor=ACTOR)
            except Invalid as error:
                # A person may record it, with a reason. What the source says of other currencies counts all the same.
                log.error("rates.not_believed", rate=rate.id, ppm=rate.ppm, reason=error.rule)
        self._fetch_at = time.monotonic() + RATES_EVERY_S

    async def _keep_rate(self, link: Link) -> None:
        head = self._head
        if head is None:
            return
        known = await rates.latest(link)
        sides = (head, head.rest) if head.rest else (head,)
        for side in sides:
            newer = known.get(side.content.currency)
            if (
                side.rate is not None
                and newer is not None
                and newer.rate.id != side.rate.id
                and newer.rate.at >= side.rate.at
            ):
                await self._desk.renew("rate", _why(newer, side.rate), ACTOR)
                return

    async def _keep_trial(self, link: Link) -> None:
        head = self._head
        if head is None or head.rest is None:
            await self._end_trial()
            return
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + TRIAL_EVERY_S
        if self._dead is None or self._dead.number != head.number:
            await self._end_trial()
            self._dead = _DeadLetters(self._desk, head)
            await asyncio.to_thread(self._dead.start)
        shelf = await self._desk.shelves.shelf(attributes_of(head))
        arms = await asyncio.to_thread(measure, head, shelf, self._desk.guards, self._dead.stones)
        self.arms = arms
        reason = fault(arms, head.trial or TrialLimits())
        if reason is not None:
            log.warning("rules.taken_back", number=head.number, reason=reason)
            told = f"number {head.number} on {head.share_bps} bps: {reason}"
            await self._desk.take_back(Intent(ACTOR, told))
            await events.record(link, Kind.TRIAL_TAKEN_BACK, f"rule set {head.number}", told, actor=ACTOR)

    async def _end_trial(self) -> None:
        dead, self._dead, self.arms = self._dead, None, None
        if dead is not None:
            await asyncio.to_thread(dead.stop)


class _DeadLetters:
    """Stones that could not be priced since a number was published."""

    def __init__(self, desk: RuleDesk, head: PublishedRuleSet) -> None:
        self.number = head.number
        self.stones: set[str] = set()
        self._kafka = desk.kafka
        self._since_ms = head.published_at
        self._tail: Tail | None = None

    def start(self) -> None:
        """Begin to read at the publish. Raises `Retriable` when Kafka does not answer."""
        asker = consumer(self._kafka)
        try:
            times = [TopicPartition(DEAD.name, slot, self._since_ms) for slot in range(DEAD.partitions)]
            found = asker.offsets_for_times(times, timeout=_TIMEOUT_S)
            ends = {
                place.partition: asker.get_watermark_offsets(place, timeout=_TIMEOUT_S)[1] for place in times
            }
        except Exception as error:
            raise Retriable(f"Kafka does not answer: {error}") from error
        finally:
            asker.close()
        # Nothing written since: the end, and from there on.
        start = {
            place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in found
        }
        self._tail = Tail(self._kafka, DEAD.name, self._note, start=start)
        self._tail.start()

    def stop(self) -> None:
        """Stop reading."""
        if self._tail is not None:
            self._tail.stop()

    def _note(self, messages: list[Message]) -> None:
        for message in messages:
            headers: Any = message.headers()
            try:
                letter = from_headers(headers, DeadLetter)
            except Invalid:
                continue
            if letter.stage == "price" and letter.stone:
                self.stones.add(letter.stone)


def _why(newer: rates.Kept, before: Rate) -> str:
    reason = f"; {newer.actor}: {newer.reason}" if newer.reason else ""
    return f"{newer.rate.id}: {newer.rate.ppm} ppm, was {before.ppm}{reason}"


def _next_boundary(head: PublishedRuleSet | None) -> tuple[int | None, str]:
    """The first moment (ms since 1970) from which the head's content means something else than it was made with, and why."""
    if head is None:
        return None, ""
    contents = (head.content, head.rest.content) if head.rest else (head.content,)
    moments = [
        (moment, "a row's validity began or ended")
        for content in contents
        for moment in content.boundaries()
        if moment > head.counted_at
    ]
    if any(content.asks(AGE) for content in contents):
        moments.append(
            ((head.counted_at // _DAY_MS + 1) * _DAY_MS, "a day began: rows ask for a stone's age")
        )
    return min(moments, default=(None, ""))
