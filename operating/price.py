"""Why a stone costs what it costs, now or at a past time: cost, rule, numbers, and the raw page that it all came from."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException, Message, TopicPartition

from connectors.feeds.mappings import MAPPINGS
from operating.archive import Storage, find
from operating.asked import Query, asked
from runtime.kafka import consumer, watermarks
from runtime.postgres import Database, Link
from runtime.settings import KafkaSettings
from schemas.columns import epoch_s
from schemas.errors import Invalid, Retriable
from schemas.facts import Plan, PlanPartition
from schemas.feeds import FEEDS
from schemas.topics import RAW
from streams.pages import PageReader
from streams.pricing.engine import age_at, bucket

_PATIENCE_S: Final = 0.5
"""How long Kafka may take to give the page: whatever else explains a price is in Postgres and does not wait for it."""

_FIELDS: Final = (
    "price_cents, currency, cost_cents, margin_bps, rule, rules_version, mapper_version, seq, cause, changed_at,"
    " previous_price_cents, rate_id, first_seen"
)
_AT: Final = f"""
SELECT {_FIELDS} FROM price_history WHERE stone_id = $1 AND ($2::timestamptz IS NULL OR changed_at <= $2)
ORDER BY changed_at DESC, seq DESC, rules_version DESC LIMIT 1"""
_SINCE: Final = f"""
SELECT {_FIELDS} FROM price_history WHERE stone_id = $1 AND changed_at > $2 ORDER BY changed_at, seq, rules_version"""
_NOW: Final = "SELECT feed, raw_offset, seq, run, availability, retired_at FROM diamonds WHERE id = $1"
_RULES: Final = """
SELECT published_at, actor, reason,
       coalesce(to_timestamp((record->>'valid_at')::bigint / 1000.0), published_at) AS valid_at
