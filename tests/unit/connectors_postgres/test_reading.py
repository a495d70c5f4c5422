"""How long the sink lets a batch fill, and where it reads on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from connectors.log.records import Batch, batch_of
from connectors.postgres import sink
from connectors.postgres.sink import Sink


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


class Cursor:
    """A log to which one record comes in each millisecond; whoever waits for many waits for as long as he can."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def read_on(self, *, most_bytes: int, least_bytes: int = 1, within_s: float) -> list[Batch]:
        came = 1 if least_bytes == 1 else round(1_000 * within_s)
        self._clock.now_s += came / 1_000
        return [batch_of([(b"key", b"value")] * came)] if came else []


class Writer:
    def __init__(self, clock: Clock, waited_for_until_s: float) -> None:
        self._clock = clock
        self._until_s = waited_for_until_s

    @property
    def waited_for(self) -> bool:
        return self._clock() < self._until_s


@pytest.mark.parametrize(
    ("fill_s", "waited_for_s", "records"),
    [(0.05, 0, 51), (0.1, 0, 101), (0.1, 0.35, 361), (0.1, 60, 1_001), (9.0, 0, 9_001)],
)
def test_a_batch_is_filled_until_the_writer_can_have_it(
    monkeypatch: pytest.MonkeyPatch, fill_s: float, waited_for_s: float, records: int
) -> None:
    clock = Clock()
    monkeypatch.setattr(sink, "monotonic", clock)
    made: Any = Sink.__new__(Sink)
    made._fill_s = fill_s
    some = asyncio.run(made._gather(Cursor(clock), Writer(clock, clock() + waited_for_s)))
    assert sum(batch.size for batch in some) == records


class _Runner:
    run = staticmethod(asyncio.run)


class _Progress:
    def heard_end(self, slot: int, end: int) -> None:
        pass


@pytest.mark.parametrize(
    ("behind", "begun", "written"), [({0: 9, 1: 0}, [[0, 1]], []), ({0: 9, 1: 7}, [], [{0: 9}])]
)
def test_partitions_begin_anew_where_kafka_has_lost_what_was_read(
    monkeypatch: pytest.MonkeyPatch,
    behind: dict[int, int],
    begun: list[list[int]],
    written: list[dict[int, int]],
) -> None:
    told, put = list[list[int]](), list[dict[int, int]]()

    class Moved:
        ends: Mapping[int, int] = {0: 9}
        positions = behind

        def __init__(self, *_: object) -> None:
            pass

        async def read_on(self, **_: object) -> list[Batch]:
            return []

    class Taking:
        waited_for = False

        def drain(self) -> None:
            pass

        def put(self, batch: Any) -> None:
            put.append(batch.next_offsets)

    monkeypatch.setattr(sink, "Cursor", Moved)
    made: Any = Sink.__new__(Sink)
    made.__dict__ |= {
        "_positions": {0: 5, 1: 7}, "_runner": _Runner(), "_progress": _Progress(), "_topic_id": UUID(int=7),
        "_begin": told.append,
    }  # fmt: skip
    made._read_once(None, Taking())
    assert (told, put) == (begun, written)
