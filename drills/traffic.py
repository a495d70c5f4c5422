"""A small stock that is swept again and again, with prices moving in between.

What is drilled is what comes after ingest; the vendor's budget would only make the drill slow. A sweep writes every
page once, in order, as a run of its own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from drills.raw_writer import RawWriter
from drills.vendor_pages import page_bodies
from runtime.settings import KafkaSettings
from schemas.feeds import STANDARD


class Traffic:
    """Writes sweeps over a stock.

    Args:
        kafka: where the raw log is.
        stones: how many stones the stock has, over both feeds.
        seed: which stock, and which prices move.
        moved: share of the stones whose price moves between two sweeps.
    """

    def __init__(self, kafka: KafkaSettings, stones: int, seed: int, moved: float = 0.2) -> None:
        self.log = RawWriter(kafka)
        self._moved = moved
        self._random = random.Random(seed)
        self._pages: dict[str, list[Any]] = {name: [] for name in STANDARD}
        self._sweeps = 0
        for name, body in page_bodies(stones, seed):
            self._pages[name].append(json.loads(body))

    def sweep(self) -> Iterator[None]:
        """One run over each feed, yielding after every page; the caller sets the pace."""
        run = f"sweep-{self._sweeps}"
        for page in range(max(map(len, self._pages.values()))):
            for feed, pages in self._pages.items():
                if page < len(pages):
                    self._write(feed, run, page)
                    yield
        for feed, pages in self._pages.items():
            self.log.complete(feed, run, len(pages), sum(len(_items(page)) for page in pages))
        self._sweeps += 1
        self.log.flush()

    def _write(self, feed: str, run: str, number: int) -> None:
        page = self._pages[feed][number]
        if self._sweeps:
            self._move_prices(page)
        self.log.page(feed, run, number, json.dumps(page).encode())

    def _move_prices(self, page: Any) -> None:
        for item in _items(page):
            if item and item["price"] and self._random.random() < self._moved:
                item["price"] = max(1, int(item["price"] * self._random.uniform(0.9, 1.1)))


def _items(page: Any) -> list[Any]:
    items: list[Any] = page["data"]["diamonds_by_query"]["items"]
    return items
