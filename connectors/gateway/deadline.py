"""One deadline for a whole call: waiting for the budget, the vendor's time, and the log's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from schemas.errors import SlowDown


class Passed(SlowDown):
    """The call's time is over."""

    def __init__(self) -> None:
        super().__init__("the call's deadline has passed", 1.0)


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the running loop's clock; none for work that may take as long as it takes."""

    at: float | None = None

    @classmethod
    def within(cls, seconds: float) -> Self:
        """So many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds)

    @property
    def left_s(self) -> float | None:
        """Seconds left, at least 0; none without an end."""
        return None if self.at is None else max(0.0, self.at - asyncio.get_running_loop().time())

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """End the block at the deadline. Raises `Passed` then."""
        try:
            async with asyncio.timeout_at(self.at):
                yield
        except TimeoutError as error:
            raise Passed from error
