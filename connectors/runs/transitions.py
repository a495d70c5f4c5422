"""Moving a run from state to state: checked against the table, and recorded with time, cause and actor."""

from __future__ import annotations

from datetime import datetime

from connectors.runs.states import TRANSITIONS, State, check
from runtime.postgres import Link
from schemas.errors import Invalid

BY_INGEST = "ingest"
"""The actor of what ingest does by itself."""


async def move(
    link: Link, run: str, after: State, cause: str, actor: str, *, at: datetime | None = None
) -> None:
    """Move a run; within the caller's transaction.

    Raises:
        Invalid: there is no such run, or the table has no such transition.
    """
    before = State(await state_of(link, run, lock=True))
    check(run, before, after)
    await _record(link, run, before, after, cause, actor, at)


async def told(link: Link, run: str, after: State, cause: str, actor: str, at: datetime) -> bool:
    """The log tells that a run is in this state; false when the run is past it already, or unknown."""
    before = await link.fetchval("SELECT state FROM runs WHERE run = $1 FOR UPDATE", run)
    if before is None or before == after or after not in TRANSITIONS[State(before)]:
        return False
    await _record(link, run, State(before), after, cause, actor, at)
    return True


async def born(
    link: Link, run: str, feed: str, kind: str, cause: str, actor: str, *, due_at: datetime | None = None
) -> None:
    """Make a run that waits; nothing happens when there is one of this name."""
    made = await link.fetchval(
        """INSERT INTO runs (run, feed, kind, state, requested_by, due_at)
           VALUES ($1, $2, $3, 'pending', $4, coalesce($5, now())) ON CONFLICT DO NOTHING RETURNING run""",
        *(run, feed, kind, actor, due_at),
    )
    if made:
        await _write(link, run, None, State.PENDING, cause, actor, None)


async def state_of(link: Link, run: str, *, lock: bool = False) -> str:
    """A run's state.

    Raises:
        Invalid: there is no such run.
    """
    state = await link.fetchval(f"SELECT state FROM runs WHERE run = $1 {'FOR UPDATE' if lock else ''}", run)
    if state is None:
        raise Invalid("run", f"there is no run {run}", "unknown")
    return str(state)


async def _record(
    link: Link, run: str, before: State, after: State, cause: str, actor: str, at: datetime | None
) -> None:
    await link.execute("UPDATE runs SET state = $2, changed_at = now() WHERE run = $1", run, after)
    await _write(link, run, before, after, cause, actor, at)


async def _write(
    link: Link, run: str, before: State | None, after: State, cause: str, actor: str, at: datetime | None
) -> None:
    await link.execute(
        """INSERT INTO run_transitions (run, at, from_state, to_state, cause, actor)
           VALUES ($1, coalesce($2, now()), $3, $4, $5, $6)
           ON CONFLICT (run) WHERE to_state = 'completed' DO NOTHING""",
        *(run, at, before, after, cause, actor),
    )
