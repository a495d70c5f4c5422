"""Receipts: what became of each item of a page. The ledger of a run is their sum."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

RECEIPT_VERSION: Final = 1


class Outcome(StrEnum):
    """The one thing that became of an item."""

    CANONICAL = "canonical"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    DEAD = "dead"

    __hash__ = str.__hash__


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of each item of one raw record, in the record's order."""

    feed: str
    run: str | None
    partition: int | None
    page: int | None
    reread: int
    epoch: int
    seq: int
    raw_offset: Annotated[
        int, Meta(description="offset of the page in diamonds.raw; its Kafka partition is the feed's slot")
    ]
    replayed: Annotated[bool, Meta(description="the page had been processed before: it does not count again")]
    stones: Annotated[
        tuple[str | None, ...], Meta(description="the vendor's stone ids; null where an item has none")
    ]
    outcomes: tuple[Outcome, ...]


def receipt_key(receipt: Receipt) -> bytes:
    """Identity of a receipt: `feed/run/partition/page/epoch`; a re-read is another page."""
    page = f"{receipt.page}.{receipt.reread}" if receipt.reread else str(receipt.page)
    return f"{receipt.feed}/{receipt.run}/{receipt.partition}/{page}/{receipt.epoch}".encode()
