"""The one list of metrics. Modules make theirs by name from it (`runtime.metrics`); boards, rules and docs read it.

Names are those that stand at `/metrics`. No stone, run or key is ever a label: a label has a handful of values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Type(StrEnum):
    """Prometheus' metric types that we use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: as at `/metrics`; a counter's ends in `_total`.
        type: what it does over time.
        unit: what is counted or measured.
        meaning: in a sentence.
        labels: its labels.
        buckets: upper bounds of a histogram's buckets, in its unit.
    """

    name: str
    type: Type
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def process(self) -> str:
        """Who tells it: the name's second word; what Kafka's own dashboards call otherwise is the monitor's."""
        prefix, word, _ = self.name.split("_", 2)
        return _PROCESSES.get(word, word) if prefix == "adamas" else "monitor"


_PROCESSES: Final = {"budget": "ingest", "vendor": "ingest", "http": "api"}
_CLASS: Final = ("account", "priority")
_PLACE: Final = ("cluster_name", "group", "topic", "partition")


def _counter(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Type.COUNTER, unit, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(name, Type.GAUGE, unit, meaning, labels)


_INGEST: Final = (
    _counter(
        "adamas_ingest_stones_total",
        "items",
        "Items in pages that are in the raw log; of a page read again, those that it has more.",
        "feed",
    ),
    _counter("adamas_ingest_pages_total", "pages", "Pages that are in the raw log.", "feed"),
    _gauge(
        "adamas_ingest_swept_stones",
        "items",
        "Items of the last full sweep that are in the raw log; a stone that moved to another page is in both.",
        "feed",
    ),
    _gauge(
        "adamas_ingest_expected_stones",
        "stones",
        "Stones the vendor counted for the last full sweep; NaN until it has counted.",
        "feed",
    ),
    _gauge("adamas_ingest_run_active", "0 or 1", "1 while a run of the feed is under way.", "feed"),
    _counter("adamas_ingest_retries_total", "calls", "Requests and deliveries tried again.", "feed", "cause"),
    _counter("adamas_ingest_pages_too_large_total", "pages", "Pages over Kafka's record limit.", "feed"),
    _gauge(
        "adamas_budget_used_ratio", "0 to 1", "Share of the vendor budget used in the last 10 s.", *_CLASS
    ),
    _gauge("adamas_budget_waiting", "requests", "Requests that wait for their turn.", *_CLASS),
    _gauge(
        "adamas_budget_wait_seconds",
        "seconds",
        "From asking to writing, quantiles over the last 5 min.",
        *_CLASS,
        "quantile",
    ),
    _counter(
        "adamas_budget_throttled_total",
        "replies",
        "Answers of the vendor (429) that asked for fewer requests.",
        *_CLASS,
    ),
    _gauge("adamas_budget_breaker", "0 or 1", "1 for the state of the circuit breaker.", "account", "state"),
    _counter("adamas_vendor_requests_total", "requests", "Requests written to the vendor.", "operation"),
    _counter("adamas_vendor_trouble_total", "replies", "Vendor replies that were no answer.", "cause"),
)
_PROCESS: Final = (
    _counter(
        "adamas_process_items_total",
        "items",
        "Items of pages that the worker is done with.",
        "feed",
        "outcome",
    ),
    _gauge(
        "adamas_process_lag_records", "records", "Raw records of owned feeds that are not acknowledged yet."
    ),
    _gauge("adamas_process_rules_version", "number", "The rule set that new prices are made under."),
    _counter("adamas_process_delivery_failures_total", "records", "Records that Kafka did not take."),
    _counter(
        "adamas_process_repriced_total", "stones", "Stones written again under a newer rule set.", "feed"
    ),
    _gauge(
        "adamas_process_reprice_left",
        "stones",
        "Stones of owned feeds that the newest rule set has not been tried on yet.",
    ),
    _gauge(
        "adamas_process_reprice_unread",
        "stones",
        "Stones that are not among the columns yet by which a rule set is tried on all at once.",
    ),
    _counter(
        "adamas_process_background_held_seconds_total",
        "s",
        "Time for which re-pricing and replays waited for a reader of the canonical topic to come nearer.",
        "reader",
    ),
    _counter(
        "adamas_process_repaired_total",
        "stones",
        "Stones appended again after an older record overtook them.",
    ),
    _gauge(
        "adamas_process_unknown_values",
        "values",
        "Values outside the vendor's vocabulary so far.",
        "feed",
        "field",
    ),
    _gauge("adamas_process_known_stones", "stones", "Stones in stock that the worker knows, priced."),
)
_SINK: Final = (
    _counter("adamas_sink_rows_total", "rows", "Rows inserted, changed or retired in Postgres."),
    _counter("adamas_sink_refused_total", "records", "Canonical records that went to the dead letters."),
    _gauge("adamas_sink_lag_records", "records", "Canonical records not yet in Postgres."),
)
_API: Final = (
    _gauge("adamas_api_stones", "stones", "Stones in memory, available or not."),
    _counter("adamas_api_unreadable_total", "records", "Canonical records that were skipped."),
    _gauge("adamas_api_lag_records", "records", "Canonical records not yet in memory."),
    _gauge(
        "adamas_api_position_timestamp_seconds",
        "epoch seconds",
        "Until when the vendor's changes of a feed are in memory.",
        "feed",
    ),
    _counter("adamas_http_requests_total", "requests", "Requests answered.", "route", "status"),
    Metric(
        "adamas_http_seconds",
        Type.HISTOGRAM,
        "seconds",
        "From a request's first byte to its answer's last.",
        ("route",),
        (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0),
    ),
)
_MONITOR: Final = (
    _gauge("adamas_monitor_kafka_up", "0 or 1", "1 while Kafka answers the monitor."),
    _gauge("adamas_monitor_postgres_up", "0 or 1", "1 while Postgres answers the monitor."),
    _gauge("adamas_monitor_member_up", "0 or 1", "1 while the process answers at /metrics.", "process"),
    _gauge("adamas_monitor_open_events", "events", "Events that last.", "kind", "severity"),
    _gauge("adamas_monitor_recent_events", "events", "Events of the last hour that do not last.", "kind"),
    _gauge("adamas_monitor_undelivered", "notices", "Notifications of the last day that reached nobody."),
    _counter("adamas_monitor_deliveries_total", "attempts", "Attempts to notify.", "channel", "delivered"),
    _gauge(
        "adamas_monitor_runs",
        "runs",
        "Runs of the last 7 days by the state they are in.",
        "feed",
        "kind",
        "state",
    ),
    _gauge("adamas_monitor_dead_letters", "letters", "Dead letters that nobody has settled.", "state"),
    _gauge(
        "adamas_monitor_uncommitted_records",
        "records",
        "Records of a partition that its group never committed in.",
        *_PLACE,
    ),
    _gauge(
        "adamas_monitor_still_seconds",
        "seconds",
        "How long the committed offset has not moved while records wait; 0 while none do.",
        *_PLACE,
    ),
    _gauge("adamas_monitor_group_members", "members", "Members of the group.", "cluster_name", "group"),
    _gauge("adamas_monitor_group_status", "0 to 2", "0 OK, 1 WARN, 2 STALLED.", "cluster_name", "group"),
    _gauge(
        "adamas_monitor_group_catches_up_seconds",
        "seconds",
        "When the group will have caught up at its pace; no series while it does not come nearer.",
        "cluster_name",
        "group",
    ),
    _gauge("kafka_consumergroup_group_offset", "offset", "The group's committed offset.", *_PLACE),
    _gauge(
        "kafka_partition_latest_offset",
        "offset",
        "The partition's end offset.",
        "cluster_name",
        "topic",
        "partition",
    ),
    _gauge(
        "kafka_consumergroup_group_lag", "records", "Records behind the group's committed offset.", *_PLACE
    ),
    _gauge(
        "kafka_consumergroup_group_lag_seconds",
        "seconds",
        "Age of the oldest record not read, by the record's own timestamp; 0 without lag.",
        *_PLACE,
    ),
    _gauge(
        "kafka_consumergroup_group_max_lag",
        "records",
        "The group's largest lag of a partition.",
        "cluster_name",
        "group",
    ),
    _gauge(
        "kafka_consumergroup_group_max_lag_seconds",
        "seconds",
        "The group's largest lag of a partition in seconds.",
        "cluster_name",
        "group",
    ),
    _gauge(
        "kafka_consumergroup_group_sum_lag",
        "records",
        "The group's lag over all partitions.",
        "cluster_name",
        "group",
    ),
)

METRICS: Final[dict[str, Metric]] = {
    metric.name: metric for metric in (*_INGEST, *_PROCESS, *_SINK, *_API, *_MONITOR)
}
"""Every metric by its name."""


def metrics_page(metrics: Iterable[Metric] = METRICS.values()) -> str:
    """The list as a Markdown page."""
    lines = [
        "# Metrics",
        "",
        "Generated from `schemas/metrics.py` by `make docs`. Every process serves its own at `/metrics`.",
        "",
        "| metric | process | type | unit | labels | meaning |",
        "|---|---|---|---|---|---|",
    ]
    for metric in metrics:
        labels = ", ".join(metric.labels)
        lines.append(
            f"| `{metric.name}` | {metric.process} | {metric.type} | {metric.unit} | {labels} | {metric.meaning} |"
        )
    return "\n".join(lines) + "\n"
