"""How fast background work may go: never faster than the slowest living reader of canonical follows.

A reader tells where it is by the offsets it commits: the sink's group, and each API replica's own. One that has not
moved for `LIVING_S` is dead or idle and holds up nobody. The others may be behind by what they manage in `BEHIND_S`.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread
from typing import Final

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from runtime.kafka import admin
from runtime.settings import KafkaSettings

log = structlog.stdlib.get_logger(__name__)

LIVING_S: Final = 5.0
BEHIND_S: Final = 0.5
FLOOR: Final = 2_000
"""Records that any reader may be behind: with fewer on their way its batches would be too small to be fast."""
_LOOK_EVERY_S: Final = 0.1
_LIST_EVERY_S: Final = 5.0
_WANTED_S: Final = 1.0
_RATE_OVER_S: Final = 0.5
"""A reader's pace is what it did in so long, or half of it: with more it would show our pace and not its own."""
_TIMEOUT_S: Final = 5.0

Offsets = Mapping[int, int]


class Readers:
    """Where readers are and how fast they go. Pure: whoever asks Kafka tells it.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, deque[tuple[float, Offsets]]] = {}
        self._rates: dict[str, deque[tuple[float, float]]] = {}

    def note(self, reader: str, offsets: Offsets) -> None:
        """A reader's committed offsets by partition, as they are now."""
        now_s = self._clock()
        seen = self._seen.setdefault(reader, deque())
        seen.append((now_s, dict(offsets)))
        while seen[0][0] < now_s - LIVING_S:
            seen.popleft()
        since_s, before = next(entry for entry in seen if entry[0] >= now_s - _RATE_OVER_S)
        rates = self._rates.setdefault(reader, deque())
        if now_s > since_s:
            rates.append((now_s, _moved(before, offsets) / max(now_s - since_s, _RATE_OVER_S / 2)))
        while rates and rates[0][0] < now_s - LIVING_S:
            rates.popleft()

    def may_write(self, ends: Offsets) -> bool:
        """Whether every living reader is close enough to these end offsets for more to be written."""
        return self.slowest(ends) is None

    def slowest(self, ends: Offsets) -> str | None:
        """The living reader that is furthest behind what it may be; none where all are near enough."""
        over = {
            reader: behind / allowed
            for reader, seen in self._seen.items()
            if seen and _moved(seen[0][1], seen[-1][1]) > 0
            for behind in (_moved(seen[-1][1], ends),)
            for allowed in (self._allowed(reader),)
            if behind > allowed
        }
        return max(over, key=lambda reader: over[reader], default=None)

    def _allowed(self, reader: str) -> float:
        # The best of the last seconds: a reader that follows us shows no more than we give it.
        best = max((rate for _, rate in self._rates.get(reader, ())), default=0.0)
        return max(FLOOR, BEHIND_S * best)


def _moved(before: Offsets, after: Offsets) -> int:
    """Records between two places, over the partitions that both name."""
    return sum(max(0, after[slot] - offset) for slot, offset in before.items() if slot in after)


class Pace:
    """Asks Kafka where the readers of a topic are, as long as somebody wants to write.

    Args:
        kafka: where Kafka is.
        topic: the topic that is read.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._readers = Readers()
        self._wanted_until_s = 0.0
        self._looks = 0
        self._lock = Lock()
        self._stop = Event()
        self._thread = Thread(target=self._run, name="pace", daemon=True)

    def start(self) -> None:
        """Begin to look; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def may_write(self, ends: Offsets) -> bool:
        """Whether more may be written now; asking is what keeps the looking up."""
        with self._lock:
            fresh = time.monotonic() < self._wanted_until_s
            self._wanted_until_s = time.monotonic() + _WANTED_S
            # After a pause nothing is known yet: one look must come first.
            self._looks = self._looks if fresh else 0
            return self._looks > 0 and self._readers.may_write(ends)

    def _run(self) -> None:
        client = admin(self._kafka)
        groups: list[str] = []
        listed_s = 0.0
        while not self._stop.wait(_LOOK_EVERY_S):
            if time.monotonic() > self._wanted_until_s:
                continue
            try:
                if time.monotonic() > listed_s + _LIST_EVERY_S:
                    groups, listed_s = self._list(client), time.monotonic()
                self._look(client, groups)
            except (KafkaException, TimeoutError) as error:
                log.warning("pace.kafka_away", error=str(error))

    def _list(self, client: AdminClient) -> list[str]:
        """Groups that have committed offsets of the topic."""
        answer = client.list_consumer_groups(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S)
        return [group.group_id for group in answer.valid if self._offsets(client, group.group_id)]

    def _look(self, client: AdminClient, groups: list[str]) -> None:
        found = {group: self._offsets(client, group) for group in groups}
        with self._lock:
            for group, offsets in found.items():
                self._readers.note(group, offsets)
            self._looks += 1

    def _offsets(self, client: AdminClient, group: str) -> dict[int, int]:
        asked = client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT_S
        )
        return {
            place.partition: place.offset
            for place in asked[group].result(_TIMEOUT_S).topic_partitions
            if place.topic == self._topic and place.offset >= 0
        }
