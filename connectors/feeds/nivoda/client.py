"""Nivoda's two feeds: the queries they send and how their replies are read."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import structlog

from connectors.budget import Budget, Grant, Priority
from connectors.feeds.nivoda.probe import probe
from connectors.feeds.nivoda.ranges import Ask, take_whole_dollars
from connectors.feeds.nivoda.session import NoData, Reply, Session
from connectors.feeds.nivoda.vocabulary import AVAILABILITIES
from connectors.feeds.protocol import (
    NO_UPPER_END,
    Ambiguous,
    Gone,
    Hold,
    Page,
    Refused,
    Sighting,
    Slice,
)
from connectors.feeds.table import word
from schemas.errors import Retriable
from schemas.feeds import FeedInfo
from schemas.gateway import Finding
from schemas.stone import Availability
from schemas.vendor import VENDOR_ITEM_VERSION, selection

log = structlog.stdlib.get_logger(__name__)

PAGE_SIZE: Final = 50
"""The vendor's largest page."""

ReplyT = TypeVar("ReplyT")

_GONE: Final = ("HOLD", "MEMO", "CONSIGNMENT", "SOLD", "NOT_AVAILABLE", "ON_HOLD", "ON_MEMO", "SOLD_OUT")

_COUNT: Final = "query Count($query: DiamondQuery!) { diamonds_by_query_count(query: $query) }"
# Oldest first: a new stone then comes last and shifts no page that was read.
_SEARCH: Final = f"""query Search($query: DiamondQuery!, $offset: Int!, $limit: Int!) {{
  diamonds_by_query(query: $query, offset: $offset, limit: $limit, order: {{type: createdAt, direction: ASC}}) {{
    items {selection()} total_count }} }}"""


_STONE: Final = f"""query Stone($id: ID!) {{
  get_diamond_by_id(diamond_id: $id) {selection().replace("diamond {", "diamond { HoldId", 1)} }}"""
_HOLD: Final = """mutation Hold($id: ID!) {
  create_hold(ProductId: $id, ProductType: Diamond) { id denied until } }"""
_RELEASE: Final = "mutation Release($id: ID!) { cancel_hold(hold_id: $id) { id } }"
_ORDER: Final = "mutation Order($items: [OrderItemInput!]!) { create_order(items: $items) }"


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


class _Held(msgspec.Struct, frozen=True):
    id: str
    denied: bool | None = None
    until: float | str | None = None


class _NewHold(msgspec.Struct, frozen=True):
    create_hold: _Held | None = None


class _NewOrder(msgspec.Struct, frozen=True):
    create_order: str | None


class _Shown(msgspec.Struct, frozen=True):
    availability: str | None = None
    HoldId: str | None = None


class _Offer(msgspec.Struct, frozen=True):
    diamond: _Shown


