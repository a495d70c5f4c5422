"""What `process` says about itself at `/metrics`."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

ITEMS: Final = Counter(
    "adamas_process_items", "Items of pages that the worker is done with, by outcome", ["feed", "outcome"]
)
LAG: Final = Gauge("adamas_process_lag_records", "Raw records of owned feeds that are not acknowledged yet")
RULES_VERSION: Final = Gauge(
    "adamas_process_rules_version", "Number of the rule set that new prices are made under"
)
DELIVERY_FAILURES: Final = Counter("adamas_process_delivery_failures", "Records that Kafka did not take")
REPRICED: Final = Counter("adamas_process_repriced", "Stones written again under a newer rule set", ["feed"])
REPAIRED: Final = Counter(
    "adamas_process_repaired", "Stones appended again after an older record overtook them"
)
UNKNOWN_VALUES: Final = Gauge(
    "adamas_process_unknown_values",
    "Values outside the vendor's vocabulary since the start",
    ["feed", "field"],
)
KNOWN_STONES: Final = Gauge("adamas_process_known_stones", "Stones in the owner's memory")
