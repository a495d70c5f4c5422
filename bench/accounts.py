"""Processor time of processes over a stretch of time that is known only afterwards.

A thread of its own notes it twice a second, as what it takes is taken from what is measured; what was used between two
moments is read off between the notes.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

import psutil

_EVERY_S: Final = 0.5
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PYTHON: Final = ("process", "sink", "api")
_WORTH_TELLING_S: Final = 0.05
STAGES: Final = ("process", "sink", "postgres", "api", "kafka")

Account = dict[str, float]
"""CPU seconds so far by name; `name/thread` for the threads of a process that are worth telling apart."""


class Accounts:
    """Use it as a context: notes are taken until it is left.

    Args:
        pids: the processes to note, by name; asked anew every time.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self._notes: list[tuple[float, Account]] = []
        self._stop = Event()
        self._thread = Thread(target=self._run, name="accounts", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def between(self, begin_s: float, end_s: float) -> Account:
        """CPU seconds used between two moments (seconds since 1970) by each process and thread."""
        begin, end = self._at(begin_s), self._at(end_s)
        return {name: seconds - begin.get(name, 0.0) for name, seconds in end.items()}

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._notes.append((time.time(), self._note()))

    def _note(self) -> Account:
        # What cannot be read this time, because a thread has just ended, is as it was.
        account: Account = dict(self._notes[-1][1]) if self._notes else {}
        for name, pid in self._pids().items():
            try:
                used = [_ticks(Path(f"/proc/{member}/stat")) for member in _family(pid)]
                if name in _PYTHON:
                    account.update(threads(name, pid))
            except OSError:
                continue
            # Postgres' finished workers are in their parent's account.
            account[name] = (sum(own for own, _ in used) + used[0][1]) / _TICKS
        return account

    def _at(self, moment_s: float) -> Account:
        """The account of a moment, on the straight line between the notes around it."""
        after = min(bisect_left(self._notes, moment_s, key=lambda note: note[0]), len(self._notes) - 1)
        (late_s, late), (early_s, early) = self._notes[after], self._notes[max(0, after - 1)]
        share = 1.0 if late_s == early_s else min(1.0, (moment_s - early_s) / (late_s - early_s))
        return {
            name: early.get(name, 0.0) + share * (seconds - early.get(name, 0.0))
            for name, seconds in late.items()
        }


def _family(pid: int) -> list[int]:
    """A process and all its descendants, as the kernel lists them: psutil would look at every process there is.

    Those that a thread other than the first one began are not seen; nothing we measure has any.
    """
    family = [pid]
    for member in family:
        family += map(int, Path(f"/proc/{member}/task/{member}/children").read_text().split())
    return family


def _ticks(stat: Path) -> tuple[int, int]:
    """Processor time in ticks, of a process or thread itself and of its finished children."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


def used_s(pid: int) -> float:
    """Processor time of one process so far, seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def print_account(used: Account, stones: int, memory: Mapping[str, float]) -> None:
    """A line a stage: CPU seconds, by stone and by thread, and its memory in MiB."""
    for name in STAGES:
        threads = sorted(
            ((key.partition("/")[2], seconds) for key, seconds in used.items() if key.startswith(f"{name}/")),
            key=lambda thread: -thread[1],
        )
        told = ", ".join(
            f"{thread} {seconds * 1e6 / stones:.1f}"
            for thread, seconds in threads
            if seconds > _WORTH_TELLING_S
        )
        print(
            f"  {name:9} {used[name]:5.1f} CPU s = {used[name] * 1e6 / stones:5.1f} us a stone"
            f" {memory[name]:7.0f} MiB  {told}"
        )


def memory_of(pids: Mapping[str, int]) -> dict[str, float]:
    """MiB of each process, children included, shared pages counted once."""
    found = {}
    for name, pid in pids.items():
        family = map(psutil.Process, _family(pid))
        found[name] = sum(process.memory_full_info().pss for process in family) / 2**20
    return found


def threads(name: str, pid: int) -> Account:
    """By what the kernel calls a thread; the process's first thread is `main`."""
    account: Account = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        thread = "main" if task.name == str(pid) else (task / "comm").read_text().strip()
        key = f"{name}/{thread}"
        account[key] = account.get(key, 0.0) + _ticks(task / "stat")[0] / _TICKS
    return account
