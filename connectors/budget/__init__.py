"""The one budget of a vendor's account: how many requests it sees in any second, whoever asks and whatever for."""

from connectors.budget.breaker import Breaker, BreakerState
from connectors.budget.budget import LIMIT, Budget
from connectors.budget.grant import MARGIN_S, MAX_GRANT_AGE_S, WINDOW_S, Grant, Priority, StaleGrant, TooLate

__all__ = [
    "LIMIT",
    "MARGIN_S",
    "MAX_GRANT_AGE_S",
    "WINDOW_S",
    "Breaker",
    "BreakerState",
    "Budget",
    "Grant",
    "Priority",
    "StaleGrant",
    "TooLate",
]
