"""Trying again for as long as it takes, unless the process stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from connectors.postgres.progress import Progress
from runtime.shutdown import Shutdown
from schemas.errors import Retriable

log = structlog.stdlib.get_logger(__name__)

FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0

ResultT = TypeVar("ResultT")


class Stopped(Exception):
    """The process stops before the work succeeded."""


def patiently(work: Callable[[], ResultT], who: str, shutdown: Shutdown, progress: Progress) -> ResultT:
    """Call `work` until it no longer raises `Retriable`, waiting twice as long each time, at most 5 s.

    Raises:
        Stopped: a stop was requested while the last attempt had failed.
    """
    wait_s = FIRST_WAIT_S
    while True:
        try:
            result = work()
        except Retriable as error:
            log.warning("sink.waits", who=who, reason=str(error), wait_s=wait_s)
            progress.waits(who, str(error))
            if shutdown.wait(wait_s):
                raise Stopped(str(error)) from error
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        else:
            progress.waits(who, None)
            return result
