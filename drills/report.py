"""How a drill or a benchmark ends: one line of JSON, and exit code 1 when a goal was missed."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import NoReturn

from psutil import virtual_memory


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        name: as other programs read it.
        value: measured in this run.
        unit: of the value.
        goal: what it must be, e.g. `>= 25000`, `<= 45`, `== 0`; none for a figure that only informs.
    """

    name: str
    value: float
    unit: str
    goal: str | None = None

    @property
    def met(self) -> bool:
        """Whether the value is what the goal says."""
        if self.goal is None:
            return True
        relation, bound = self.goal.split()
        return {
            ">=": self.value >= float(bound),
            "<=": self.value <= float(bound),
            "==": self.value == float(bound),
        }[relation]


def finish(name: str, figures: list[Figure]) -> NoReturn:
    """Print the result line and leave. Called when all else has ended: nothing that follows is seen any more."""
    met = all(figure.met for figure in figures)
    # The line must be the last one, also where both streams are one: a Kafka client that is still there tells of the
    # broker's end from a thread of its own, past `sys.stderr`.
    last, nowhere = os.dup(sys.stdout.fileno()), os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(nowhere, stream.fileno())
    with os.fdopen(last, "w", encoding="utf-8") as told:
        print(
            json.dumps({"name": name, "met": met, "figures": [asdict(figure) for figure in figures]}),
            file=told,
        )
    sys.exit(0 if met else 1)


def print_environment(*packages: str) -> None:
    """What the figures were measured on."""
    cpu = platform.processor() or platform.machine()
    print(f"{os.cpu_count()} cores ({cpu}), {virtual_memory().total >> 30} GiB, {platform.platform()}")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages))
