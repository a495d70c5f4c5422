"""`kill -9` of workers at random moments: nothing lost, nothing doubled, the other takes over.

    make drill-process-kill SEED=7

Two workers share the feeds; one of them, drawn by the seed, is killed 20 times while facts flow, and comes back. Then
the only one is killed 5 times. At the end stones, rows, price history and dead letters must equal those of the same
facts through one worker that nobody disturbed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event
from typing import Final

from adamas.supervisor import in_background
from drills.outcome import Outcome, outcome
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import undisturbed, wait_idle

STONES: Final = 4_000
PAGES_PER_S: Final = 40
KILLS_OF_TWO: Final = 20
KILLS_OF_ONE: Final = 5
TAKEOVER_GOAL_S: Final = 45
LOOK_S: Final = 1.0
ITEMS: Final = "adamas_process_items_total"


class Flow:
    """Traffic on a thread, at a steady pace, until told to stop; it ends with a whole sweep."""

    def __init__(self, traffic: Traffic, pages_per_s: float) -> None:
        self._traffic = traffic
        self._pause_s = 1 / pages_per_s
        self._hurry = Event()
        self._stop = Event()
        self._running: Future[None] | None = None

    def __enter__(self) -> Flow:
        self._running = in_background(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._running is not None:
            self._running.result()

    def _run(self) -> None:
        while not self._stop.is_set():
            for _ in self._traffic.sweep():
                if not (self._stop.is_set() or self._hurry.is_set()):
                    time.sleep(self._pause_s)

    @contextmanager
    def hurrying(self) -> Iterator[None]:
        """As fast as it goes, so that the workers always have a batch in hand."""
        self._hurry.set()
        yield
        self._hurry.clear()


def kill_one_of_two(stage: Stage, names: list[str], draw: random.Random) -> float:
    """Kill a worker, wait until the other has caught up with what was in the log, bring the first one back."""
    # A worker that owns nothing would be missed by nobody.
    victim = draw.choice(at_work(stage, names))
    time.sleep(draw.uniform(0.2, 3.0))
    stage.children[victim].process.send_signal(signal.SIGKILL)
    took_s = caught_up_after_s(stage)
    print(f"killed {victim}: caught up after {took_s:.1f} s")
    stage.children[victim].process.wait()
    stage.start(victim)
    stage.wait_ready(victim)
    return took_s


def at_work(stage: Stage, names: list[str]) -> list[str]:
    """Those of the workers that own a feed: facts flow in each, and they take some."""
    before = {name: stage.metric(name, ITEMS) for name in names}
    moved: list[str] = []

    def some_moved() -> bool:
        time.sleep(LOOK_S)
        moved[:] = [name for name in names if stage.metric(name, ITEMS) > before[name]]
        return bool(moved)

    stage.wait(some_moved, 60, "a worker to own a feed")
    return moved


def kill_the_only_one(stage: Stage, name: str, draw: random.Random) -> float:
    """Kill the only worker and start it again."""
    time.sleep(draw.uniform(0.2, 3.0))
    stage.children[name].process.send_signal(signal.SIGKILL)
    stage.children[name].process.wait()
    stage.start(name)
    took_s = caught_up_after_s(stage)
    print(f"killed the only worker: caught up after {took_s:.1f} s")
    return took_s


def caught_up_after_s(stage: Stage) -> float:
    """Seconds until everything in the raw log at this moment is acknowledged."""
    ends = stage.raw_ends()

    def reached() -> bool:
        committed = stage.committed("adamas-process")
        return all(committed.get(slot, 0) >= end for slot, end in ends.items())

    return stage.wait(reached, 120, "the feeds to be taken over")


def compare(found: Outcome, expected: Outcome) -> dict[str, int]:
    """Differences between two end states, by kind."""
    lost = expected.stones.keys() - found.stones.keys()
    doubled = {key for key, number in found.history.items() if number > 1}
    extra_history = found.history.keys() ^ expected.history.keys()
    wrong = {
        stone
        for stone, value in expected.stones.items()
        if stone not in lost
        and (found.stones[stone] != value or found.rows.get(stone) != expected.rows.get(stone))
    }
    more = found.stones.keys() - expected.stones.keys()
    lost_letters = expected.dead - found.dead
    print(
        f"stones {len(found.stones)} of {len(expected.stones)}, rows {len(found.rows)} of {len(expected.rows)}, "
        f"history {sum(found.history.values())} of {sum(expected.history.values())}, "
        f"dead letters {len(found.dead)} of {len(expected.dead)}"
    )
    for name, some in (("wrong", wrong), ("lost", lost), ("history", extra_history)):
        if some:
            print(f"{name}: {sorted(map(str, some))[:3]}")
    return {
        "lost": len(lost) + len(lost_letters) + len(expected.rows.keys() - found.rows.keys()),
        "doubled": len(doubled),
        "wrong": len(wrong) + len(more) + len(extra_history),
    }


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kills-of-two", type=int, default=KILLS_OF_TWO)
    parser.add_argument("--kills-of-one", type=int, default=KILLS_OF_ONE)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    print_environment("faust-streaming", "confluent-kafka")
    takeovers: list[float] = []
    with Stage(process=2) as stage:
        traffic = Traffic(stage.kafka, STONES, seed=draw.randrange(1 << 30))
        for name in ("sink", "process", "process-2"):
            stage.start(name)
        stage.wait_ready("process")
        stage.wait_ready("process-2")
        with Flow(traffic, PAGES_PER_S):
            takeovers += [
                kill_one_of_two(stage, ["process", "process-2"], draw) for _ in range(options.kills_of_two)
            ]
            stage.children["process-2"].stop(30)
            takeovers += [kill_the_only_one(stage, "process", draw) for _ in range(options.kills_of_one)]
        wait_idle(stage, traffic.log.written)
        found = asyncio.run(outcome(stage.kafka, stage.dsn))
        expected = undisturbed(stage.kafka)
    differences = compare(found, expected)
    finish(
        "drill-process-kill",
        [
            Figure("kills", len(takeovers), "kills", f">= {KILLS_OF_TWO + KILLS_OF_ONE}"),
            *[Figure(name, number, "stones", "== 0") for name, number in differences.items()],
            Figure("takeover_s", round(max(takeovers), 2), "s", f"<= {TAKEOVER_GOAL_S}"),
            Figure("stones", len(expected.stones), "stones"),
            Figure("facts", traffic.log.written, "records"),
        ],
    )


if __name__ == "__main__":
    main()
