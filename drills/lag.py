"""A sink that stands still for a minute: seen, told once, over a fall-back, and forecast back.

    make drill-lag SEED=7

While stones flow, and while none do, our lag of every partition must be Kafka's own. Then the sink is stopped
(SIGSTOP) for 60 s under flow and woken: `monitor` must say WARN, then STALLED, record one event, deliver both of its
phases to two receivers although the first channel of one is broken, see the recovery, and at half way to it forecast
the rest within 20 %.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Final

from adamas.ports import free_ports
from adamas.supervisor import in_background
from drills.kafka_tool import describe
from drills.raw_writer import RawWriter
from drills.receiver import receiving
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.vendor_pages import page_bodies
from monitor.lag import Look, Place
from monitor.positions import Positions
from runtime.settings import KafkaSettings

STONES: Final = 5_000
STONES_PER_S: Final = 5_000
BACKLOG_PER_S: Final = 20_000
"""While the sink stands: enough that its way back takes some twenty seconds, and can be forecast at half way."""
COMPARISONS: Final = 5
STOP_S: Final = 60.0
SINK: Final = "adamas-sink"
Offsets = tuple[int | None, int | None]
"""Committed and end."""
GROUPS: Final = ("adamas-process", SINK)


class Flow:
    """Writes the same pages again and again, each time as newer facts; `per_s` stones a second, changed at will."""

    def __init__(self, kafka: KafkaSettings, seed: int) -> None:
        self._log = RawWriter(kafka)
        self._pages = list(page_bodies(STONES, seed, bad_share=0))
        self._stop = Event()
        self._running: Future[None] | None = None
        self.per_s = float(STONES_PER_S)
        self.written = 0

    def __enter__(self) -> Flow:
        self._running = in_background(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._running is not None:
            self._running.result()
        self._log.flush()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            for number, (feed, body) in enumerate(self._pages):
                self._log.page(feed, "flow", number, body)
                self.written += 50
                due += 50 / self.per_s
                pause_s = due - time.monotonic()
                if pause_s > 0.01 and self._stop.wait(pause_s):
                    return


@dataclass
class Receiver:
    """A webhook that keeps what it hears, or refuses it."""

    status: int
    heard: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@contextmanager
def receiver(status: int) -> Iterator[Receiver]:
    """A receiver on a free port."""
    made = Receiver(status)

    def take(body: bytes) -> int:
        made.heard.append(json.loads(body))
        return made.status

    with receiving(take) as url:
        made.url = f"{url}/"
        yield made


def differences(stage: Stage, positions: Positions, *, flowing: bool) -> int:
    """Partitions whose figures are not Kafka's. Under flow Kafka's must lie between two looks of ours around it."""
    wrong = 0
    for group in GROUPS:
        before = positions.look([group])
        told = describe(stage.kafka.bootstrap, group)
        after = positions.look([group])
        mine = {(place.topic, place.partition) for place in before.groups[group].partitions}
        wrong += len(mine ^ set(told))
        for (topic, slot), row in told.items():
            first, last = (_figures(look, group, Place(topic, slot)) for look in (before, after))
            if first is None or last is None:
                continue
            same = _between(first, (row.committed, row.end), last)
            exact = flowing or (row.committed, row.end, row.lag) == (
                *first,
                _lag(before, group, Place(topic, slot)),
            )
            wrong += not (same and exact)
    return wrong


def _between(low: Offsets, theirs: Offsets, high: Offsets) -> bool:
    """Whether each of Kafka's offsets lies between ours before and after; one that is not there was not there for us."""
    return all(
        (b is None and (a is None or c is None))
        or (b is not None and (a or 0) <= b and c is not None and b <= c)
        for a, b, c in zip(low, theirs, high, strict=True)
    )


def _figures(look: Look, group: str, place: Place) -> Offsets | None:
    part = look.groups[group].partitions.get(place)
    return None if part is None else (part.committed, part.end)


def _lag(look: Look, group: str, place: Place) -> int | None:
    return look.groups[group].partitions[place].lag


@dataclass(frozen=True, slots=True)
class Seen:
    """The sink as the board shows it at one look."""

    at_s: float
    status: str
    lag: int
    catches_up_s: float | None


def look_at_board(stage: Stage) -> Seen | None:
    """None while the board does not know the sink."""
    board = stage.get_json("monitor", "/board.json")
    sink = next((group for group in board["groups"] if group["name"] == SINK), None)
    if sink is None:
        return None
    return Seen(board["looked_at_ms"] / 1000, sink["status"], sink["lag"], sink["catches_up_s"])


