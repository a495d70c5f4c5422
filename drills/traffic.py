"""Facts for the raw log without a vendor in between: real pages of the simulator, written as ingest writes them.

What is drilled here is what comes after ingest; the vendor's budget would only make the drill slow. A sweep writes
every page of a small stock once, in order, as a run of its own; between sweeps a share of the prices has moved.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Producer

from drills.vendor_pages import page_bodies
from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.facts import Complete, FactHeaders, Kind, Lease, RunKind, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.seq import make_seq
from schemas.stone import encode
from schemas.topics import RAW

EPOCH: Final = 1


@dataclass
class Traffic:
    """Writes sweeps over a stock.

    Attributes:
        stones: how many stones the stock has, over both feeds.
        moved: share of the stones whose price moves between two sweeps.
    """

    kafka: KafkaSettings
    stones: int
    seed: int
    moved: float = 0.2
    written: int = 0
    _counter: int = 0
    _sweep: int = 0
    _random: random.Random = field(init=False)
    _pages: dict[str, list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._pages = {name: [] for name in FEEDS}
        for name, body in page_bodies(self.stones, self.seed):
            self._pages[name].append(json.loads(body))
        self._producer: Producer = producer(self.kafka, compression_type="zstd")
        for feed in FEEDS:
            lease = Lease(epoch=EPOCH, holder="drill", granted_at=int(time.time() * 1000))
            self._write(feed, Kind.LEASE, encode(lease))

    def sweep(self) -> Iterator[None]:
        """One run over each feed, yielding after every page; the caller sets the pace."""
        run = f"sweep-{self._sweep}"
        self._sweep += 1
        for page in range(max(map(len, self._pages.values()))):
            for feed, pages in self._pages.items():
                if page < len(pages):
                    self._move_prices(pages[page])
                    self._write(feed, Kind.PAGE, json.dumps(pages[page]).encode(), run, page)
                    yield
        for feed, pages in self._pages.items():
            self._complete(feed, run, len(pages))
        self.flush()

    def flush(self) -> None:
        """Wait until everything written has been delivered."""
        left = self._producer.flush(30)
        if left:
            raise TimeoutError(f"{left} facts were not delivered in 30 s")

    def _move_prices(self, page: Any) -> None:
        if self._sweep == 1:
            return
        for item in page["data"]["diamonds_by_query"]["items"]:
            if item and item["price"] and self._random.random() < self.moved:
                item["price"] = max(1, int(item["price"] * self._random.uniform(0.9, 1.1)))

    def _complete(self, feed: str, run: str, pages: int) -> None:
        done = Complete(
            run=run, feed=feed, kind=RunKind.FULL, watermark=int(time.time() * 1000), pages=pages, rows=0
        )
        self._write(feed, Kind.COMPLETE, encode(done), run)

    def _write(
        self, feed: str, kind: Kind, value: bytes, run: str | None = None, page: int | None = None
    ) -> None:
        self._counter += 1
        partition = 0 if page is not None else None
        headers = FactHeaders(
            kind=kind,
            feed=feed,
            epoch=EPOCH,
            seq=make_seq(EPOCH, self._counter),
            run=run,
            partition=partition,
            page=page,
        )
        self._producer.produce(
            RAW.name,
            key=fact_key(feed, run, partition),
            value=value,
            headers=to_headers(headers),  # type: ignore[arg-type]
            partition=FEEDS[feed].slot,
        )
        self._producer.poll(0)
        self.written += 1
