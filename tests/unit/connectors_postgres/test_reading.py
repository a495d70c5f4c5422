"""How long the sink lets a batch fill, and that what was written is committed meanwhile."""

from __future__ import annotations

from threading import Lock
from typing import Any

import pytest

from connectors.postgres import sink
from connectors.postgres.sink import Sink


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


class Reader:
    """A topic on which one record comes in each millisecond."""

    def __init__(self, clock: Clock) -> None:
        self.commits: list[float] = []
        self._clock = clock

    def consume(self, count: int, timeout_s: float) -> list[str]:
        came = min(count, round(1_000 * timeout_s))
        self._clock.now_s += came / 1_000
        return ["record"] * came

    def commit(self, *, offsets: Any, asynchronous: bool) -> None:
        assert asynchronous
        self.commits.append(self._clock.now_s)


class Writer:
    def __init__(self, clock: Clock, waited_for_until_s: float) -> None:
        self._clock = clock
        self._until_s = waited_for_until_s

    @property
    def waited_for(self) -> bool:
        return self._clock() < self._until_s


def reading(monkeypatch: pytest.MonkeyPatch, clock: Clock, *, fill_s: float) -> tuple[Sink, Reader]:
    monkeypatch.setattr(sink, "monotonic", clock)
    made, reader = Sink.__new__(Sink), Reader(clock)
    made.__dict__ |= {
        "_reader": reader, "_fill_s": fill_s, "_uncommitted": {}, "_lock": Lock(), "_topic": "canonical",
    }  # fmt: skip
    return made, reader


@pytest.mark.parametrize(
    ("fill_s", "waited_for_s", "records"),
    [(0.05, 0, 61), (0.1, 0, 101), (0.1, 0.35, 361), (0.1, 60, 1_001)],
)
def test_a_batch_is_filled_until_the_writer_can_have_it(
    monkeypatch: pytest.MonkeyPatch, fill_s: float, waited_for_s: float, records: int
) -> None:
    clock = Clock()
    made, _ = reading(monkeypatch, clock, fill_s=fill_s)
    batch: list[Any] = ["record"]
    made._fill(batch, Writer(clock, 50.0 + waited_for_s))  # type: ignore[arg-type]
    assert len(batch) == records


def test_what_was_written_is_committed_while_the_next_batch_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    made, reader = reading(monkeypatch, clock, fill_s=0.1)
    made._note_written({0: 7})
    made._fill(["record"], Writer(clock, 51.0))  # type: ignore[list-item,arg-type]
    assert reader.commits == [pytest.approx(50.02)]