def watch(stage: Stage, until: Any, limit_s: float) -> list[Seen]:
    """Every new look until `until(looks)`; raises `TimeoutError` after the limit."""
    looks: list[Seen] = []
    deadline = time.monotonic() + limit_s
    while not (looks and until(looks)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not seen within {limit_s:g} s; the last look was {looks[-1:]}")
        seen = look_at_board(stage)
        if seen and (not looks or seen.at_s > looks[-1].at_s):
            looks.append(seen)
        time.sleep(0.1)
    return looks


def forecast_error(looks: list[Seen]) -> float:
    """Percent by which the forecast at half way missed the time that was really left."""
    peak = max(range(len(looks)), key=lambda number: looks[number].lag)
    way_back = looks[peak:]
    half = next(seen for seen in way_back if seen.lag <= way_back[0].lag / 2 and seen.catches_up_s)
    # The moment it had caught up lies between two looks; the last stretch before it is straight.
    last = next(number for number, seen in enumerate(way_back) if seen.lag < way_back[0].lag * 0.01)
    before, after = way_back[last - 1], way_back[last]
    pace = (before.lag - after.lag) / (after.at_s - before.at_s)
    arrived_s = min(after.at_s, before.at_s + before.lag / pace)
    left_s = arrived_s - half.at_s
    print(f"half way: {half.lag} records left, forecast {half.catches_up_s:.1f} s, really {left_s:.1f} s")
    return 100 * abs((half.catches_up_s or 0.0) - left_s) / left_s


def drill(seed: int) -> list[Figure]:
    """Run it; the figures."""
    figures = []
    with (
        Stage() as stage,
        receiver(500) as broken,
        receiver(200) as spare,
        receiver(200) as chat,
    ):
        plan = stage.folder / "notify.yaml"
        hooks = {"broken": broken.url, "spare": spare.url, "chat": chat.url}
        plan.write_text(
            json.dumps(
                {
                    "channels": {name: {"type": "webhook", "url": url} for name, url in hooks.items()},
                    "severities": {"critical": [["broken", "spare"], ["chat"]]},
                }
            )
        )
        for name in ("sink", "process"):
            stage.start(name)
            stage.wait_ready(name)
        members = ",".join(f"{name}=http://127.0.0.1:{stage.ports[name]}" for name in ("sink", "process"))
        (port,) = free_ports(1)
        stage.ports["monitor"] = port
        own = {"ADAMAS_MONITOR_PORT": str(port), "ADAMAS_MONITOR_MEMBERS": members}
        stage.start("monitor", {**own, "ADAMAS_NOTIFY_FILE": str(plan)})
        stage.wait_ready("monitor")
        positions = Positions(stage.kafka)
        with Flow(stage.kafka, seed) as flow:
            stage.wait(
                lambda: stage.lag(SINK) < STONES_PER_S and flow.written > 5 * STONES_PER_S, 60, "the flow"
            )
            began, written = time.monotonic(), flow.written
            wrong = sum(differences(stage, positions, flowing=True) for _ in range(COMPARISONS))
            rate = (flow.written - written) / (time.monotonic() - began)
            print(f"compared {COMPARISONS} times under flow: {wrong} differences")

            flow.per_s = BACKLOG_PER_S
            stage.children["sink"].process.send_signal(signal.SIGSTOP)
            stopped_s = time.time()
            looks = watch(stage, lambda seen: seen[-1].at_s - stopped_s > STOP_S, STOP_S + 30)
            stage.children["sink"].process.send_signal(signal.SIGCONT)
            woken_s = time.time()
            flow.per_s = STONES_PER_S / 5
            peak = looks[-1].lag
            back = watch(stage, lambda seen: seen[-1].status == "OK" and seen[-1].lag < peak * 0.01, 180)
            error = forecast_error([*looks, *back])
        stage.wait(lambda: len(chat.heard) >= 2 and len(spare.heard) >= 2, 60, "both phases to be told")
        stage.wait(lambda: stage.lag(SINK) == stage.lag("adamas-process") == 0, 60, "quiet")
        # The last commits are on their way.
        time.sleep(2)
        wrong += sum(differences(stage, positions, flowing=False) for _ in range(2))
        positions.close()
        events = asyncio.run(stage.fetch("SELECT kind, subject, resolved_at FROM events"))
        for event in events:
            print(f"event: {event['kind']} {event['subject']}, {'over' if event['resolved_at'] else 'open'}")
        told = [(hook["phase"], hook["subject"]) for hook in chat.heard]
        warned = [seen.at_s for seen in looks if seen.status == "WARN"]
        stalled = [seen.at_s for seen in looks if seen.status == "STALLED"]
        recovered = next(seen.at_s for seen in back if seen.status == "OK")
    never = float("inf")
    figures += [
        Figure("differences", wrong, "partitions", "== 0"),
        Figure("compared_under_flow_per_s", round(rate), "stones/s", f">= {0.9 * STONES_PER_S:g}"),
        Figure("warn_s", round(min(warned, default=never) - stopped_s, 1), "s", "<= 30"),
        Figure("stalled_s", round(min(stalled, default=never) - stopped_s, 1), "s", "<= 60"),
        Figure("alerts", len(events), "events", "== 1"),
        Figure("open_alerts", sum(not event["resolved_at"] for event in events), "events", "== 0"),
        Figure("told_phases", len(told), "notices", "== 2"),
        Figure("told_over_the_fall_back", len(spare.heard), "notices", "== 2"),
        Figure("refused_by_the_broken_channel", len(broken.heard), "attempts", ">= 2"),
        Figure("recovery_noticed_s", round(recovered - woken_s, 1), "s", "<= 60"),
        Figure("backlog", peak, "records"),
        Figure("forecast_error_percent", round(error, 1), "%", "<= 20"),
    ]
    return figures


def main() -> None:
    """Run the drill and end with its result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    print_environment("confluent-kafka", "faust-streaming")
    finish("drill-lag", drill(arguments.seed))


if __name__ == "__main__":
    main()
