"""Spans of a test, kept in memory as the exporter would get them."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

from runtime.telemetry import KeptSpans, RecordAll


class Spans:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, share: bool) -> None:
        self._exporter = InMemorySpanExporter()
        sampler = RecordAll(ParentBased(ALWAYS_ON if share else ALWAYS_OFF))
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(KeptSpans(self._exporter))
        monkeypatch.setattr(trace, "get_tracer", lambda name: self.provider.get_tracer(name))

    def __call__(self) -> list[ReadableSpan]:
        self.provider.force_flush()
        return list(self._exporter.get_finished_spans())
