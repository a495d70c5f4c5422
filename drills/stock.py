"""Canonical records of a stock of any size: real ones of the simulated vendor's pages, and relatives of them.

Rendering, normalising and pricing 1.34 million items takes minutes; what reads them cares that each is another stone
with the variety of a real stock, so that beyond `DISTINCT` stones each is a relative of a real one: its own id, report,
weight and price.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import islice
from typing import Final

import msgspec
from confluent_kafka import Producer

from api.folding import fold
from api.index import Batch
from connectors.feeds.nivoda.form import NIVODA_FORM
from connectors.feeds.nivoda.mapping import MAPPER_VERSION, MAPPING
from connectors.log.records import of
from drills.vendor_pages import page_bodies
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.facts import FactHeaders, Kind, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.ruleset import BaseMargins, PublishedRuleSet, RuleSet
from schemas.seq import make_seq
from schemas.stone import Position, Stone, decode_stone, encode, position_key
from schemas.topics import CANONICAL
from streams.memory import Memory
from streams.normalise import Normaliser
from streams.outbox import Outbox
from streams.pricing.engine import PriceBook
from streams.worker import RawRecord, Worker

_SAMPLE: Final = 8_000
_AGES_S: Final = 30 * 86_400
_BEGIN_S: Final = 1_767_225_600

DISTINCT: Final = 40_000
"""Stones that go through the vendor's rendering, the mapping and the pricing."""


def canonical_stock(stones: int, seed: int, distinct: int = DISTINCT) -> Iterator[Stone]:
    """About `stones` stones; a few of the vendor's items cannot be understood."""
    chance = random.Random(seed)
    real = []
    for stone in real_stones(min(stones, distinct), seed):
        real.append(stone)
        yield stone
    for number in range(len(real), stones):
        yield _relative(real[number % len(real)], number, chance)


def real_stones(stones: int, seed: int) -> Iterator[Stone]:
    """Stones as `process` makes them of the vendor's pages."""
    normalisers = {
        info.name: Normaliser(MAPPING, MAPPER_VERSION, info, NIVODA_FORM) for info in FEEDS.values()
    }
    worker = Worker(Memory(), normalisers)
    rules = PublishedRuleSet(
        number=1, published_at=0, actor="bench", reason="bench", content=RuleSet(base=BaseMargins())
    )
    book = PriceBook(rules)
    for number, (feed, body) in enumerate(page_bodies(stones, seed)):
        headers = FactHeaders(
            kind=Kind.PAGE,
            feed=feed,
            epoch=1,
            seq=make_seq(1, number + 1),
            run="bench",
            partition=0,
            page=number,
        )
        raw = RawRecord(
            FEEDS[feed].slot,
            number,
            fact_key(feed, "bench", 0),
            body,
            [*dict(to_headers(headers)).items()],
            _BEGIN_S + number,
        )
        out = Outbox()
        worker.take(raw, book, 1_000 * _BEGIN_S + number, out)
        out.settle()
        yield from (decode_stone(version.body) for _, version in out.versions() if version.body is not None)


def _relative(stone: Stone, number: int, chance: random.Random) -> Stone:
    price = max(1, round(stone.price_cents * chance.uniform(0.8, 1.25)))
    assert stone.first_seen is not None
    return msgspec.structs.replace(
        stone,
        # A UUID like the vendor's, whatever the number: the index holds other ids apart.
        id=f"{stone.feed}:{chance.getrandbits(32):08x}-{chance.getrandbits(16):04x}-4000-8000-{number:012x}",
        carat=round(max(0.18, stone.carat * chance.uniform(0.97, 1.03)), 2),
        certificate_number=None if stone.certificate_number is None else str(10**9 + number),
        price_cents=price,
        first_seen=stone.first_seen - timedelta(seconds=7919 * number % _AGES_S),
        updated_at=stone.updated_at - timedelta(seconds=chance.randrange(_AGES_S)),
        cost_cents=max(1, round(stone.cost_cents * price / max(1, stone.price_cents))),
    )


def batches(stones: Iterable[Stone], size: int = 5_000) -> Iterator[Batch]:
    """The stones as an index takes them."""
    left = iter(stones)
    while some := list(islice(left, size)):
        folded = fold(of((stone.id.encode(), encode(stone)) for stone in some))
        assert not folded.unreadable
        yield folded.batch


def fill(kafka: KafkaSettings, stones: Iterable[Stone], topic: str = CANONICAL.name) -> list[Stone]:
    """Write stones to the canonical topic, and a position of each feed; a sample of at most a few thousand.

    Raises:
        Retriable: Kafka did not take all of it within a minute.
    """
    writer, sample, every = producer(kafka, linger_ms=50), list[Stone](), 1
    for number, stone in enumerate(stones):
        produce(writer, stone, topic)
        if number % every == 0:
            sample.append(stone)
            if len(sample) == _SAMPLE:
                sample, every = sample[::2], 2 * every
    for feed in FEEDS.values():
        position = Position(feed=feed.name, as_of=int(time.time() * 1000), run="bench", raw_offset=1, seq=1)
        writer.produce(topic, key=position_key(feed.name), value=encode(position), partition=feed.slot)
    left = writer.flush(60)
    if left:
        raise Retriable(f"{left} records were not delivered in a minute")
    return sample


def produce(writer: Producer, stone: Stone, topic: str = CANONICAL.name) -> None:
    """Write one stone, waiting while the producer's queue is full."""
    while True:
        try:
            writer.produce(
                topic, key=stone.id.encode(), value=encode(stone), partition=FEEDS[stone.feed].slot
            )
            writer.poll(0)
            return
        except BufferError:
            writer.poll(0.05)
