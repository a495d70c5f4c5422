"""Whether an event loop turns: a beat it makes, read from another thread or by a probe."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from runtime.health import Check

BEAT_S: Final = 1.0
LOST_BEAT_S: Final = 30.0


class LoopLag:
    """Run `run` in the loop; `check` may be asked from anywhere."""

    def __init__(self) -> None:
        self._beat_at = time.monotonic()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat_at = time.monotonic()
            await asyncio.sleep(BEAT_S)

    def check(self) -> Check:
        """Alive while the last beat is young."""
        silent_s = max(0.0, time.monotonic() - self._beat_at - BEAT_S)
        return Check(silent_s < LOST_BEAT_S, {"loop_lag_s": round(silent_s, 2)})
