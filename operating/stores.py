"""Whether Postgres, the compacted topic and every API replica hold the same stones, told by sums (`schemas.sums`).

Stones change while they are summed. So the topic is followed all the while, and a store is judged only where the topic's
own sum is the same before and after the store was asked; one that differs is asked again, because a reader may be a moment
late. What still differs after `PATIENCE` looks is named, stone by stone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
from confluent_kafka import Message

from connectors.postgres import events
from runtime import jobs
from runtime.job_runner import Handler, Task
from runtime.jobs import Job
from runtime.postgres import Database, Link
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.errors import Retriable
from schemas.events import Kind
from schemas.feeds import FEEDS
from schemas.stone import is_position
from schemas.sums import ENDING, MODULUS, SQL_TERM, Sum, Sums, decode_summed, term
from schemas.topics import CANONICAL

KIND: Final = "compare-stores"
SUBJECT: Final = "all"
POSTGRES: Final = "postgres"
PATIENCE: Final = 12
"""Looks at a store that differs, or at a stock that does not stand still, before it is given up."""
PAUSE_S: Final = 5.0
MOST_NAMED: Final = 20
_READ_S: Final = 600.0
_ASK_S: Final = 600.0

_SUMS: Final = f"""
SELECT feed, right(id, {ENDING}) AS ending, count(*) AS stones, sum({SQL_TERM}) AS total
FROM diamonds WHERE retired_at IS NULL GROUP BY 1, 2"""
_TERMS: Final = f"""
SELECT id, {SQL_TERM} AS term FROM diamonds WHERE retired_at IS NULL AND feed = $1 AND right(id, {ENDING}) = ANY($2)"""

Feeds = dict[str, Sums]


class _Answer(msgspec.Struct):
    feeds: dict[str, dict[str, Sum]]
    stones: dict[str, int]


class Topic:
    """The canonical topic's stones and their sums, kept up to date. Use it as a context."""

    def __init__(self, kafka: KafkaSettings, topic: str = CANONICAL.name) -> None:
        self.feeds: Feeds = {}
        self._terms: dict[str, int] = {}
        self._tail = Tail(kafka, topic, self._apply)

    async def __aenter__(self) -> Topic:
        self._tail.start()
        if not await asyncio.to_thread(self._tail.wait_caught_up, _READ_S):
            raise Retriable(f"the canonical topic was not read within {_READ_S:g} s") from self._tail.failure
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._tail.stop)

    def sums(self, feed: str) -> dict[str, Sum]:
        """A feed's sums as they are now.

        Raises:
            Retriable: the topic cannot be read any more.
        """
        if self._tail.failure is not None:
            raise Retriable(
                f"reading the canonical topic stopped: {self._tail.failure}"
            ) from self._tail.failure
        held = self.feeds.get(feed)
        return {} if held is None else dict(held.by_ending)

    def terms(self, feed: str, endings: set[str]) -> dict[str, int]:
        """The term of each of a feed's stones with one of these endings."""
        return {
            stone: number
            for stone, number in list(self._terms.items())
            if stone[-ENDING:] in endings and stone.startswith(f"{feed}:")
        }

    def _apply(self, messages: list[Message]) -> None:
        for message in messages:
            key, value = message.key(), message.value()
            if key is None or is_position(key):
                continue
            stone = key.decode()
            feed = self.feeds.setdefault(stone.partition(":")[0], Sums())
            former = self._terms.pop(stone, None)
            if former is not None:
                feed.remove(stone, former)
            if value is not None:
                self._terms[stone] = number = term(decode_summed(value))
                feed.add(stone, number)


