"""The states of a run and the ways between them. Pure.

A run is asked for (pending), read (running) and ends. What the log says of a run stands above what a table says: a plan
makes it run, a completion completes it, a cancellation cancels or fails it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from schemas.errors import Invalid

ATTEMPTS: Final = 3
"""After so many failed attempts a run has failed; an operator may retry it."""
_FIRST_PAUSE_S: Final = 30.0


class State(StrEnum):
    """Where a run is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN: Final = frozenset({State.PENDING, State.RUNNING})
ENDED: Final = frozenset(State) - OPEN

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.FAILED, State.COMPLETED}),
    # Back to pending: an attempt failed, and the next one waits.
    State.RUNNING: frozenset({State.PENDING, State.COMPLETED, State.FAILED, State.CANCELLED}),
    # An operator's retry takes a failed run up again; it reads what is planned and not present.
    State.FAILED: frozenset({State.PENDING, State.RUNNING, State.COMPLETED}),
    State.COMPLETED: frozenset(),
    State.CANCELLED: frozenset(),
}


def check(run: str, before: State, after: State) -> None:
    """Refuse a transition that the table does not have.

    Raises:
        Invalid: names both states and what may follow.
    """
    if after not in TRANSITIONS[before]:
        allowed = ", ".join(sorted(TRANSITIONS[before])) or "nothing"
        raise Invalid("state", f"run {run} is {before}; after that comes {allowed}, not {after}", "bad_state")


def pause_s(attempt: int) -> float:
    """Seconds before the attempt after this one: 30, then 120."""
    return float(_FIRST_PAUSE_S * 4 ** (attempt - 1))
