"""What ingest counts."""

from typing import Final

from runtime.metrics import counter, gauge

STONES: Final = counter("adamas_ingest_stones_total")
PAGES: Final = counter("adamas_ingest_pages_total")
SWEPT: Final = gauge("adamas_ingest_swept_stones")
EXPECTED: Final = gauge("adamas_ingest_expected_stones")
RUN_ACTIVE: Final = gauge("adamas_ingest_run_active")
RETRIES: Final = counter("adamas_ingest_retries_total")
