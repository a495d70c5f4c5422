"""Exchange rates: kept for ever in Postgres, the latest of each currency in `pricing.rates`.

A rate moves no price by itself: the number that is published with it does (`streams.rules.keeper`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog

from runtime.kafka import produce_all
from runtime.postgres import Link
from runtime.settings import KafkaSettings
from schemas.errors import Invalid, Retriable
from schemas.ruleset import HOME_CURRENCY, WHOLE_BPS, Rate
from schemas.topics import RATES

log = structlog.stdlib.get_logger(__name__)

_WAIT_S: Final = 10.0

MAX_MOVE_BPS: Final = 1_000
"""A rate that moves by more than this is a mistake or news that somebody can tell: it re-prices whatever is sold in its currency."""

_INSERT: Final = """
INSERT INTO rates (id, currency, ppm, at, source, actor, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)"""
_ONE: Final = "SELECT id, currency, ppm, at, source, actor, reason FROM rates WHERE id = $1"
_LATEST: Final = """
SELECT DISTINCT ON (currency) id, currency, ppm, at, source, actor, reason FROM rates
WHERE $1::text IS NULL OR currency = $1 ORDER BY currency, at DESC, recorded_at DESC"""
_WAITING: Final = """
SELECT DISTINCT ON (currency) id, currency, ppm, at, source, actor, delivered_at FROM rates
ORDER BY currency, at DESC, recorded_at DESC"""


class Kept(NamedTuple):
    """A rate, who recorded it, and why; null where no reason was given."""

    rate: Rate
    actor: str
    reason: str | None


async def record(link: Link, rate: Rate, *, actor: str, reason: str | None = None) -> tuple[Kept, bool]:
    """Keep a rate; as it is kept, and whether it is new. A known one stays as it is: stones name it as theirs.

    Raises:
        Invalid: it is of the home currency, its id is that of another currency or value, the reason says nothing, or
            there is none although it moves by more than `MAX_MOVE_BPS`.
    """
    if rate.currency == HOME_CURRENCY:
        raise Invalid("currency", f"{HOME_CURRENCY} is the currency of costs and has no rate", code="home")
    if reason is not None and not reason.strip():
        raise Invalid("reason", "says nothing; it is kept for ever", code="no_reason")
    moment = datetime.fromtimestamp(rate.at / 1000, UTC)
    async with link.transaction():
        # Of two at once the second is measured by the first.
        await link.execute("LOCK TABLE rates IN EXCLUSIVE MODE")
        if (row := await link.fetchrow(_ONE, rate.id)) is not None:
            _refuse_other(rate, known := _kept(row))
            return known, False
        if reason is None:
            _refuse_leap(rate, (await latest(link, rate.currency)).get(rate.currency))
        values = (rate.id, rate.currency, rate.ppm, moment, rate.source, actor, reason)
        await link.execute(_INSERT, *values)
    log.info("rates.recorded", rate=rate.id, ppm=rate.ppm, actor=actor, reason=reason)
    return Kept(rate, actor, reason), True


async def latest(link: Link, currency: str | None = None) -> dict[str, Kept]:
    """The last known rate of each currency, or of one."""
    return {row["currency"]: _kept(row) for row in await link.fetch(_LATEST, currency)}


async def rate_for(link: Link, currency: str) -> Rate | None:
    """The rate a rule set of this currency is published with: the last known one; null for the home currency.

    Raises:
        Invalid: none was ever known.
    """
    if currency == HOME_CURRENCY:
        return None
    known = await latest(link, currency)
    if currency not in known:
        raise Invalid("currency", f"no rate of {currency} is known: record one first", code="no_rate")
    return known[currency].rate


async def deliver(link: Link, kafka: KafkaSettings, topic: str = RATES.name) -> int:
    """Bring the latest rates to Kafka that it has not got; how many. Raises `Retriable` when Kafka is away."""
    waiting = [row for row in await link.fetch(_WAITING) if row["delivered_at"] is None]
    if waiting:
        rates = {row["currency"]: _rate(row) for row in waiting}
        await asyncio.to_thread(_send, kafka, topic, rates)
        await link.execute(
            "UPDATE rates SET delivered_at = now() WHERE id = ANY($1)", [row["id"] for row in waiting]
        )
    return len(waiting)


def shown(kept: Kept, now_ms: int | None = None) -> dict[str, Any]:
    """A rate for people and programs, with its age in seconds."""
    rate = kept.rate
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    return {
        **rate.model_dump(),
        "at": datetime.fromtimestamp(rate.at / 1000, UTC).isoformat(),
        "age_s": max(0, now_ms - rate.at) // 1000,
        "actor": kept.actor,
        "reason": kept.reason,
    }


def _refuse_other(rate: Rate, known: Kept) -> None:
    kept = known.rate
    if (kept.currency, kept.ppm) != (rate.currency, rate.ppm):
        rule = f"{rate.id!r} is the rate {kept.ppm} of {kept.currency} and stays it; give another value another id"
        raise Invalid("id", rule, code="taken")


def _refuse_leap(rate: Rate, last: Kept | None) -> None:
    if last is None:
        return
    move, known = abs(rate.ppm - last.rate.ppm), last.rate.ppm
    if move * WHOLE_BPS > MAX_MOVE_BPS * known:
        rule = (
            f"{rate.ppm} is {move * 100 / known:.1f} % off {known}, the last known rate of {rate.currency}"
            f" ({last.rate.id}); a move of more than {MAX_MOVE_BPS / 100:g} % needs a reason, which is kept for ever"
        )
        raise Invalid("ppm", rule, code="leap")


def _kept(row: Any) -> Kept:
    return Kept(_rate(row), row["actor"], row["reason"])


def _rate(row: Any) -> Rate:
    return Rate(
        id=row["id"],
        currency=row["currency"],
        ppm=row["ppm"],
        at=int(row["at"].timestamp() * 1000),
        source=row["source"],
    )


def _send(kafka: KafkaSettings, topic: str, rates: Mapping[str, Rate]) -> None:
    records = {currency.encode(): rate.model_dump_json().encode() for currency, rate in rates.items()}
    try:
        produce_all(kafka, topic, records, timeout_s=_WAIT_S)
    except Retriable as error:
        raise Retriable(f"rates are not in Kafka yet: {error}") from error
