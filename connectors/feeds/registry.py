"""Which feeds this process reads and who speaks for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from connectors.alerts import Alerts
from connectors.budget import Budget
from connectors.budget.metrics import BudgetMetrics
from connectors.feeds.demo.client import DemoFeed
from connectors.feeds.http import LIMITS, TIMEOUT
from connectors.feeds.nivoda.client import NivodaFeed
from connectors.feeds.nivoda.session import Session
from connectors.feeds.protocol import Feed
from runtime.settings import DemoSettings, FeedsSettings, Settings
from schemas.feeds import DEMO, FEEDS, STANDARD


@dataclass(frozen=True, slots=True)
class Account:
    """An account with a vendor: one budget, spent by all of its feeds."""

    name: str
    budget: Budget
    feeds: tuple[Feed, ...]


@asynccontextmanager
async def open_accounts(
    settings: Settings, epoch: int, lease_holds: Callable[[], bool], alerts: Alerts
) -> AsyncIterator[list[Account]]:
    """Every vendor account of the feeds that this installation reads, connections open until the block is left.

    Args:
        settings: the groups feeds, vendor and demo.
        epoch: of the lease, first part of every seq.
        lease_holds: whether the lease is proven; asked at each write.
        alerts: told of bans, outages and refused logins.
    """
    names = settings[FeedsSettings].names

    def budget(account: str, per_second: int) -> Budget:
        return Budget(epoch, per_second, account=account, lease_holds=lease_holds, alerts=alerts)

    async with httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS) as http:
        accounts = []
        if of_nivoda := [FEEDS[name] for name in names if name in STANDARD]:
            spent = budget("nivoda", settings.vendor.requests_per_second)
            session = Session(settings.vendor, spent, http, alerts)
            feeds = tuple(NivodaFeed(info, session, spent) for info in of_nivoda)
            accounts.append(Account("nivoda", spent, feeds))
        if DEMO in names:
            own = settings[DemoSettings]
            spent = budget("demo", own.requests_per_second)
            accounts.append(Account("demo", spent, (DemoFeed(FEEDS[DEMO], own, spent, http, alerts),)))
        with BudgetMetrics([account.budget for account in accounts]):
            yield accounts
