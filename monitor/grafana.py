"""Grafana's boards: each a list of panels, drawn with the targets as thresholds. `make docs` writes them as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from schemas.targets import TARGETS

_COLUMNS: Final = 24
_WIDTH: Final = 12
_HEIGHT: Final = 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart.

    Attributes:
        queries: PromQL by legend.
        unit: Grafana's name of the unit.
        target: a line drawn at this value: over it (or `under`) is red.
    """

    title: str
    queries: dict[str, str]
    unit: str = "short"
    target: float | None = None
    under: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A board: `name` is its file and its uid."""

    name: str
    title: str
    panels: tuple[Panel, ...]


_REQUESTS: Final = "adamas_http_requests_total"


def _errors(window: str) -> str:
    # Without any error there is no series of them, and the share is 0, not unknown.
    errors = f'(sum(increase({_REQUESTS}{{status=~"5.."}}[{window}])) or vector(0))'
    return f"{errors} / sum(increase({_REQUESTS}[{window}]))"


BOARDS: Final = (
    Board(
        "pipeline",
        "Adamas: pipeline",
        (
            Panel("Fetched", {"{{feed}}": "sum by (feed) (rate(adamas_ingest_stones_total[1m]))"}, "cps"),
            Panel(
                "Priced, by outcome",
                {"{{outcome}}": "sum by (outcome) (rate(adamas_process_items_total[1m]))"},
                "cps",
            ),
            Panel("Written to Postgres", {"rows": "sum(rate(adamas_sink_rows_total[1m]))"}, "cps"),
            Panel(
                "Stones",
                {
                    "in memory of the API": "min(adamas_api_stones)",
                    "known to process": "max(adamas_process_known_stones)",
                },
            ),
            Panel("Dead letters", {"{{state}}": "sum by (state) (adamas_monitor_dead_letters)"}, target=0),
            Panel("Processes that answer", {"{{process}}": "min by (process) (adamas_monitor_member_up)"}),
            Panel("Open events", {"open": "sum(adamas_monitor_open_events) or vector(0)"}),
            Panel("Undelivered notifications", {"undelivered": "max(adamas_monitor_undelivered)"}, target=0),
        ),
    ),
    Board(
        "lag",
        "Adamas: lag",
        (
            Panel("Records behind", {"{{group}}": "max by (group) (kafka_consumergroup_group_sum_lag)"}),
            Panel(
                "Seconds behind",
                {"{{group}}": "max by (group) (kafka_consumergroup_group_max_lag_seconds)"},
                "s",
                TARGETS.lag_s,
            ),
            Panel(
                "Records behind, by partition",
                {"{{group}} {{topic}}/{{partition}}": "kafka_consumergroup_group_lag"},
            ),
            Panel(
                "Seconds behind, by partition",
                {"{{group}} {{topic}}/{{partition}}": "kafka_consumergroup_group_lag_seconds"},
                "s",
                TARGETS.lag_s,
            ),
            Panel(
                "Seconds without movement",
                {"{{group}} {{topic}}/{{partition}}": "adamas_monitor_still_seconds"},
                "s",
                TARGETS.still_stalled_s,
            ),
            Panel(
                "Status (0 OK, 1 WARN, 2 STALLED)", {"{{group}}": "adamas_monitor_group_status"}, target=1.5
            ),
            Panel("Caught up in", {"{{group}}": "adamas_monitor_group_catches_up_seconds"}, "s"),
            Panel("Members", {"{{group}}": "adamas_monitor_group_members"}),
            Panel(
                "Records written",
                {"{{topic}}": "sum by (topic) (rate(kafka_partition_latest_offset[1m]))"},
                "cps",
            ),
            Panel(
                "Sink: seconds behind, and where compaction comes near",
                {"sink": 'max(kafka_consumergroup_group_max_lag_seconds{group="adamas-sink"})'},
                "s",
                TARGETS.sink_lag_limit_s,
            ),
        ),
    ),
    Board(
        "budget",
        "Adamas: vendor budget",
        (
            Panel(
                "In use, by class",
                {"{{priority}}": "sum by (priority) (adamas_budget_used_ratio)"},
                "percentunit",
            ),
            Panel(
                "In use",
                {"all classes": "sum(adamas_budget_used_ratio)"},
                "percentunit",
                TARGETS.budget_used,
                under=True,
            ),
            Panel("Waiting, by class", {"{{priority}}": "sum by (priority) (adamas_budget_waiting)"}),
            Panel(
                "Requests",
                {"{{operation}}": "sum by (operation) (rate(adamas_vendor_requests_total[1m]))"},
                "reqps",
            ),
            Panel("Breaker", {"{{state}}": "max by (state) (adamas_budget_breaker)"}),
            Panel(
                "Trouble",
                {"{{cause}}": "sum by (cause) (rate(adamas_vendor_trouble_total[5m])) or vector(0)"},
                "cps",
            ),
        ),
    ),
    Board(
        "runs",
        "Adamas: runs and ledger",
        (
            Panel(
                "Runs of the last 7 days",
                {"{{feed}} {{kind}} {{state}}": "sum by (feed, kind, state) (adamas_monitor_runs)"},
            ),
            Panel("Under way", {"{{feed}}": "max by (feed) (adamas_ingest_run_active)"}),
            Panel(
                "The last full sweep: fetched, and what the vendor counted",
                {
                    "{{feed}} fetched": "sum by (feed) (adamas_ingest_swept_stones)",
                    "{{feed}} counted": "max by (feed) (adamas_ingest_expected_stones)",
                },
            ),
            Panel("Outcomes of items", {"{{outcome}}": "sum by (outcome) (adamas_process_items_total)"}),
            Panel(
                "Failed, partial, unbalanced",
                {
                    "{{kind}}": 'sum by (kind) (adamas_monitor_open_events{kind=~"RunFailed|RunUnbalanced"})'
                    " or vector(0)",
                    # It does not last, so it is never open.
                    "RunPartial, last hour": 'sum(adamas_monitor_recent_events{kind="RunPartial"}) or vector(0)',
                },
                target=0,
            ),
            Panel("Pages", {"{{feed}}": "sum by (feed) (rate(adamas_ingest_pages_total[1m]))"}, "cps"),
        ),
    ),
    Board(
        "api-slo",
        f"Adamas: API, {TARGETS.api_availability:.2%} of answers",
        (
            Panel("Answers", {"{{status}}": f"sum by (status) (rate({_REQUESTS}[1m]))"}, "reqps"),
            Panel(
                "Errors of ours",
                {"share of the last hour": _errors("1h")},
                "percentunit",
                TARGETS.error_budget,
            ),
            Panel(
                "Burn rate: 1 uses up the error budget in 30 days",
                {
                    window: f"({_errors(window)}) / {TARGETS.error_budget:g}"
                    for window in ("5m", "30m", "1h", "6h")
                },
                target=14.4,
            ),
            Panel(
                "Answer time",
                {
                    f"p{percent} {{{{route}}}}": f"histogram_quantile({percent / 100}, sum by (route, le)"
                    " (rate(adamas_http_seconds_bucket[5m])))"
                    for percent in (50, 99)
                },
                "s",
                TARGETS.api_p99_ms / 1000,
            ),
            Panel(
                "Refused keys",
                {"401, 403": f'sum(increase({_REQUESTS}{{status=~"401|403"}}[5m])) or vector(0)'},
            ),
        ),
    ),
    Board(
        "freshness",
        "Adamas: freshness",
        (
            Panel(
                "Age of a feed's data",
                {"{{feed}}": "time() - min by (feed) (adamas_api_position_timestamp_seconds)"},
                "s",
                TARGETS.fresh_s,
            ),
            Panel("API: records behind", {"{{instance}}": "adamas_api_lag_records"}),
            Panel("Rule set that prices are made under", {"number": "max(adamas_process_rules_version)"}),
        ),
    ),
)


def boards() -> dict[str, str]:
    """Every board's file below `observability/`, and its JSON."""
    return {f"grafana/{board.name}.json": json.dumps(_board(board), indent=1) + "\n" for board in BOARDS}


def _board(board: Board) -> dict[str, Any]:
    return {
        "uid": f"adamas-{board.name}",
        "title": board.title,
        "tags": ["adamas"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(board.panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    per_row = _COLUMNS // _WIDTH
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": {
            "x": number % per_row * _WIDTH,
            "y": number // per_row * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, **_threshold(panel)}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _threshold(panel: Panel) -> dict[str, Any]:
    if panel.target is None:
        return {}
    good, bad = ("red", "green") if panel.under else ("green", "red")
    steps = [{"color": good, "value": None}, {"color": bad, "value": panel.target}]
    return {
        "thresholds": {"mode": "absolute", "steps": steps},
        "custom": {"thresholdsStyle": {"mode": "dashed"}},
    }
