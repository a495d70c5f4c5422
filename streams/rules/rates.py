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
from schemas.ruleset import HOME_CURRENCY, Rate
from schemas.topics import RATES

log = structlog.stdlib.get_logger(__name__)

_WAIT_S: Final = 10.0

_INSERT: Final = """
INSERT INTO rates (id, currency, ppm, at, source, actor) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO NOTHING"""
_ONE: Final = "SELECT id, currency, ppm, at, source FROM rates WHERE id = $1"
_LATEST: Final = """
SELECT DISTINCT ON (currency) id, currency, ppm, at, source, actor FROM rates
WHERE $1::text IS NULL OR currency = $1 ORDER BY currency, at DESC, recorded_at DESC"""
_WAITING: Final = """
SELECT DISTINCT ON (currency) id, currency, ppm, at, source, actor, delivered_at FROM rates
ORDER BY currency, at DESC, recorded_at DESC"""


class Recorded(NamedTuple):
    """A rate as it is kept, and whether it is new."""

    rate: Rate
    new: bool


async def record(link: Link, rate: Rate, *, actor: str) -> Recorded:
    """Keep a rate. One that is known already stays as it is: stones name it as what they were priced with.

    Raises:
        Invalid: it is of the home currency, or its id is that of another currency or value.
    """
    if rate.currency == HOME_CURRENCY:
        raise Invalid("currency", f"{HOME_CURRENCY} is the currency of costs and has no rate", code="home")
    moment = datetime.fromtimestamp(rate.at / 1000, UTC)
    done: str = await link.execute(_INSERT, rate.id, rate.currency, rate.ppm, moment, rate.source, actor)
    if done == "INSERT 0 1":
        log.info("rates.recorded", rate=rate.id, ppm=rate.ppm, actor=actor)
        return Recorded(rate, new=True)
    known = _rate(await link.fetchrow(_ONE, rate.id))
    if (known.currency, known.ppm) != (rate.currency, rate.ppm):
        rule = f"{rate.id!r} is the rate {known.ppm} of {known.currency} and stays it; give another value another id"
        raise Invalid("id", rule, code="taken")
    return Recorded(known, new=False)


async def latest(link: Link, currency: str | None = None) -> dict[str, Rate]:
    """The last known rate of each currency, or of one."""
    return {row["currency"]: _rate(row) for row in await link.fetch(_LATEST, currency)}


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
    return known[currency]


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


def shown(rate: Rate, now_ms: int | None = None) -> dict[str, Any]:
    """A rate for people and programs, with its age in seconds."""
    now_ms = int(time.time() * 1000) if now_ms is None else now_ms
    return {
        **rate.model_dump(),
        "at": datetime.fromtimestamp(rate.at / 1000, UTC).isoformat(),
        "age_s": max(0, now_ms - rate.at) // 1000,
    }


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
