"""Which feeds this process reads and who speaks for each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from connectors.budget import Budget
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import LIMITS, TIMEOUT, Session
from connectors.feeds.protocol import Feed
from runtime.settings import VendorSettings
from schemas.feeds import FEEDS


@asynccontextmanager
async def open_feeds(settings: VendorSettings, budget: Budget) -> AsyncIterator[list[Feed]]:
    """The feeds of every vendor account, with their connections open until the block is left."""
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS) as http:
        session = Session(settings, budget, http)
        yield [NivodaFeed(info, session, budget) for info in FEEDS.values()]
