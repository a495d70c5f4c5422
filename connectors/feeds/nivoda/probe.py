"""What Nivoda leaves unsaid, found out with a handful of requests: the switches that sources disagree on."""

from __future__ import annotations

from typing import Any

import msgspec

from connectors.feeds.nivoda.ranges import Ask, take_whole_dollars
from connectors.feeds.nivoda.session import NoData
from schemas.errors import Invalid
from schemas.gateway import Finding

_COUNT = "query Count($query: DiamondQuery!) { diamonds_by_query_count(query: $query) }"
_PAGE = """query Page($query: DiamondQuery!, $offset: Int!, $limit: Int!) {
  diamonds_by_query(query: $query, offset: $offset, limit: $limit) { total_count items { id } } }"""
_EVERYTHING = 100_000


class _Counted(msgspec.Struct):
    diamonds_by_query_count: int


class _List(msgspec.Struct):
    total_count: int
    items: list[Any]


class _Listed(msgspec.Struct):
    diamonds_by_query: _List | None = None


async def probe(ask: Ask, offset_cap: int) -> list[Finding]:
    """Ask for each switch, and say what we go by.

    Raises:
        Retriable: the vendor does not answer.
    """
    unit = await _money_unit(ask)
    return [
        unit,
        *([await _whole_dollars(ask)] if unit.found.startswith("dollars") else ()),
        await _labgrown_omitted(ask),
        await _offset_cap(ask, offset_cap),
        *await _limit(ask),
        await _gone(ask),
    ]


async def _money_unit(ask: Ask) -> Finding:
    low = await _count(ask, {"labgrown": False, "dollar_per_carat": {"from": 0, "to": 1_000}})
    high = await _count(ask, {"labgrown": False, "dollar_per_carat": {"from": 0, "to": _EVERYTHING}})
    found = "cents" if low * 50 < high else "dollars"
    return Finding(
        name="money filter unit",
        found=f"{found} ({low} stones below 1 000, {high} below 100 000)",
        we_use="asked anew at the start of each run, unless ADAMAS_VENDOR_MONEY_UNIT says which",
    )


async def _whole_dollars(ask: Ask) -> Finding:
    whole = await take_whole_dollars(ask, {"labgrown": False, "availability": ["AVAILABLE"]})
    return Finding(
        name="ends of money ranges",
        found="199.50 is in [100, 199]" if whole else "199.50 is not in [100, 199], or it cannot be told",
        we_use="found out at the start, unless ADAMAS_VENDOR_MONEY_RANGES says which",
    )


async def _labgrown_omitted(ask: Ask) -> Finding:
    natural, lab = await _count(ask, {"labgrown": False}), await _count(ask, {"labgrown": True})
    omitted = await _count(ask, {})
    meanings = {"natural only": natural, "lab-grown only": lab, "both": natural + lab}
    found = min(meanings, key=lambda name: abs(meanings[name] - omitted))
    return Finding(
        name="labgrown left out",
        found=f"{found} ({omitted} stones; {natural} natural, {lab} lab-grown)",
        we_use="always sent",
    )


async def _offset_cap(ask: Ask, used: int) -> Finding:
    """Whether pages beyond the cap are served."""
    _, refusal = await _page(ask, offset=used + 1, limit=1)
    return Finding(
        name="offset cap",
        found=f"{used} or lower ({refusal})"
        if refusal
        else f"none at {used}: an offset of {used + 1} is served",
        we_use=f"partitions stay below {used} (ADAMAS_VENDOR_OFFSET_CAP)",
    )


async def _limit(ask: Ask) -> list[Finding]:
    listed, refusal = await _page(ask, offset=0, limit=60)
    if listed is None:
        return [Finding(name="limit over 50", found=f"refused ({refusal})", we_use="pages of 50")]
    total = "items in the page" if listed.total_count == len(listed.items) else "something else"
    return [
        Finding(name="limit over 50", found=f"60 asked for, {len(listed.items)} given", we_use="pages of 50"),
        Finding(name="total_count", found=f"{total} ({listed.total_count})", we_use="never read"),
    ]


async def _gone(ask: Ask) -> Finding:
    try:
        gone = await _count(ask, {"labgrown": False, "availability": ["SOLD", "NOT_AVAILABLE", "SOLD_OUT"]})
        found = f"served ({gone} stones)"
    except (Invalid, NoData) as error:
        found = f"refused ({error})"
    return Finding(name="sold stones by availability", found=found, we_use="asked for where it is served")


async def _page(ask: Ask, offset: int, limit: int) -> tuple[_List | None, str | None]:
    """A page, or why there is none: the vendor refuses beside a null as well as instead of data."""
    try:
        reply = await ask(_PAGE, {"query": {"labgrown": True}, "offset": offset, "limit": limit})
    except (Invalid, NoData) as error:
        return None, str(error)
    listed = msgspec.json.decode(reply.data, type=_Listed).diamonds_by_query
    return listed, None if listed else reply.error or "null"


async def _count(ask: Ask, query: dict[str, Any]) -> int:
    return msgspec.json.decode(
        (await ask(_COUNT, {"query": query})).data, type=_Counted
    ).diamonds_by_query_count