FROM rulesets WHERE number = $1"""
_NAMED: Final = "rules[*] ? (@.name == $name)', jsonb_build_object('name', $2::text))"
_TERMS: Final = f"""
SELECT CASE WHEN outside THEN jsonb_path_query_first(record, '$.rest.content.{_NAMED}
       ELSE coalesce(jsonb_path_query_first(record, '$.content.{_NAMED},
                     jsonb_path_query_first(content, '$.{_NAMED}) END AS row,
       CASE WHEN outside THEN record#>'{{rest,rate}}' ELSE record->'rate' END AS rate
FROM rulesets, LATERAL (SELECT coalesce($3 >= (record->>'share_bps')::int, false) AS outside) AS arm
WHERE number = $1"""
_PAGE: Final = """
SELECT p.run, p.raw_offset, p.partition, p.page FROM run_pages p JOIN runs r USING (run)
WHERE p.seq = $1 AND r.feed = $2 LIMIT 1"""
_QUERY: Final = """
SELECT r.updated_from, r.plan, p.slice,
       coalesce((SELECT min(at) FROM run_transitions t WHERE t.run = r.run AND to_state = 'running'), requested_at)
           AS began_at
FROM runs r JOIN run_partitions p ON p.run = r.run AND p.number = $2 WHERE r.run = $1 AND r.plan IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class Price:
    """A price as the history has it; a row of `price_history`."""

    price_cents: int
    currency: str
    cost_cents: int
    margin_bps: int
    rule: str
    rules_version: int
    mapper_version: int
    seq: int
    cause: str
    changed_at: datetime
    previous_price_cents: int | None
    rate_id: str | None
    first_seen: datetime | None


@dataclass(frozen=True, slots=True)
class Source:
    """The vendor's reply a price stands on.

    Attributes:
        kept: whether the page is in the `log` or in the `archive`; null once it is in neither.
        sha256: of the page's bytes; null like `kept`.
        item: the vendor's own words about the stone.
        not_shown: why the page is not here, and what brings it; null where it is.
        answered_at: when the page was written; null where it is not shown.
        query: what was asked; null outside a run.
    """

    topic: str
    partition: int
    offset: int | None
    kept: str | None
    sha256: str | None
    size: int | None
    item: Any
    not_shown: str | None
    answered_at: datetime | None
    run: str | None
    page: int | None
    query: Query | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a price was what it was.

    Attributes:
        rules: when, by whom and why its rule set was published, and the moment that it counts at; null for one Postgres
            does not have.
        row: the row of its rule as that rule set has it; null for a base margin.
        rate: the exchange rate that the rule set names; null in the home currency.
        age_days: the age that the rule set counted, whether a row asks for it or not; null where nobody knows it.
        since: what the price became afterwards, oldest first.
    """

    stone: str
    at: datetime | None
    price: Price
    rules: dict[str, Any] | None
    row: dict[str, Any] | None
    rate: dict[str, Any] | None
    age_days: int | None
    source: Source
    availability: str
    retired_at: datetime | None
    since: list[Price]

    def shown(self) -> dict[str, Any]:
        """For people and programs."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=datetime.isoformat))
        return plain


async def explain(
    database: Database, kafka: KafkaSettings, archive: Storage, stone: str, at: datetime | None = None
) -> Explanation:
    """Explain a stone's price now, or at a time (UTC unless it says otherwise).

    Raises:
        Invalid: there is no such stone, or it had no price at that time.
        Retriable: Postgres does not answer. Kafka away only leaves out the page, and `source.not_shown` says so.
    """
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    async with database.link() as link:
        now = await link.fetchrow(_NOW, stone)
        if now is None:
            raise Invalid("stone", f"there is no stone {stone!r}", "unknown")
        row = await link.fetchrow(_AT, stone, at)
        if row is None:
            raise Invalid("at", f"{stone} had no price at {at}", "unknown")
        price = Price(*row)
        since = [Price(*later) for later in await link.fetch(_SINCE, stone, price.changed_at)]
        rules = await link.fetchrow(_RULES, price.rules_version)
        terms = await link.fetchrow(_TERMS, price.rules_version, price.rule, bucket(stone))
        place = await _place(link, now, price.seq)
    source = await asyncio.to_thread(_source, kafka, archive, stone, price.seq, *place)
    row, rate = (None, None) if terms is None else (_read_json(terms["row"]), _read_json(terms["rate"]))
    return Explanation(
        *(
            stone,
            at,
            price,
            None if rules is None else dict(rules),
            row,
            rate,
            _age_days(price, rules),
            source,
        ),
        *(now["availability"], now["retired_at"], since),
    )


def _read_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _age_days(price: Price, rules: Any) -> int | None:
    if rules is None or price.first_seen is None:
        return None
    return age_at(epoch_s(price.first_seen), epoch_s(rules["valid_at"]))


async def _place(link: Link, now: Any, seq: int) -> tuple[int | None, str | None, int | None, Any]:
    """Raw offset, run, page and the row of the query of the fact with this seq."""
    page = await link.fetchrow(_PAGE, seq, now["feed"])
    if page is None:
        return (now["raw_offset"] if seq == now["seq"] else None), now["run"], None, None
    query = await link.fetchrow(_QUERY, page["run"], page["partition"])
    return page["raw_offset"], page["run"], page["page"], query


def _source(
    kafka: KafkaSettings,
    archive: Storage,
    stone: str,
    seq: int,
    offset: int | None,
    run: str | None,
    page: int | None,
    query: Any,
) -> Source:
    feed, _, vendor_id = stone.partition(":")
    slot = FEEDS[feed].slot
    kept, value, written_ms, not_shown = _page(kafka, archive, slot, offset, seq)
    answered_at = None if written_ms is None else datetime.fromtimestamp(written_ms / 1000, UTC)
    return Source(
        topic=RAW.name,
        partition=slot,
        offset=offset,
        kept=kept,
        sha256=None if value is None else sha256(value).hexdigest(),
        size=None if value is None else len(value),
        item=None if value is None else _item(feed, vendor_id, value),
        not_shown=not_shown,
        answered_at=answered_at,
        run=run,
        page=page,
        query=None if query is None or page is None else _query(feed, page, query, answered_at),
    )


def _query(feed: str, page: int, row: Any, answered_at: datetime | None) -> Query:
    part = msgspec.json.decode(row["slice"], type=PlanPartition)
    size = msgspec.json.decode(row["plan"], type=Plan).page_size
    return asked(feed, part, page, size, row["updated_from"], row["began_at"], answered_at)


def _page(
    kafka: KafkaSettings, archive: Storage, slot: int, offset: int | None, seq: int
) -> tuple[str | None, bytes | None, int | None, str | None]:
    """Where the page is kept, its bytes and when it was written (ms since 1970), or why there are none."""
    if offset is None:
        why = "nobody knows any more where it is: it was no page of a run, and the stone was read again since"
        return None, None, None, why
    why = (
        "neither Kafka, which keeps pages for 14 days, nor the archive has it any more;"
        " where `adamas raw archive` runs daily, pages can be shown for longer"
    )
    try:
        if (message := _read(kafka, slot, offset)) is not None:
            return "log", message.value() or b"", message.timestamp()[1], None
    except Retriable as error:
        why = (
            "Kafka, which keeps pages for 14 days, does not give it now, and the archive does not have it;"
            f" ask again when Kafka is back ({error})"
        )
    if (archived := find(archive, slot, offset, seq)) is not None:
        return "archive", archived.value, archived.written_ms, None
    return None, None, None, why


def _read(kafka: KafkaSettings, slot: int, offset: int) -> Message | None:
    """The record at a place of the log; null where it is gone. Raises `Retriable` when Kafka does not give it at once."""
    place, deadline = TopicPartition(RAW.name, slot, offset), time.monotonic() + _PATIENCE_S
    reader = consumer(kafka)
    try:
        low, high = watermarks(reader, place, _PATIENCE_S)
        if not low <= offset < high:
            return None
        reader.assign([place])
        while (left_s := deadline - time.monotonic()) > 0:
            for message in reader.consume(1, left_s):
                if message.error() is None:
                    return message if message.offset() == offset else None
    except KafkaException as error:
        raise Retriable(f"Kafka refuses the page: {error.args[0].str()}") from error
    finally:
        reader.close()
    raise Retriable(f"Kafka did not give the page within {_PATIENCE_S:g} s")


def _item(feed: str, vendor_id: str, page: bytes) -> Any:
    reader = PageReader(MAPPINGS[feed].form)
    try:
        parts = reader.split(page)
    except Invalid:
        return None
    return next((json.loads(bytes(part)) for part in parts if reader.stone(part) == vendor_id), None)
