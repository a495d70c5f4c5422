"""What a replay is about: a range of a feed's raw partition, and what is in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Message

from connectors.feeds.mappings import MAPPINGS
from operating.groups import Groups
from runtime.postgres import Link
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS
from schemas.headers import from_headers
from schemas.topics import PROCESS_GROUP, RAW
from streams.pages import PageReader
from streams.ranges import Range

_BATCH: Final = 200
_JOIN_S: Final = 20.0

# Stones whose present version stands on a fact of the range are all that a replay can change: facts before it have
# been superseded, and those after it are newer.
_TOUCHED: Final = """
SELECT count(*) AS stones, count(*) FILTER (WHERE mapper_version < $4) AS older_mapper
FROM diamonds WHERE feed = $1 AND raw_offset >= $2 AND raw_offset < $3 AND retired_at IS NULL"""

_PACE: Final = """
SELECT (result->>'records_per_s')::float FROM jobs
WHERE kind = 'replay' AND subject = $1 AND state = 'done' AND result ? 'records_per_s' ORDER BY id DESC LIMIT 1"""


@dataclass(frozen=True, slots=True)
class Span:
    """Raw offsets `start` up to, not including, `end` of a feed's partition."""

    feed: str
    start: int
    end: int

    @property
    def slot(self) -> int:
        """The feed's partition."""
        return FEEDS[self.feed].slot


@dataclass(frozen=True, slots=True)
class Preview:
    """What a replay of a range means.

    Attributes:
        records: raw records, all kinds.
        items: items in its pages.
        first_at: time of its first record.
        stones: stones in stock whose present version stands on a fact of the range: all it can touch.
        rewritten: those of them that an older mapper made, as far as this installation's mapper goes.
        eta_s: at the pace of the last replay of the feed; null where there was none.
        fresh_wait_s: how long fresh facts would wait with `--by offsets`; behind the owner's back it is a slice.
    """

    feed: str
    partition: int
    start: int
    end: int
    records: int
    kinds: dict[str, int]
    items: int
    first_at: datetime | None
    last_at: datetime | None
    stones: int
    rewritten: int
    mapper_version: int
    eta_s: float | None
    fresh_wait_s: float | None

    @property
    def span(self) -> Span:
        """The range."""
        return Span(self.feed, self.start, self.end)

    def shown(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
        }


async def resolve(kafka: KafkaSettings, feed: str, start: str, end: str | None) -> Span:
    """The range meant by two words, each a time (RFC 3339), an offset or a run's name.

    A run begins with its first record and ends behind its last. Without an end, the range ends at the log's end now.

    Raises:
        Invalid: there is no such feed or run, or the range is empty.
        Retriable: Kafka does not answer.
    """
    if feed not in FEEDS:
        raise Invalid("feed", f"there is no feed {feed!r}; there are {', '.join(FEEDS)}", "unknown")
    groups, slot = Groups(kafka), FEEDS[feed].slot
    low, high = (await asyncio.to_thread(groups.bounds, RAW.name, [slot]))[slot]

    async def offset(word: str, *, is_end: bool) -> int:
        if word.isdecimal():
            return int(word)
        if (moment := _moment(word)) is not None:
            at_ms = int(moment.timestamp() * 1000)
            found = await asyncio.to_thread(groups.at_time, RAW.name, slot, at_ms)
            return high if found is None else found
        first, last = await asyncio.to_thread(_run_places, kafka, slot, low, high, word)
        return last + 1 if is_end else first

    from_ = max(low, await offset(start, is_end=False))
    if end is None and not start.isdecimal() and _moment(start) is None:
        end = start
    to = high if end is None else min(high, await offset(end, is_end=True))
    if from_ >= to:
        raise Invalid("from", f"offsets {from_} to {to} are an empty range; the log has {low} to {high}")
    return Span(feed, from_, to)


async def preview(kafka: KafkaSettings, link: Link, span: Span) -> Preview:
    """Read the range once and say what replaying it means. Raises `Retriable` when Kafka does not answer."""
    found = await asyncio.to_thread(_contents, kafka, span)
    row = await link.fetchrow(_TOUCHED, span.feed, span.start, span.end, MAPPINGS[span.feed].version)
    pace = await link.fetchval(_PACE, span.feed)
    committed = await asyncio.to_thread(Groups(kafka).committed, PROCESS_GROUP, RAW.name)
    behind = max(0, committed.get(span.slot, span.end) - span.start)
    return Preview(
        feed=span.feed,
        partition=span.slot,
        start=span.start,
        end=span.end,
        records=found.records,
        kinds=dict(found.kinds),
        items=found.items,
        first_at=found.first_at,
        last_at=found.last_at,
        stones=row["stones"],
        rewritten=row["older_mapper"],
        mapper_version=MAPPINGS[span.feed].version,
        eta_s=None if not pace else round((span.end - span.start) / pace, 1),
        fresh_wait_s=None if not pace else round(_JOIN_S + behind / pace, 1),
    )


class _Contents:
    def __init__(self) -> None:
        self.records = self.items = 0
        self.kinds: Counter[str] = Counter()
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None


def _contents(kafka: KafkaSettings, span: Span) -> _Contents:
    found, pages = _Contents(), PageReader(MAPPINGS[span.feed].form)

    def take(message: Message) -> None:
        found.records += 1
        at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        found.first_at, found.last_at = found.first_at or at, at
        headers = _headers(message)
        found.kinds[headers.kind.value if headers else "unreadable"] += 1
        if headers is None:
            found.items += 1
        elif headers.kind in (Kind.PAGE, Kind.ITEM):
            found.items += _items(pages, message.value() or b"", headers.rows)

    _each(kafka, span, take)
    return found


def _items(pages: PageReader, value: bytes, rows: int | None) -> int:
    try:
        return len(pages.split(value))
    except Invalid:
        # The owner counts a page that it cannot read by what its writer saw in it.
        return max(1, rows or 0)


def _run_places(kafka: KafkaSettings, slot: int, low: int, high: int, run: str) -> tuple[int, int]:
    places: list[int] = []

    def take(message: Message) -> None:
        if any(pair == ("run", run.encode()) for pair in message.headers() or ()):
            places.append(message.offset() or 0)

    feed = next(name for name, info in FEEDS.items() if info.slot == slot)
    _each(kafka, Span(feed, low, high), take)
    if not places:
        raise Invalid(
            "from", f"{run!r} is neither an offset nor a time, and the raw log has no run of that name"
        )
    return places[0], places[-1]


def _each(kafka: KafkaSettings, span: Span, take: Callable[[Message], None]) -> None:
    with Range(kafka, RAW.name, span.slot, span.start, span.end) as raw:
        while messages := raw.next(_BATCH):
            for message in messages:
                take(message)


def _headers(message: Message) -> FactHeaders | None:
    headers: Any = message.headers() or ()
    try:
        return from_headers(headers, FactHeaders)
    except Invalid:
        return None


def _moment(word: str) -> datetime | None:
    if not word[:4].isdecimal() or "-" not in word:
        return None
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
