"""What ingest counts."""

from typing import Final

from prometheus_client import Counter, Gauge

STONES: Final = Counter("adamas_ingest_stones", "Items in pages that are in the raw log.", ["feed"])
PAGES: Final = Counter("adamas_ingest_pages", "Pages that are in the raw log.", ["feed"])
BUDGET_USED: Final = Gauge("adamas_budget_used_ratio", "Share of the vendor budget used in the last 10 s.")
EXPECTED: Final = Gauge(
    "adamas_ingest_expected_stones", "Stones the vendor counted for the last plan.", ["feed"]
)
RUN_ACTIVE: Final = Gauge("adamas_ingest_run_active", "1 while a run of the feed is under way.", ["feed"])
RETRIES: Final = Counter("adamas_ingest_retries", "Requests and deliveries tried again.", ["feed", "cause"])
