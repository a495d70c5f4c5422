"""Pages of the simulated vendor's stock, rendered in this process: what the wire would carry, without the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from connectors.simulator.execute import Executor
from connectors.simulator.resolve import Asking
from connectors.simulator.settings import SimulatorSettings
from connectors.simulator.vendor import Vendor
from schemas.feeds import FEEDS, STANDARD
from schemas.vendor import selection

PAGE_SIZE: Final = 50
_SEARCH: Final = f"""query Search($query: DiamondQuery!, $offset: Int!, $limit: Int!) {{
  diamonds_by_query(query: $query, offset: $offset, limit: $limit, order: {{type: createdAt, direction: ASC}}) {{
    items {selection()} total_count }} }}"""


def page_bodies(stones: int, seed: int, bad_share: float = 0.003) -> Iterator[tuple[str, bytes]]:
    """Every page of a stock of `stones` stones as (feed, the reply's body), feed by feed, in the vendor's order."""
    vendor = Vendor(SimulatorSettings(stones=stones, seed=seed, bad_share=bad_share, huge_comments=False))
    vendor.faults.set({"offset_uncapped": {"probability": 1}})
    login = vendor.tokens.log_in(vendor.settings.username, vendor.settings.password.get_secret_value())
    asking, executor = Asking(vendor, login["token"]), Executor()
    for feed in map(FEEDS.__getitem__, STANDARD):
        query = {"labgrown": feed.lab_grown, "availability": ["AVAILABLE"]}
        offset = 0
        while True:
            window = {"query": query, "offset": offset, "limit": PAGE_SIZE}
            body = executor.answer(asking, _SEARCH, window, None).body
            if not body["data"]["diamonds_by_query"]["items"]:
                break
            yield feed.name, json.dumps(body, separators=(",", ":")).encode()
            offset += PAGE_SIZE
