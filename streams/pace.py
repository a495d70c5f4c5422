"""How fast background work may go: never faster than the slowest living reader of canonical follows.

A reader tells where it is by the offsets it commits: the sink's group, and each API replica's own. One that has not
moved for `LIVING_S` is dead or idle and holds up nobody. For each of the others, what it had not reached when it last
told must not have been written longer than `BEHIND_S` before. That says nothing while we begin, when little was
written yet: so nobody is given much more at once than it has shown to manage.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from threading import Event, Lock, Thread
from typing import Any, Final

import structlog
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from runtime.kafka import admin
from runtime.settings import KafkaSettings
from streams.figures import BACKGROUND_HELD

log = structlog.stdlib.get_logger(__name__)

LIVING_S: Final = 5.0
BEHIND_S: Final = 0.5
FLOOR: Final = 5_000
"""Records that any reader may be behind: a batch of the sink; with fewer on their way it could not be fast."""
_MORE: Final = 2
"""So many times what it managed in `_RATE_OVER_S` a reader may be behind at most."""
_LOOK_EVERY_S: Final = 0.1
_HELD_LOOK_EVERY_S: Final = 0.03
"""While somebody holds up the writing. A look costs Kafka and us a millisecond for each reader."""
_LIST_EVERY_S: Final = 5.0
_WANTED_S: Final = 1.0
_RATE_OVER_S: Final = 0.5
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
        self._moved_s: dict[str, float] = {}
        self._strides: dict[str, deque[tuple[float, int]]] = {}
        self._ends: deque[tuple[float, Offsets]] = deque()

    def note(self, reader: str, offsets: Offsets) -> None:
        """A reader's committed offsets by partition, as they are now."""
        now_s = self._clock()
        seen = self._seen.setdefault(reader, deque())
        if seen and _moved(seen[-1][1], offsets):
            self._moved_s[reader] = now_s
        seen.append((now_s, dict(offsets)))
        _forget_before(seen, now_s - _RATE_OVER_S)
        strides = self._strides.setdefault(reader, deque())
        strides.append((now_s, _moved(seen[0][1], offsets)))
        _forget_before(strides, now_s - LIVING_S)

    def slowest(self, ends: Offsets) -> str | None:
        """The living reader that is furthest behind what it may be of what was written, up to these offsets.

        None where all are near enough for more to be written.
        """
        now_s = self._clock()
        if not self._ends or self._ends[-1][1] != ends:
            self._ends.append((now_s, dict(ends)))
        _forget_before(self._ends, now_s - LIVING_S)
        over = {
            reader: share
            for reader, moved_s in self._moved_s.items()
            if now_s - moved_s <= LIVING_S and (share := self._share(reader, ends)) > 1
        }
        return max(over, key=lambda reader: over[reader], default=None)

    def worth_following(self, before: Mapping[str, Offsets], now: Mapping[str, Offsets]) -> list[str]:
        """The readers that have moved since they were listed before, or have nothing to read."""
        ends = self._ends[-1][1] if self._ends else {}
        return [
            reader
            for reader, offsets in now.items()
            if before.get(reader) != offsets or not _moved(offsets, ends)
        ]

    def _share(self, reader: str, ends: Offsets) -> float:
        """How far behind a reader is, as a share of what it may be."""
        told_s, offsets = self._seen[reader][-1]
        behind = _moved(offsets, ends)
        if behind <= FLOOR:
            return 0.0
        stride = max(moved for _, moved in self._strides[reader])
        written_s = next(at_s for at_s, there in self._ends if _moved(offsets, there) > 0)
        return max(behind / max(FLOOR, _MORE * stride), (told_s - written_s) / BEHIND_S)


def _forget_before(entries: deque[tuple[float, Any]], since_s: float) -> None:
    while len(entries) > 1 and entries[0][0] < since_s:
        entries.popleft()


def _moved(before: Offsets, after: Offsets) -> int:
    """Records between two places, over the partitions that both name."""
    return sum(max(0, after[slot] - offset) for slot, offset in before.items() if slot in after)


class Pace:
    """Asks Kafka where the readers of a topic are, as long as somebody wants to write.

    Args:
        kafka: where Kafka is.
        topic: the topic that is read.
        clock: seconds, monotonic.
    """

    def __init__(
        self, kafka: KafkaSettings, topic: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kafka = kafka
        self._topic = topic
        self._clock = clock
        self._readers = Readers(clock=clock)
        self._asked_s = -_WANTED_S
        self._held_by: str | None = None
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
        """Whether every living reader is close enough to what was written, up to these offsets, for more to be written.

        Asking is what keeps the looking up.
        """
        with self._lock:
            before_s, self._asked_s = self._asked_s, self._clock()
            if self._asked_s - before_s >= _WANTED_S:
                # After a pause nothing is known yet: one look must come first.
                self._looks = 0
            elif self._held_by is not None:
                BACKGROUND_HELD.labels(self._held_by).inc(self._asked_s - before_s)
            self._held_by = self._readers.slowest(ends)
            return self._looks > 0 and self._held_by is None

    def _run(self) -> None:
        client = admin(self._kafka)
        listed: dict[str, Offsets] = {}
        followed: list[str] = []
        looked_s = listed_s = -_LIST_EVERY_S
        while not self._stop.wait(_HELD_LOOK_EVERY_S):
            now_s = self._clock()
            due_s = looked_s + (_LOOK_EVERY_S if self._held_by is None else _HELD_LOOK_EVERY_S)
            if now_s - self._asked_s >= _WANTED_S or now_s < due_s:
                continue
            looked_s = now_s
            try:
                if now_s < listed_s + _LIST_EVERY_S:
                    self._note(self._offsets(client, followed))
                    continue
                before, listed = listed, self._offsets(client, self._groups(client))
                listed_s = now_s
                self._note(listed)
                with self._lock:
                    followed = self._readers.worth_following(before, listed)
            except (KafkaException, TimeoutError) as error:
                log.warning("pace.kafka_away", error=str(error))

    def _note(self, found: Mapping[str, Offsets]) -> None:
        with self._lock:
            for group, offsets in found.items():
                self._readers.note(group, offsets)
            self._looks += 1

    @staticmethod
    def _groups(client: AdminClient) -> list[str]:
        answer = client.list_consumer_groups(request_timeout=_TIMEOUT_S).result(_TIMEOUT_S)
        return [group.group_id for group in answer.valid]

    def _offsets(self, client: AdminClient, groups: Iterable[str]) -> dict[str, Offsets]:
        """Of these groups those that have committed offsets of the topic, and the offsets; all are asked at once."""
        asked = [
            client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=_TIMEOUT_S
            )
            for group in groups
        ]
        answers = [(group, answer.result(_TIMEOUT_S)) for one in asked for group, answer in one.items()]
        told = {
            group: {
                place.partition: place.offset
                for place in answer.topic_partitions
                if place.topic == self._topic and place.offset >= 0
            }
            for group, answer in answers
        }
        return {group: offsets for group, offsets in told.items() if offsets}
