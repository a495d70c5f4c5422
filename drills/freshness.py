"""How long a change at the vendor takes until a search finds it, watched on some stones while everything runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread
from typing import Any, Final, Self, cast

import httpx
import msgspec
from confluent_kafka import Message

from drills.replies import Item, Reply
from drills.stage import Stage
from drills.vendor import DrillVendor
from runtime.tail import Tail
from schemas.facts import FactHeaders, Kind
from schemas.headers import Headers, from_headers
from schemas.topics import RAW

LOOK_S: Final = 1.5
"""How often the vendor's truth about the watched stones is read."""
ASK_S: Final = 0.05
"""How often a change that is in the raw log is asked for; others once a second."""


@dataclass(slots=True)
class Change:
    """A price that moved or a stone that left, waiting to be seen."""

    cost_cents: int
    available: bool
    changed_at: float
    fetched_at: float | None = None
    next_ask: float = 0.0


@dataclass(slots=True)
class Delays:
    """What was measured, in seconds.

    Attributes:
        fresh: from the vendor's change until it was searchable.
        ours: from the page in the raw log until it was searchable.
    """

    fresh: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)


class Watch:
    """Watches a run of the vendor's stones; use it as a context. Its clock is the vendor's plus `ahead_s`.

    Args:
        feed: whose stones.
        stones: how many of them, in the vendor's order.
        key: of the API.
        ahead_s: how far our clock is ahead of the vendor's.
    """

    def __init__(
        self, stage: Stage, vendor: DrillVendor, feed: str, stones: int, key: str, ahead_s: float
    ) -> None:
        self.delays = Delays()
        self._vendor = vendor
        self._feed = feed
        self._stones = stones
        self._ahead_s = ahead_s
        base = f"http://127.0.0.1:{stage.ports['api']}"
        self._http = httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=10, trust_env=False)
        self._known: dict[str, tuple[int, bool]] = {}
        self._waiting: dict[str, Change] = {}
        self._stop = Event()
        self._tail = Tail(stage.kafka, RAW.name, self._fetched)
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._tail.start()
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._tail.stop()
        self._http.close()

    @property
    def waiting(self) -> int:
        """Changes not seen yet."""
        return len(self._waiting)

    def _run(self) -> None:
        try:
            next_look = 0.0
            while not self._stop.wait(ASK_S):
                if time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + LOOK_S
                self._ask_all()
        except Exception as error:  # noqa: BLE001 (told by whoever waits)
            self.failure = error

    def _look(self) -> None:
        for stone in self._vendor.some(self._feed, self._stones):
            if stone["fault"] is not None:
                continue
            now = (stone["cost_cents"], stone["available"])
            before = self._known.get(stone["id"])
            self._known[stone["id"]] = now
            if before is not None and before != now:
                changed_at = _epoch_s(stone["updated_at"]) + self._ahead_s
                # A newer change takes the older one's place: what is seen is the newer.
                self._waiting[stone["id"]] = Change(*now, changed_at)

    def _fetched(self, messages: list[Message]) -> None:
        for message in messages:
            headers = from_headers(cast(Headers, message.headers()), FactHeaders)
            if headers.kind is not Kind.PAGE or headers.feed != self._feed or not self._waiting:
                continue
            reply = msgspec.json.decode(message.value() or b"", type=Reply)
            for item in reply.data.diamonds_by_query.items:
                if item is not None:
                    self._note_fetched(item, message.timestamp()[1] / 1000)

    def _note_fetched(self, item: Item, at_s: float) -> None:
        change = self._waiting.get(item.diamond.id) if item.diamond and item.diamond.id else None
        if change is None or change.fetched_at is not None:
            return
        if item.price == change.cost_cents or not change.available:
            change.fetched_at = at_s

    def _ask_all(self) -> None:
        now = time.monotonic()
        for stone, change in list(self._waiting.items()):
            if change.fetched_at is None and now < change.next_ask:
                continue
            change.next_ask = now + 1.0
            if not self._shows(stone, change):
                continue
            seen_at = time.time()
            self.delays.fresh.append(seen_at - change.changed_at)
            if change.fetched_at is not None:
                self.delays.ours.append(seen_at - change.fetched_at)
            if self._waiting.get(stone) is change:
                del self._waiting[stone]

    def _shows(self, stone: str, change: Change) -> bool:
        reply = self._http.get(f"/v1/diamonds/{self._feed}:{stone}")
        if reply.status_code == httpx.codes.NOT_FOUND:
            return not change.available
        item: dict[str, Any] = reply.raise_for_status().json()
        if not change.available:
            return bool(item["availability"] != "available")
        return bool(item["cost_cents"] == change.cost_cents and item["availability"] == "available")


def _epoch_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
