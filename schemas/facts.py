"""The facts of `diamonds.raw`. What is not in the log did not happen.

A fact's identity and order stand in its headers (`FactHeaders`), so that a run can be resumed and a page counted
without reading bodies. The value of a `page`, `empty` or `item` fact is the vendor's reply, byte for byte; the
values of the other kinds are the structs below as JSON.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from schemas.stone import Bigint, Content

FACT_VERSION: Final = 2
"""Version of the structs in this module."""

PART_STEP: Final = 100
"""A page over the record limit is written in parts: added to `reread` for each further one, more than a page is ever read."""

EpochMs = Annotated[int, Meta(description="UTC, milliseconds since 1970", ge=0)]


class Kind(StrEnum):
    """What a fact of the raw log says."""

    LEASE = "lease"
    PLAN = "plan"
    SPLIT = "split"
    PAGE = "page"
    EMPTY = "empty"
    COMPLETE = "complete"
    CANCEL = "cancel"
    WATERMARK = "watermark"
    RETIRE = "retire"
    ITEM = "item"
    WITHDRAW = "withdraw"
    RESTORE = "restore"


class RunKind(StrEnum):
    """How much of a feed a run reads."""

    FULL = "full"
    INCREMENTAL = "incremental"


MOST_ROWS: Final = 100_000
"""Far more than any vendor's page has: who counts a refused page's rows makes an entry for each."""


class FactHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Identity and order of a fact, one Kafka header a field."""

    kind: Kind
    feed: str
    epoch: Annotated[Bigint, Meta(description="lease epoch of the writer")]
    seq: Annotated[
        Bigint,
        Meta(description="when the request was granted: lease epoch and counter, packed (schemas.seq)"),
    ]
    schema: Annotated[Bigint, Meta(description="version of the feed adapter that asked")] = 1
    run: str | None = None
    partition: Annotated[Bigint | None, Meta(description="number within the run's plan")] = None
    page: Annotated[Bigint | None, Meta(description="vendor offset divided by the page size")] = None
    reread: Annotated[
        Bigint,
        Meta(
            description="0 for the first read of a page, 1 for its second, ...; 100 more for each further part of one in parts"
        ),
    ] = 0
    rows: Annotated[
        Annotated[int, Meta(ge=0, le=MOST_ROWS)] | None,
        Meta(description="items in a page, as the vendor sent them"),
    ] = None
    nameless: Annotated[
        Bigint | None, Meta(description="items of the page whose stone cannot be told; null for none")
    ] = None
    granted_at: Annotated[
        Bigint | None,
        Meta(
            description="our clock at the grant, milliseconds since 1970; only for the 30-day rule, never an order"
        ),
    ] = None
    origin: Annotated[
        str | None, Meta(description="place of the dead letter that this item was redriven from")
    ] = None
    redriven: Annotated[Bigint | None, Meta(description="how often it was redriven; null for never")] = None
    stone: Annotated[
        str | None, Meta(description="the vendor's id of the stone that was asked for by it, in an item")
    ] = None
    too_large: Annotated[
        bool | None,
        Meta(
            description="the item is too large for a record: its dead letter is written, this only names its stone"
        ),
    ] = None
    traceparent: Annotated[
        str | None, Meta(description="the W3C trace it belongs to, where it is followed")
    ] = None


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A process took the lease: facts of lower epochs behind this record do not count for runs."""

    epoch: int
    holder: Annotated[str, Meta(description="host and process id")]
    granted_at: EpochMs


class PlanPartition(msgspec.Struct, frozen=True, kw_only=True):
    """One slice of a run: an inclusive range of price per carat, and of carats where price alone cannot split."""

    number: int
    dollars_per_carat_from: Annotated[int, Meta(description="whole dollars, inclusive", ge=0)]
    dollars_per_carat_to: Annotated[int, Meta(description="whole dollars, inclusive", ge=0)]
    estimate: Annotated[int, Meta(description="stones the vendor counted; it drifts", ge=0)]
    carat_from: float | None = None
    carat_to: float | None = None
    shapes: tuple[str, ...] | None = None
    gone: Annotated[
        bool, Meta(description="the stones that are not available, instead of those that are")
    ] = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run will read. Written before its first page."""

    run: str
    feed: str
    kind: RunKind
    watermark: Annotated[
        int, Meta(description="the run's upper time by the vendor's clock, milliseconds since 1970")
    ]
    updated_from: Annotated[int | None, Meta(description="lower bound of `updated`; null in a full run")] = (
        None
    )
    page_size: int
    counted: Annotated[int, Meta(description="stones the vendor counted for the whole run", ge=0)]
    partitions: tuple[PlanPartition, ...]


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A partition proved larger than planned: these take its place."""

    run: str
    partition: int
    into: tuple[PlanPartition, ...]


class Complete(msgspec.Struct, frozen=True, kw_only=True):
    """Every partition of a run has ended with an empty page: the feed's watermark moves to `watermark`."""

    run: str
    feed: str
    kind: RunKind
    watermark: int
    pages: int
    rows: Annotated[int, Meta(description="items over all pages, duplicates included")]
    rereads: Annotated[
        tuple[tuple[int, int, int], ...],
        Meta(description="partition, page and number of every further read of a page that is in the log"),
    ] = ()
    forced: Annotated[bool, Meta(description="an operator ended it as it stood: it may lack stones")] = False
    actor: Annotated[str, Meta(description="who ended it")] = "ingest"


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """A run ends without completion: it was cancelled, or its attempts are used up."""

    run: str
    feed: str
    failed: Annotated[bool, Meta(description="its attempts are used up; a retry may take it up again")]
    cause: str
    actor: str


class Watermark(msgspec.Struct, frozen=True, kw_only=True):
    """An operator set a feed's watermark: the next incremental run begins there."""

    feed: str
    watermark: Annotated[int, Meta(description="by the vendor's clock, milliseconds since 1970")]
    actor: str


class Retire(msgspec.Struct, frozen=True, kw_only=True):
    """Stones of the feed that nothing granted since `below` has seen are gone."""

    feed: str
    run: str
    below: Annotated[int, Meta(description="seq of the full sweep's first grant")]
    actor: str


GONE: Final = "gone"
"""The reason of a withdrawal that follows from reading the stone, not from what is about to be changed."""


class Withdraw(msgspec.Struct, frozen=True, kw_only=True):
    """A stone is not for sale until a later fact brings its item: the vendor is being asked to change it, or has lost it."""

    feed: str
    stone: Annotated[str, Meta(description="the vendor's id")]
    reason: Annotated[str, Meta(description="hold, release, order, unread or gone")]


class RestoredStone(msgspec.Struct, frozen=True, kw_only=True):
    """A stone as it was before a replay, and the version that takes its place only if nothing came after it."""

    id: str
    seq: int
    mapper: Annotated[int, Meta(description="mapper number of the version that the replay wrote")]
    content: Annotated[Content | None, Meta(description="null for a stone that was not in stock before")] = (
        None
    )


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """An operator undid a replay: these stones get their former content back, priced under the present rules."""

    feed: str
    job: Annotated[int, Meta(description="the replay that is undone")]
    actor: str
    stones: tuple[RestoredStone, ...]


def fact_key(feed: str, run: str | None, partition: int | None) -> bytes:
    """The raw record's key: `feed/run/partition`, shorter where a fact has no run or partition."""
    return "/".join(str(part) for part in (feed, run, partition) if part is not None).encode()
