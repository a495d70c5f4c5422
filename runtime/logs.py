"""Log lines: one event each, named by its `action` key (dotted, as `ingest.page_published`).

JSON lines for machines, columns for people. A line says what it is about; it never carries a payload or a secret.
"""

import asyncio
import atexit
import logging
import sys
import time
from datetime import UTC, datetime
from itertools import starmap
from typing import Any, Final

import msgspec
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from runtime.faults import FAULTS
from runtime.settings import LogSettings

_WRITTEN_EVERY_S: Final = 0.05

_process: str | None = None
_level: int = logging.INFO


class FrequentLines:
    """Lines of level INFO that are written thousands of times a second, in the form of all others.

    structlog takes 30 to 90 µs a line, as long as all else that is done for a request. As JSON these are therefore kept for a
    moment, then rendered directly and written together; for people, structlog writes them.
    """

    def __init__(self) -> None:
        self._log = structlog.stdlib.get_logger(__name__)
        self._lines: list[tuple[float, str, dict[str, Any]]] = []
        self._due: asyncio.TimerHandle | None = None
        atexit.register(self.write)

    def info(self, action: str, **fields: Any) -> None:
        """Write a line. To be called in the thread of a running loop."""
        if _process is None:
            self._log.info(action, **fields)
        elif _level <= logging.INFO:
            self._lines.append((time.time(), action, fields))
            if self._due is None:
                self._due = asyncio.get_running_loop().call_later(_WRITTEN_EVERY_S, self.write)

    def write(self) -> None:
        """Write what was kept."""
        lines, self._lines, self._due = self._lines, [], None
        if lines:
            sys.stderr.buffer.write(b"".join(starmap(_rendered, lines)))
            sys.stderr.buffer.flush()


def _rendered(at_s: float, action: str, fields: dict[str, Any]) -> bytes:
    at = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {**fields, "process": _process, "level": "info", "at": at, "action": action}
    return msgspec.json.encode(line) + b"\n"


def configure_logs(settings: LogSettings, process: str) -> None:
    """Send structlog's and the libraries' log lines to stderr in one form; `process` is on every line."""
    json = settings.format == "json" or (settings.format == "auto" and not sys.stderr.isatty())
    global _process, _level
    _process, _level = process if json else None, logging.getLevelName(settings.level)
    _configure_structlog()
    _configure_libraries(settings.level, _renderers(json))
    structlog.contextvars.bind_contextvars(process=process)


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _add_trace_id,
        FAULTS.note,
    ]


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _configure_libraries(level: str, renderers: list[Processor]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_name_foreign, *_shared()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    # Replaced, not closed as `basicConfig(force=True)` would: a test runner's handlers must survive this.
    root.handlers = [handler]
    root.setLevel(level)
    # These two report every request at INFO, which at 25 requests a second hides everything else.
    for noisy in ("httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _renderers(json: bool) -> list[Processor]:
    rename = structlog.processors.EventRenamer("action")
    # Tracebacks stay plain: the richer forms print local variables, and those hold payloads and secrets.
    if json:
        return [structlog.processors.format_exc_info, rename, structlog.processors.JSONRenderer()]
    plain = structlog.dev.plain_traceback
    return [rename, structlog.dev.ConsoleRenderer(event_key="action", exception_formatter=plain)]


def _name_foreign(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A library's line has no action: its logger's name stands for it and its text moves to `message`."""
    record = event.get("_record")
    event["message"] = event["event"]
    event["event"] = record.name if isinstance(record, logging.LogRecord) else "library"
    return event


def _add_trace_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event
