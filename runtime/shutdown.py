"""Stopping, written once: stop event, drain within a grace time, close in reverse order, or leave at once.

    with Shutdown(grace_s=10) as shutdown:
        shutdown.on_close(consumer.close)
        while not shutdown.requested:
            ...

SIGTERM or SIGINT sets the event. The loop ends its work, and leaving the block closes what was registered. A drain
that takes longer than the grace time, or a second signal, ends the process on the spot.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Lock, Thread, Timer
from types import FrameType, TracebackType
from typing import NoReturn, Self

import structlog

log = structlog.stdlib.get_logger(__name__)

EXIT_DRAIN_TIMED_OUT = 70

SAME_SIGNAL_S = 1.0
"""A process group is often told twice in a moment: by whoever stops the group, and by `make`, which passes it on."""


class Shutdown:
    """The one stop event of a process. Enter it in the main thread, where Python delivers signals."""

    def __init__(self, grace_s: float = 10.0) -> None:
        self._grace_s = grace_s
        self._event = Event()
        self._signalled_at: float | None = None
        self._lock = Lock()
        self._callbacks: list[Callable[[], object]] = []
        self._closers = ExitStack()
        self._failure: BaseException | None = None
        self._watchdog: Timer | None = None
        self._former: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def requested(self) -> bool:
        """Whether the process is to stop."""
        return self._event.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until a stop is requested; false when the time ran out before."""
        return self._event.wait(timeout_s)

    def request(self, reason: str) -> None:
        """Ask the process to stop. Only the first request counts; safe from any thread."""
        with self._lock:
            if self._event.is_set():
                return
            self._start_watchdog()
            self._event.set()
            callbacks = tuple(self._callbacks)
        log.info("process.stopping", reason=reason)
        for callback in callbacks:
            callback()

    def fail(self, error: BaseException) -> None:
        """A side task died: stop, and raise its error when the block is left."""
        self._failure = self._failure or error
        self.request(f"{type(error).__name__}: {error}")

    def on_request(self, callback: Callable[[], object]) -> None:
        """Call this when a stop is requested (or now, if it was already). It must not block."""
        with self._lock:
            self._callbacks.append(callback)
            already = self._event.is_set()
        if already:
            callback()

    def on_close(self, close: Callable[[], object]) -> None:
        """Call this when the block is left; what was registered last is closed first."""
        self._closers.callback(close)

    def as_asyncio_event(self) -> asyncio.Event:
        """An event of the running loop that is set when a stop is requested."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        self.on_request(lambda: None if loop.is_closed() else loop.call_soon_threadsafe(event.set))
        return event

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._former[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.request("done" if error is None else f"{type(error).__name__}: {error}")
        try:
            self._closers.close()
        finally:
            self._restore()
        if self._failure is not None and error is None:
            raise self._failure

    def _restore(self) -> None:
        if self._watchdog:
            self._watchdog.cancel()
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._signalled_at is None:
            self._signalled_at = now
        elif now - self._signalled_at < SAME_SIGNAL_S:
            return
        else:
            self._leave(128 + number)
        # On another thread: the one that was interrupted may hold the very locks that `request` needs.
        Thread(target=self.request, args=(signal.Signals(number).name,), daemon=True).start()

    def _start_watchdog(self) -> None:
        self._watchdog = Timer(self._grace_s, self._drain_timed_out)
        self._watchdog.daemon = True
        self._watchdog.start()

    def _drain_timed_out(self) -> None:
        try:
            log.error("process.drain_timed_out", grace_s=self._grace_s)
        finally:
            # Even when there is nowhere left to log to.
            self._leave(EXIT_DRAIN_TIMED_OUT)

    @staticmethod
    def _leave(code: int) -> NoReturn:
        # Not sys.exit: what hangs in a drain would hang in its clean-up as well.
        os._exit(code)
