"""A plain stone for tests: `make_stone(shape="OVAL")` is the default one with another shape."""

from datetime import UTC, datetime
from typing import Any

from schemas.stone import Availability, Cause, Stone

DEFAULTS: dict[str, Any] = {
    "cost_cents": 100_000,
    "offer_id": "DIAMOND/1",
    "id": "nivoda-natural:1",
    "feed": "nivoda-natural",
    "shape": "ROUND",
    "carat": 1.01,
    "lab_grown": False,
    "availability": Availability.AVAILABLE,
    "price_cents": 140_000,
    "rule": "base:natural",
    "rules_version": 1,
    "updated_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "seq": (1 << 40) + 1,
    "mapper_version": 1,
    "content_hash": "0" * 16,
    "cause": Cause.NEW,
    "margin_bps": 4_000,
    "raw_offset": 0,
}


def make_stone(**changes: Any) -> Stone:
    """A stone with every required field set; `changes` override."""
    return Stone(**(DEFAULTS | changes))
