"""Whether a worker that has something to do is doing it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Motion:
    """Remembers when there was last progress, or nothing to do.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._moved_s = clock()

    def moved(self) -> None:
        """There is progress."""
        self._moved_s = self._clock()

    def waits(self, behind: int) -> None:
        """So many records wait for this worker; none is as good as progress."""
        if behind == 0:
            self.moved()

    @property
    def still_s(self) -> float:
        """Seconds for which something has waited and nothing moved."""
        return self._clock() - self._moved_s
