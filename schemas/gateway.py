"""What the gateway of `ingest` is asked and what it answers, as JSON over HTTP inside.

    POST /v1/{feed}/count                          Counting     → Counted
    GET  /v1/{feed}/stones/{stone}                 the vendor's reply, byte for byte
    GET  /v1/{feed}/stones/{stone}/availability    → Seen
    POST /v1/{feed}/stones/{stone}/hold            → Held
    POST /v1/{feed}/stones/{stone}/release         Releasing    → Seen
    POST /v1/{feed}/orders                         Ordering     → Ordered
    POST /v1/{feed}/probe                          → a list of Finding

Every call carries `Authorization: Bearer <token>` and may carry `X-Deadline-Ms`: how long its answer is of use, waiting
for the budget included. Refusals are a `Refusal`; 503 comes with `Retry-After`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.stone import Availability

DEADLINE_HEADER: Final = "X-Deadline-Ms"
WAIT_HEADER: Final = "X-Budget-Wait-Ms"
"""In an answer: how long the call's first request waited for its turn."""
DEFAULT_DEADLINE_S: Final = 60.0


class Counting(msgspec.Struct, frozen=True, kw_only=True):
    """Which stones to count; every range is inclusive at both ends."""

    dollars_per_carat: tuple[int, int] | None = None
    carats: tuple[float, float] | None = None
    shapes: tuple[str, ...] | None = None


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are, as the vendor counts."""

    count: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A stone as the vendor has it now. The log has it too, unless `in_log` is false: then it follows."""

    feed: str
    stone: Annotated[str, Meta(description="the vendor's id")]
    availability: Availability
    gone: Annotated[bool, Meta(description="the vendor has no such stone")] = False
    seq: Annotated[int, Meta(description="of the fact in the log; 0 while it is not there")] = 0
    in_log: bool = True


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A stone that is kept for us."""

    hold: Annotated[str, Meta(description="the vendor's id of the hold")]
    until: Annotated[int | None, Meta(description="vendor's clock, milliseconds since 1970")] = None
    stone: Seen


class Releasing(msgspec.Struct, frozen=True, kw_only=True):
    """Which hold to end."""

    hold: str


class Ordering(msgspec.Struct, frozen=True, kw_only=True):
    """What to buy, all or none, under a reference of our own that finds the order again."""

    stones: Annotated[tuple[str, ...], Meta(min_length=1, max_length=50)]
    reference: Annotated[str, Meta(min_length=1, max_length=100)]


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """A purchase request that the vendor took."""

    order: Annotated[str, Meta(description="the vendor's id of the order")]
    stones: tuple[Seen, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a vendor leaves unsaid, found out by asking."""

    name: str
    found: str
    we_use: Annotated[str, Meta(description="what our code goes by")]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call was not done.

    `error` is one of: unauthorized, bad_request, unknown_feed, gone, refused, ambiguous, vendor_trouble, too_late,
    deadline_passed, log_unreachable.
    """

    error: str
    detail: str
