"""Nivoda's two feeds: the queries they send and how their replies are read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from connectors.budget import Budget, Grant, Priority
from connectors.feeds.nivoda.session import Reply, Session
from connectors.feeds.protocol import NO_UPPER_END, Page, Slice
from schemas.errors import Retriable
from schemas.feeds import FeedInfo
from schemas.vendor import VENDOR_ITEM_VERSION, selection

log = structlog.stdlib.get_logger(__name__)

PAGE_SIZE: Final = 50
"""The vendor's largest page."""

_GONE: Final = ("HOLD", "MEMO", "CONSIGNMENT", "SOLD", "NOT_AVAILABLE", "ON_HOLD", "ON_MEMO", "SOLD_OUT")

_COUNT: Final = "query Count($query: DiamondQuery!) { diamonds_by_query_count(query: $query) }"
# Oldest first: a new stone then comes last and shifts no page that was read.
_SEARCH: Final = f"""query Search($query: DiamondQuery!, $offset: Int!, $limit: Int!) {{
  diamonds_by_query(query: $query, offset: $offset, limit: $limit, order: {{type: createdAt, direction: ASC}}) {{
    items {selection()} total_count }} }}"""


class _Count(msgspec.Struct, frozen=True):
    diamonds_by_query_count: int


class _Listing(msgspec.Struct, frozen=True):
    id: object = None


class _Item(msgspec.Struct, frozen=True):
    diamond: _Listing | None = None


class _List(msgspec.Struct, frozen=True):
    # A null list is the vendor's trouble, not an empty page: only an empty list may end a partition.
    items: list[_Item | None]


class _Search(msgspec.Struct, frozen=True):
    diamonds_by_query: _List


_decode_count = msgspec.json.Decoder(_Count).decode
_decode_search = msgspec.json.Decoder(_Search).decode


class NivodaFeed:
    """One of the account's feeds, natural or lab-grown stones; a `Feed`.

    Args:
        info: the feed; `lab_grown` is sent with every query, because what its absence means is disputed.
        session: the account, shared by its feeds.
        budget: the probe of `prepare` takes its grants here.
    """

    page_size = PAGE_SIZE
    schema = VENDOR_ITEM_VERSION

    def __init__(self, info: FeedInfo, session: Session, budget: Budget) -> None:
        self.name = info.name
        self._lab_grown = info.lab_grown
        self._session = session
        self._budget = budget
        self._money_unit = 1

    async def prepare(self, priority: Priority) -> int:
        """Log in, read the vendor's clock, and find out whether its money filters count dollars or cents."""
        low, clock_ms = await self._probe(1_000, priority)
        high, _ = await self._probe(100_000, priority)
        # In cents the first range would end at 10 dollars a carat, below every stone there is.
        self._money_unit = 100 if low * 50 < high else 1
        log.info("vendor.probed", feed=self.name, money_unit=self._money_unit, below=low, all=high)
        return clock_ms

    async def count(self, part: Slice, grant: Grant) -> int:
        """Stones in a slice as the vendor counts them."""
        return (await self._count(self._filter(part), grant))[0]

    async def search(self, part: Slice, page: int, grant: Grant) -> Page:
        """One page of a slice in the order of its stones' creation."""
        variables = {"query": self._filter(part), "offset": page * PAGE_SIZE, "limit": PAGE_SIZE}
        reply = await self._session.ask(grant, "search", _SEARCH, variables)
        try:
            items = _decode_search(reply.data).diamonds_by_query.items
        except msgspec.ValidationError as error:
            raise Retriable(f"the vendor's page is not one ({error})") from error
        return Page(reply.body, tuple(map(_vendor_id, items)), reply.partial)

    async def _probe(self, dollars_per_carat_to: int, priority: Priority) -> tuple[int, int]:
        await self._session.log_in()
        query = self._base() | {"dollar_per_carat": {"from": 0, "to": dollars_per_carat_to}}
        with await self._budget.grant(priority) as grant:
            return await self._count(query, grant)

    async def _count(self, query: dict[str, Any], grant: Grant) -> tuple[int, int]:
        reply = await self._session.ask(grant, "count", _COUNT, {"query": query})
        try:
            counted = _decode_count(reply.data).diamonds_by_query_count
        except msgspec.ValidationError as error:
            raise Retriable(f"the vendor's count is not one ({error})") from error
        return counted, _clock_ms(reply)

    def _base(self) -> dict[str, Any]:
        return {"labgrown": self._lab_grown, "availability": ["AVAILABLE"]}

    def _filter(self, part: Slice) -> dict[str, Any]:
        low, high = part.dollars_per_carat
        unit = self._money_unit
        # Inclusive whole units: [10, 19] dollars are [1000, 1999] cents, so that neighbours neither overlap nor gap.
        upper = NO_UPPER_END if high >= NO_UPPER_END // unit else high * unit + unit - 1
        query = self._base() | {"dollar_per_carat": {"from": low * unit, "to": upper}}
        if part.gone:
            query["availability"] = list(_GONE)
        if part.carats:
            query["sizes"] = [{"from": part.carats[0], "to": part.carats[1]}]
        if part.shapes:
            query["shapes"] = list(part.shapes)
        if part.updated_from_ms is not None:
            query["updated"] = {"from": _iso(part.updated_from_ms)}
        return query


def _vendor_id(item: _Item | None) -> str | None:
    identity = item.diamond.id if item and item.diamond else None
    return identity if isinstance(identity, str) else None


def _clock_ms(reply: Reply) -> int:
    if reply.vendor_clock_ms is None:
        raise Retriable("the vendor's reply has no Date header to tell its clock by")
    return reply.vendor_clock_ms


def _iso(epoch_ms: int) -> str:
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