@dataclass(frozen=True, slots=True)
class Store:
    """Something that should hold what the topic holds.

    Attributes:
        sums: asks for its sums by feed and ending.
        terms: asks for a feed's stones with some endings, and the term of each.
    """

    name: str
    sums: Callable[[], Awaitable[Feeds]]
    terms: Callable[[str, set[str]], Awaitable[dict[str, int]]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a store came to for a feed.

    Attributes:
        agrees: none where the stock did not stand still long enough to be judged.
        topic, held: stones and sum in the topic and in the store.
        apart: how many stones differ.
        named: the first of them.
    """

    store: str
    feed: str
    agrees: bool | None
    topic: Sum
    held: Sum
    apart: int = 0
    named: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What an event about it is about."""
        return f"{self.feed} in {self.store}"

    def text(self) -> str:
        """For a person."""
        if self.agrees is None:
            return f"{self.subject}: changed all the while, not judged"
        told = f"{self.subject}: {self.held.stones} stones, sum {self.held.total:015x}"
        if self.agrees:
            return f"{told}, as in the topic"
        shown = ", ".join(self.named)
        return f"{told}; the topic has {self.topic.stones}, sum {self.topic.total:015x}; {self.apart} stones apart: {shown}"


def in_postgres(database: Database) -> Store:
    """Postgres' rows that are not retired."""

    async def sums() -> Feeds:
        async with database.link() as link:
            rows = await link.fetch(_SUMS, timeout=_ASK_S)
        feeds: Feeds = {}
        for row in rows:
            held = feeds.setdefault(row["feed"], Sums())
            held.by_ending[row["ending"]] = Sum(row["stones"], int(row["total"]) % MODULUS)
        return feeds

    async def terms(feed: str, endings: set[str]) -> dict[str, int]:
        async with database.link() as link:
            return {
                row["id"]: row["term"]
                for row in await link.fetch(_TERMS, feed, list(endings), timeout=_ASK_S)
            }

    return Store(POSTGRES, sums, terms)


def in_api(name: str, http: httpx.AsyncClient) -> Store:
    """What an API replica answers from; the client has its address and a key of the scope `operate`."""

    async def ask(endings: set[str]) -> _Answer:
        try:
            reply = await http.get("/v1/sums", params={"endings": ",".join(endings)})
            reply.raise_for_status()
        except httpx.HTTPError as error:
            raise Retriable(f"{name} does not tell its sums: {error}") from error
        return msgspec.json.decode(reply.content, type=_Answer)

    async def sums() -> Feeds:
        return {feed: Sums(held) for feed, held in (await ask(set())).feeds.items()}

    async def terms(feed: str, endings: set[str]) -> dict[str, int]:
        stones = (await ask(endings)).stones
        return {stone: number for stone, number in stones.items() if stone.startswith(f"{feed}:")}

    return Store(name, sums, terms)


async def compare(topic: Topic, store: Store, pause_s: float = PAUSE_S) -> list[Finding]:
    """Hold a store beside the topic, feed by feed.

    Raises:
        Retriable: the store does not answer.
    """
    open_feeds, found = dict.fromkeys(FEEDS, True), dict[str, Finding]()
    for look in range(PATIENCE):
        if look:
            await asyncio.sleep(pause_s)
        before = {feed: topic.sums(feed) for feed in open_feeds}
        held = await store.sums()
        for feed in list(open_feeds):
            finding = await _judge(topic, store, feed, before[feed], held.get(feed, Sums()))
            # The last look that was judged stands, whatever moved after it.
            if finding.agrees is not None or feed not in found:
                found[feed] = finding
            if finding.agrees:
                del open_feeds[feed]
        if not open_feeds:
            break
    return list(found.values())


async def _judge(topic: Topic, store: Store, feed: str, before: dict[str, Sum], held: Sums) -> Finding:
    told = Sums(before)
    moved = Finding(store.name, feed, None, told.whole, held.whole)
    if topic.sums(feed) != before:
        return moved
    endings = told.apart(held)
    if not endings:
        return Finding(store.name, feed, True, told.whole, held.whole)
    theirs, ours = await store.terms(feed, endings), topic.terms(feed, endings)
    if topic.sums(feed) != before:
        return moved
    apart = sorted(stone for stone in theirs.keys() | ours.keys() if theirs.get(stone) != ours.get(stone))
    return Finding(store.name, feed, False, told.whole, held.whole, len(apart), tuple(apart[:MOST_NAMED]))


async def ask_for(link: Link, actor: str) -> Job:
    """Ask for a comparison.

    Raises:
        Invalid: one is open already.
    """
    return await jobs.submit(link, KIND, SUBJECT, {}, actor=actor, unit="stores")


def handler(
    database: Database, kafka: KafkaSettings, replicas: Mapping[str, str], key: str | None
) -> Handler:
    """What does a comparison: Postgres, and the replicas (name and base URL) where there is a key for them."""

    async def run(task: Task) -> dict[str, Any]:
        found: list[Finding] = []
        async with AsyncExitStack() as stack:
            stores = [in_postgres(database)]
            headers = {"X-API-Key": key or ""}
            for name, base in replicas.items() if key else ():
                http = httpx.AsyncClient(base_url=base, headers=headers, timeout=_ASK_S, trust_env=False)
                stores.append(in_api(name, await stack.enter_async_context(http)))
            topic = await stack.enter_async_context(Topic(kafka))
            for number, store in enumerate(stores):
                task.progress(number, total=len(stores))
                found += await compare(topic, store)
        await tell(database, task.job.actor, found)
        task.progress(len(stores))
        return {
            "agree": all(finding.agrees for finding in found),
            "findings": [finding.text() for finding in found],
        }

    return run


async def tell(database: Database, actor: str, found: list[Finding]) -> None:
    """Record what disagrees as events, and resolve those of what agrees again."""
    async with database.link() as link:
        for finding in found:
            if finding.agrees is False:
                await events.record(link, Kind.STORES_DISAGREE, finding.subject, finding.text(), actor=actor)
            elif finding.agrees:
                await events.resolve(link, Kind.STORES_DISAGREE, finding.subject)
