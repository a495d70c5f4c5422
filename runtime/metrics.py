"""Metrics by their name in `schemas.metrics`: whoever counts something makes it here, at import.

STONES: Final = counter("adamas_ingest_stones_total")
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from schemas.metrics import METRICS, Metric, Type


def counter(name: str, registry: CollectorRegistry = REGISTRY) -> Counter:
    """The counter of that name. Raises `KeyError` when the list has none."""
    metric = _listed(name, Type.COUNTER)
    return Counter(metric.name, metric.meaning, metric.labels, registry=registry)


def gauge(name: str, registry: CollectorRegistry = REGISTRY) -> Gauge:
    """The gauge of that name. Raises `KeyError` when the list has none."""
    metric = _listed(name, Type.GAUGE)
    return Gauge(metric.name, metric.meaning, metric.labels, registry=registry)


def histogram(name: str, registry: CollectorRegistry = REGISTRY) -> Histogram:
    """The histogram of that name. Raises `KeyError` when the list has none."""
    metric = _listed(name, Type.HISTOGRAM)
    return Histogram(metric.name, metric.meaning, metric.labels, buckets=metric.buckets, registry=registry)


def gauge_family(name: str) -> GaugeMetricFamily:
    """A gauge for a collector that tells all its series anew at each scrape. Raises `KeyError` as the others do."""
    metric = _listed(name, Type.GAUGE)
    return GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels)


def counter_family(name: str) -> CounterMetricFamily:
    """A counter for such a collector."""
    metric = _listed(name, Type.COUNTER)
    return CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)


def histogram_family(name: str) -> tuple[HistogramMetricFamily, tuple[float, ...]]:
    """A histogram for such a collector, and the upper bounds of its buckets but the last, which has none."""
    metric = _listed(name, Type.HISTOGRAM)
    return HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels), metric.buckets


def _listed(name: str, kind: Type) -> Metric:
    metric = METRICS.get(name)
    if metric is None or metric.type is not kind:
        raise KeyError(f"schemas/metrics.py lists no {kind} named {name}: add it there")
    return metric
