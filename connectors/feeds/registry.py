"""Which feeds this process reads and who speaks for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from connectors.alerts import Alerts
from connectors.budget import Budget
from connectors.budget.metrics import BudgetMetrics
from connectors.feeds.http import LIMITS, TIMEOUT
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import Session
from connectors.feeds.protocol import Feed
from runtime.settings import VendorSettings
from schemas.feeds import FEEDS


@dataclass(frozen=True, slots=True)
class Account:
    """An account with a vendor: one budget, spent by all of its feeds."""

    name: str
    budget: Budget
    feeds: tuple[Feed, ...]


@asynccontextmanager
async def open_accounts(
    settings: VendorSettings, epoch: int, lease_holds: Callable[[], bool], alerts: Alerts
) -> AsyncIterator[list[Account]]:
    """Every vendor account, with its connections open until the block is left."""
    budget = Budget(
        epoch, settings.requests_per_second, account="nivoda", lease_holds=lease_holds, alerts=alerts
    )
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS) as http:
        session = Session(settings, budget, http)
        feeds = tuple(NivodaFeed(info, session, budget) for info in FEEDS.values())
        with BudgetMetrics([budget]):
            yield [Account("nivoda", budget, feeds)]
