"""The list of metrics is closed: nobody makes one past it."""

import ast
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from runtime.metrics import counter, gauge, gauge_family
from schemas.metrics import METRICS, Type, metrics_page

ROOT = Path(__file__).parents[3]
FOLDERS = ("schemas", "connectors", "streams", "api", "monitor", "runtime")


def test_only_one_module_makes_metrics() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("prometheus_client")
        and {alias.name for alias in node.names}
        & {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    }
    assert makers == {"runtime/metrics.py"}, (
        "list the metric in schemas/metrics.py and make it by runtime.metrics"
    )


def test_names_follow_their_type_and_no_label_names_a_stone() -> None:
    for metric in METRICS.values():
        assert (metric.type is Type.COUNTER) == metric.name.endswith("_total"), metric.name
        assert bool(metric.buckets) == (metric.type is Type.HISTOGRAM), metric.name
        assert not {"stone", "stone_id", "id", "run", "key"} & set(metric.labels), metric.name
        assert f"`{metric.name}`" in metrics_page()


def test_a_metric_stands_under_the_name_of_the_list() -> None:
    registry = CollectorRegistry()
    counter("adamas_ingest_stones_total", registry).labels("a").inc(3)
    gauge("adamas_api_stones", registry).set(4)
    text = generate_latest(registry).decode()
    assert 'adamas_ingest_stones_total{feed="a"} 3.0' in text
    assert "adamas_api_stones 4.0" in text


def test_what_is_not_listed_cannot_be_made() -> None:
    registry = CollectorRegistry()
    with pytest.raises(KeyError, match=r"schemas/metrics\.py"):
        counter("adamas_ingest_unheard_of_total", registry)
    with pytest.raises(KeyError, match="lists no counter"):
        counter("adamas_api_stones", registry)
    with pytest.raises(KeyError):
        gauge_family("adamas_ingest_stones_total")