class _Stone(msgspec.Struct, frozen=True):
    get_diamond_by_id: _Offer | None = None


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
        self.offset_cap = session.settings.offset_cap
        self._lab_grown = info.lab_grown
        self._session = session
        self._budget = budget
        self._money_unit = 1
        self._whole_dollars = {"whole": True, "exact": False}.get(session.settings.money_ranges)

    async def prepare(self, priority: Priority) -> int:
        """Log in, read the vendor's clock, and find out how its money filters count."""
        low, clock_ms = await self._probe(1_000, priority)
        if self._session.settings.money_unit != "probe":
            self._money_unit = 100 if self._session.settings.money_unit == "cents" else 1
        else:
            high, _ = await self._probe(100_000, priority)
            # In cents the first range would end at 10 dollars a carat, below every stone there is.
            self._money_unit = 100 if low * 50 < high else 1
        if self._whole_dollars is None and self._money_unit == 1:
            self._whole_dollars = await take_whole_dollars(self._asking(priority), self._base())
            log.info(
                "vendor.probed",
                feed=self.name,
                money_unit=self._money_unit,
                whole_dollars=self._whole_dollars,
            )
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

    async def by_id(self, stone: str, grant: Grant) -> Sighting:
        """One stone as it is now."""
        try:
            reply = await self._session.ask(grant, "by_id", _STONE, {"id": stone})
        except NoData as error:
            raise _gone(stone, str(error)) from error
        shown = _read(_Stone, reply, "stone").get_diamond_by_id
        if shown is None:
            raise Gone(stone) if reply.error is None else _gone(stone, reply.error)
        return Sighting(reply.body, _availability(shown.diamond.availability), shown.diamond.HoldId)

    async def hold(self, stone: str, grant: Grant) -> Hold:
        """Have a stone kept for us."""
        try:
            reply = await self._session.change(grant, "hold", _HOLD, {"id": stone})
        except NoData as error:
            raise _gone(stone, str(error)) from error
        held = _read(_NewHold, reply, "hold").create_hold
        if held is None:
            raise _gone(stone, reply.error or "the vendor's reply to the hold has none")
        if held.denied:
            raise Refused("the vendor denies the hold")
        return Hold(held.id, _moment_ms(held.until))

    async def release(self, hold: str, grant: Grant) -> None:
        """End a hold."""
        try:
            error = (await self._session.change(grant, "release", _RELEASE, {"id": hold})).error
        except NoData as no_data:
            error = str(no_data)
        # What is over already is released.
        if error is not None and "not found" not in error.lower():
            raise Ambiguous(error)

    async def order(self, stones: Sequence[str], reference: str, grant: Grant) -> str:
        """Buy stones; our reference stands on the vendor's invoice."""
        items = [{"offerId": f"DIAMOND/{stone}", "customer_order_number": reference} for stone in stones]
        try:
            reply = await self._session.change(grant, "order", _ORDER, {"items": items})
        except NoData as error:
            raise _not_sold(stones, str(error)) from error
        order = _read(_NewOrder, reply, "order").create_order
        if order is None:
            raise _not_sold(stones, reply.error or "the vendor's reply to the order has no id")
        return order

    async def probe(self, priority: Priority) -> list[Finding]:
        """Find out what the vendor leaves unsaid."""
        return await probe(self._asking(priority), self.offset_cap)

    def _asking(self, priority: Priority) -> Ask:
        async def ask(document: str, variables: dict[str, Any]) -> Reply:
            await self._session.log_in()
            with await self._budget.grant(priority) as grant:
                return await self._session.ask(grant, "probe", document, variables)

        return ask

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
        # Both ends belong to a range: [10, 19] and [20, 29] neither overlap nor gap where 19.50 is in the first. Where it
        # is in neither, and in cents, of which a price a carat has parts, neighbours share a bound: twice is no harm.
        shared = 0 if self._whole_dollars and unit == 1 else 1
        upper = NO_UPPER_END if high >= NO_UPPER_END // unit - 1 else (high + 1) * unit - 1 + shared
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


def _read(shape: type[ReplyT], reply: Reply, what: str) -> ReplyT:
    try:
        return msgspec.json.decode(reply.data, type=shape)
    except msgspec.ValidationError as error:
        raise Ambiguous(f"the vendor's {what} is not one ({error})") from error


def _gone(stone: str, error: str) -> Exception:
    """What an error in the place of an answer means: the stone is gone, or nobody knows."""
    return Gone(stone) if "not found" in error.lower() else Ambiguous(error)


def _not_sold(stones: Sequence[str], error: str) -> Exception:
    return Refused(error) if "not available" in error.lower() else _gone(", ".join(stones), error)


def _availability(text: str | None) -> Availability:
    return Availability(AVAILABILITIES.get(word(text or "")) or Availability.UNAVAILABLE)


def _moment_ms(until: float | str | None) -> int | None:
    """The vendor's `until`: milliseconds since 1970, or ISO text."""
    if isinstance(until, str):
        with suppress(ValueError):
            return int(datetime.fromisoformat(until).timestamp() * 1000)
        return None
    return None if until is None else int(until)


def _clock_ms(reply: Reply) -> int:
    if reply.vendor_clock_ms is None:
        raise Retriable("the vendor's reply has no Date header to tell its clock by")
    return reply.vendor_clock_ms


def _iso(epoch_ms: int) -> str:
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
