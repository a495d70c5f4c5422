"""The budget's metrics. They are read from the budget when somebody asks, and cost nothing in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

from connectors.budget.breaker import BreakerState
from connectors.budget.budget import Budget
from connectors.budget.grant import Priority
from runtime.metrics import counter_family, gauge_family

QUANTILES: Final = (0.5, 0.95, 0.99)


class BudgetMetrics(Collector):
    """Of the budgets of this process."""

    def __init__(self, budgets: list[Budget]) -> None:
        self._budgets = budgets

    def __enter__(self) -> None:
        REGISTRY.register(self)

    def __exit__(self, *_: object) -> None:
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """Depth, waits, use and throttles by class; state of the breaker."""
        used = gauge_family("adamas_budget_used_ratio")
        depth = gauge_family("adamas_budget_waiting")
        waits = gauge_family("adamas_budget_wait_seconds")
        throttles = counter_family("adamas_budget_throttled_total")
        breaker = gauge_family("adamas_budget_breaker")
        for budget in self._budgets:
            now = budget.now()
            for priority in Priority:
                labels = [budget.account, priority.label]
                used.add_metric(labels, budget.use_of(priority))
                depth.add_metric(labels, budget.depth(priority))
                throttles.add_metric(labels, budget.throttles[priority])
                for quantile in QUANTILES:
                    wait_s = budget.figures.wait_s(priority, quantile, now)
                    waits.add_metric([*labels, f"{quantile:g}"], wait_s)
            for state in BreakerState:
                breaker.add_metric([budget.account, state.value], float(budget.breaker.state is state))
        return iter((used, depth, waits, throttles, breaker))
