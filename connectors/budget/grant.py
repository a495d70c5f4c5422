"""A grant: the right to write one request at a time that the budget chose."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol, Self

from connectors.budget.clock import Clock, sleep_until
from schemas.errors import Retriable, SlowDown
from schemas.seq import Seq

WINDOW_S: Final = 1.0
MARGIN_S: Final = 0.010
"""How much longer one request's way to the vendor may take than a later one's before a window could overflow."""
CLOCK_STEP_S: Final = 0.001
"""What the two sides' clocks may differ by over one second."""
MAX_GRANT_AGE_S: Final = 0.5
NEVER: Final = float("inf")


class Priority(IntEnum):
    """Classes of requests; a lower one goes first, within one the first asked goes first."""

    LIVE = 0
    INCREMENTAL = 1
    FULL = 2

    @property
    def label(self) -> str:
        """As it stands in metrics and logs."""
        return self.name.lower()


class StaleGrant(Retriable):
    """Nothing may be written under this grant any more: its place was given back, ask again."""


class TooLate(SlowDown):
    """The request's turn would come after its deadline: refused at once, never after waiting in vain."""


class Giver(Protocol):
    """What a grant tells its budget."""

    clock: Clock

    def lease_holds(self) -> bool:
        """Whether it is proven that this process may still speak to the vendor."""

    def wrote(self, grant: Grant) -> None:
        """Its request goes out now."""

    def occupy(self, grant: Grant, free_at: float) -> None:
        """Its place is free at this time, or at the earlier one already known."""

    def release(self, grant: Grant) -> None:
        """Nothing was written under it."""

    def succeeded(self, grant: Grant) -> None:
        """It was answered."""

    def failed(self, grant: Grant, cause: str) -> None:
        """It was not answered."""

    def throttled(self, grant: Grant, asked_s: float | None, cause: str) -> float:
        """The vendor wants fewer requests of its class."""

    def banned(self, grant: Grant, cause: str) -> float:
        """The vendor's firewall turned it away."""


class Grant:
    """The right to write one request, not before `not_before`. Leave its block to give it back if nothing was written.

    Attributes:
        seq: order of the facts that the request will bring.
        priority: its class.
        asked_at: when it was asked for, on the budget's clock.
        not_before: when its request may be written, on the budget's clock.
        free_at: when its place is free again; endless until it is known when the request arrived.
    """

    __slots__ = ("_giver", "_granted_at", "_sent", "asked_at", "free_at", "not_before", "priority", "seq")

    def __init__(
        self, giver: Giver, seq: Seq, priority: Priority, asked_at: float, not_before: float
    ) -> None:
        self._giver = giver
        self._granted_at = giver.clock.time()
        self._sent = False
        self.seq = seq
        self.priority = priority
        self.asked_at = asked_at
        self.not_before = not_before
        self.free_at = NEVER

    @property
    def sent(self) -> bool:
        """Whether something may have been written under it."""
        return self._sent

    async def writing(self) -> None:
        """The request's first byte is about to be written: wait for its moment; from then on it counts.

        Raises:
            StaleGrant: the grant is too old, or the lease is not proven; nothing may be written under it.
        """
        await sleep_until(self._giver.clock, self.not_before)
        # Looked at last, right where the bytes go out: this process may have been paused anywhere before.
        if self._giver.clock.time() - self._granted_at > MAX_GRANT_AGE_S:
            raise StaleGrant("granted too long ago to be written now")
        if not self._giver.lease_holds():
            raise StaleGrant("the lease is not proven")
        self._sent = True
        self._giver.wrote(self)

    def written(self) -> None:
        """The request's last byte was handed to the socket."""
        self._sent = True
        self._giver.occupy(self, self._giver.clock.time() + WINDOW_S + MARGIN_S)

    def answered(self) -> None:
        """The reply has begun: the request has arrived before now."""
        self._sent = True
        self._giver.occupy(self, self._giver.clock.time() + WINDOW_S + CLOCK_STEP_S)

    def succeeded(self) -> None:
        """The vendor gave an answer that can be used."""
        self._giver.succeeded(self)

    def failed(self, cause: str) -> None:
        """The vendor gave none, or trouble instead of one; a run of these opens the breaker."""
        self._giver.failed(self, cause)

    def throttled(self, asked_s: float | None, cause: str) -> float:
        """The vendor wants fewer requests of this class; seconds of the pause that begins now."""
        return self._giver.throttled(self, asked_s, cause)

    def banned(self, cause: str) -> float:
        """The vendor's firewall turned us away; seconds of the pause, for everybody, that begins now."""
        return self._giver.banned(self, cause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing more will be reported; an unsent grant's place is free at once."""
        if not self._sent:
            self._giver.release(self)
        elif self.free_at == NEVER:
            self.written()
