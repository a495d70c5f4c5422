"""What the engine asks of a feed. The engine never names a vendor; a vendor's module never decides what is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from connectors.budget import Grant, Priority
from schemas.errors import Invalid, Retriable, SlowDown
from schemas.facts import Plan, PlanPartition
from schemas.gateway import Finding
from schemas.stone import Availability

NO_UPPER_END: Final = 2**31 - 1
"""Upper end of an open-ended range of whole dollars."""


class NotLoggedIn(Retriable):
    """The vendor did not take our token; it was thrown away, the next request brings a new one."""


class Banned(SlowDown):
    """The vendor's firewall turned us away: no request of any class may follow before the pause is over."""


class Gone(Invalid):
    """The vendor has no stone of this id, or no longer."""

    def __init__(self, stone: str) -> None:
        super().__init__("stone", f"the vendor has none of the id {stone}", "gone")


class Refused(Invalid):
    """The vendor refuses a hold or an order: the stone is not free."""

    def __init__(self, why: str) -> None:
        super().__init__("stone", why, "refused")


class Ambiguous(Retriable):
    """No answer to a change that was asked for: it may have been made. Read the stone; never ask for it again blindly."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One stone as the vendor has it now.

    Attributes:
        body: the reply, byte for byte; a page of one.
        availability: whether it can be sold.
        hold: the id of our own hold on it, if there is one and the vendor shows it.
    """

    body: bytes
    availability: Availability
    hold: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A stone that is kept for us.

    Attributes:
        id: the vendor's.
        until_ms: until when, milliseconds since 1970 by the vendor's clock; none where it does not say.
    """

    id: str
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """What part of a feed to read; every range is inclusive at both ends.

    Attributes:
        dollars_per_carat: whole US dollars; `NO_UPPER_END` leaves the upper end open.
        carats: of the whole stone; none for every weight.
        shapes: the vendor's shape names; none for every shape.
        updated_from_ms: only what changed since then, UTC, milliseconds since 1970; none for everything.
        gone: the stones that are not available, instead of those that are; a feed that cannot tell raises `Invalid`.

    Raises:
        Invalid: a range runs backwards. A vendor may answer such a one with arbitrary stones.
    """

    dollars_per_carat: tuple[int, int] = (0, NO_UPPER_END)
    carats: tuple[float, float] | None = None
    shapes: tuple[str, ...] | None = None
    updated_from_ms: int | None = None
    gone: bool = False

    def __post_init__(self) -> None:
        for name, bounds in (("dollars_per_carat", self.dollars_per_carat), ("carats", self.carats)):
            if bounds and not 0 <= bounds[0] <= bounds[1]:
                raise Invalid(name, f"must run upwards from 0, is {bounds[0]} to {bounds[1]}", "bad_range")

    @classmethod
    def of(cls, partition: PlanPartition, plan: Plan) -> Slice:
        """The slice that a partition of a plan stands for."""
        carats = (partition.carat_from, partition.carat_to)
        return cls(
            dollars_per_carat=(partition.dollars_per_carat_from, partition.dollars_per_carat_to),
            carats=None if carats[0] is None or carats[1] is None else (carats[0], carats[1]),
            shapes=partition.shapes,
            updated_from_ms=plan.updated_from,
            gone=partition.gone,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A page as the vendor sent it.

    Attributes:
        body: the reply, byte for byte.
        ids: the vendor's id of each item's stone, in order; none where an item has none.
        partial: the reply names errors beside its items: some may be missing.
    """

    body: bytes
    ids: tuple[str | None, ...]
    partial: bool = False

    @property
    def rows(self) -> int:
        """Items in the page."""
        return len(self.ids)

    @property
    def nameless(self) -> int:
        """Items whose stone cannot be told."""
        return self.ids.count(None)


class Feed(Protocol):
    """A vendor's feed. Every call but `prepare` is one request under the grant given to it.

    The calls raise `Retriable` (and `SlowDown`, `Banned`, `NotLoggedIn`) where asking again may help, `Invalid` where
    the vendor refuses the question itself, `Fatal` where going on makes no sense. Those that change something (hold,
    release, order) raise `Ambiguous` where it may have been changed all the same. How a stone is read from the replies
    is the feed's mapping table (`connectors.feeds.mappings`).
    """

    name: str
    page_size: int
    """Stones in a full page."""
    offset_cap: int
    """No partition may hold as many stones: pages beyond are not served."""
    schema: int
    """Version of this adapter; stands in every fact that it brings."""

    async def prepare(self, priority: Priority) -> int:
        """Log in and find out what the vendor leaves unsaid, within the budget.

        Returns:
            The vendor's clock at the start of the call, milliseconds since 1970: a run's watermark.
        """

    async def count(self, part: Slice, grant: Grant) -> int:
        """Stones in a slice, as the vendor counts them: it drifts, and never says where a partition ends."""

    async def search(self, part: Slice, page: int, grant: Grant) -> Page:
        """One page of a slice, numbered from 0, in an order that lets new stones come last."""

    async def by_id(self, stone: str, grant: Grant) -> Sighting:
        """One stone as it is now, whatever its availability. Raises `Gone`."""

    async def hold(self, stone: str, grant: Grant) -> Hold:
        """Have a stone kept for us. Raises `Gone`, `Refused`, `Ambiguous`."""

    async def release(self, hold: str, grant: Grant) -> None:
        """End a hold; one that is over already is released. Raises `Ambiguous`."""

    async def probe(self, priority: Priority) -> list[Finding]:
        """Find out what the vendor leaves unsaid, each request under a grant of its own."""

    async def order(self, stones: Sequence[str], reference: str, grant: Grant) -> str:
        """Buy stones, all or none, under our own reference; the vendor's order id. Raises `Gone`, `Refused`, `Ambiguous`."""
