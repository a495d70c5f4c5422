"""Application errors by fingerprint: what our own code logged as an error, counted here and kept in Postgres.

Every process notes its own (`configure_logs` lets each log line pass by `note`) and writes them behind its work; while
Postgres is away they wait, and only the first `MOST` kinds of them.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

from runtime.postgres import Database, Link
from schemas.errors import Retriable

MOST: Final = 200
WRITE_EVERY_S: Final = 2.0
LAST_WRITE_S: Final = 3.0
_TEXT: Final = 500
_LEVELS: Final = frozenset({"error", "critical"})
_ROOT: Final = Path(__file__).parents[1]
_NO_ERROR: Final = "none"

_KEEP: Final = """
INSERT INTO application_errors AS e (fingerprint, process, action, error, place, text, count, first_at, last_at, trace_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (fingerprint, process) DO UPDATE
SET text = excluded.text, count = e.count + excluded.count, last_at = greatest(e.last_at, excluded.last_at),
    trace_id = coalesce(excluded.trace_id, e.trace_id)"""
_LIST: Final = """
SELECT fingerprint, process, action, error, place, text, count, first_at, last_at, trace_id FROM application_errors
WHERE $1::text IS NULL OR process = $1 ORDER BY last_at DESC, fingerprint LIMIT $2"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of error in one process.

    Attributes:
        fingerprint: of action, error class and place: 12 hex digits.
        action: of the log line.
        error: the exception's class, `none` for a line without one.
        place: the innermost function of ours that it came through.
        text: what was said the last time.
        trace_id: of the last one that belonged to a trace.
    """

    fingerprint: str
    process: str
    action: str
    error: str
    place: str
    text: str
    count: int
    first_at: datetime
    last_at: datetime
    trace_id: str | None


@dataclass
class Faults:
    """What waits to be written."""

    _waiting: dict[tuple[str, str], Fault] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def note(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """structlog's processor: count an error's line, leave all lines as they are."""
        if event.get("level") in _LEVELS:
            fault = _fault_of(event)
            key = fault.fingerprint, fault.process
            with self._lock:
                known = self._waiting.get(key)
                if known is not None:
                    fault = _together(known, fault)
                if known is not None or len(self._waiting) < MOST:
                    self._waiting[key] = fault
        return event

    async def write(self, database: Database) -> int:
        """Write what waits; how many kinds that were.

        Raises:
            Retriable: Postgres is away; they wait on.
        """
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return 0
        try:
            async with database.transaction() as link:
                for fault in taken.values():
                    await link.execute(_KEEP, *(getattr(fault, name) for name in Fault.__dataclass_fields__))
        except Retriable:
            with self._lock:
                for key, fault in taken.items():
                    later = self._waiting.get(key)
                    self._waiting[key] = fault if later is None else _together(fault, later)
            raise
        return len(taken)


FAULTS: Final = Faults()
"""This process's."""


@contextmanager
def kept(dsn: str) -> Iterator[None]:
    """Write `FAULTS` into Postgres as long as the block lasts, on a thread of its own, and the last ones at its end."""
    stop = Event()
    thread = Thread(target=_write_on, args=(dsn, stop), name="faults", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LAST_WRITE_S)


def _write_on(dsn: str, stop: Event) -> None:
    with asyncio.Runner() as loop:
        database = Database(dsn, "adamas-faults", size=1)
        while not stop.wait(WRITE_EVERY_S):
            loop.run(_write(database))
        loop.run(_write(database))
        loop.run(database.close())


async def listed(link: Link, *, process: str | None = None, limit: int = 100) -> list[Fault]:
    """Kinds of errors, the latest first."""
    return [Fault(**row) for row in await link.fetch(_LIST, process, limit)]


async def _write(database: Database) -> None:
    try:
        await FAULTS.write(database)
    except Retriable:
        # Said by whoever needs Postgres for its work.
        return


def _together(before: Fault, after: Fault) -> Fault:
    return replace(
        after,
        count=before.count + after.count,
        first_at=before.first_at,
        trace_id=after.trace_id or before.trace_id,
    )


def _fault_of(event: EventDict) -> Fault:
    error = _error_of(event.get("exc_info"))
    action = str(event.get("event"))
    name = _NO_ERROR if error is None else type(error).__name__
    place = "" if error is None else _place(error)
    now = datetime.now(UTC)
    text = str(error if error is not None else event.get("reason") or event.get("error") or "")
    return Fault(
        blake2b(f"{action}/{name}/{place}".encode(), digest_size=6).hexdigest(),
        str(event.get("process", "")),
        *(action, name, place, text.replace("\0", "")[:_TEXT], 1, now, now),
        event.get("trace_id"),
    )


def _error_of(told: Any) -> BaseException | None:
    """The exception of a log line, in each of the forms in which `exc_info` may come."""
    if isinstance(told, BaseException):
        return told
    found = told if isinstance(told, Sequence) else sys.exc_info() if told else (None, None)
    return found[1]


def _place(error: BaseException) -> str:
    frames = [
        frame for frame, _ in traceback.walk_tb(error.__traceback__) if _is_ours(frame.f_code.co_filename)
    ]
    if not frames:
        return ""
    code = frames[-1].f_code
    module = Path(code.co_filename).relative_to(_ROOT).with_suffix("")
    return f"{'.'.join(module.parts)}.{code.co_qualname}"


def _is_ours(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(_ROOT) and ".venv" not in path.parts
