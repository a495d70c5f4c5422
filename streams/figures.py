"""What `process` says about itself at `/metrics`."""

from __future__ import annotations

from typing import Final

from runtime.metrics import counter, gauge

ITEMS: Final = counter("adamas_process_items_total")
LAG: Final = gauge("adamas_process_lag_records")
RULES_VERSION: Final = gauge("adamas_process_rules_version")
DELIVERY_FAILURES: Final = counter("adamas_process_delivery_failures_total")
REPRICED: Final = counter("adamas_process_repriced_total")
REPRICE_LEFT: Final = gauge("adamas_process_reprice_left")
REPRICE_UNREAD: Final = gauge("adamas_process_reprice_unread")
BACKGROUND_HELD: Final = counter("adamas_process_background_held_seconds_total")
REPAIRED: Final = counter("adamas_process_repaired_total")
UNKNOWN_VALUES: Final = gauge("adamas_process_unknown_values")
KNOWN_STONES: Final = gauge("adamas_process_known_stones")
