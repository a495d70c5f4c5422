"""Traces: an OpenTelemetry provider that exports over OTLP/HTTP only when an endpoint is named."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from runtime import tracing
from runtime.settings import TelemetrySettings


def configure_telemetry(settings: TelemetrySettings, process: str, version: str) -> TracerProvider:
    """Install the process's tracer provider; shut it down at the end, or its last spans are lost.

    Without an endpoint nothing is sampled, so that a span costs next to nothing, but trace ids still
    travel on from whoever called us.
    """
    resource = Resource.create({"service.name": f"adamas-{process}", "service.version": version})
    provider = TracerProvider(resource=resource, sampler=_sampler(settings))
    if settings.endpoint:
        # The exporter brings an HTTP client along, which processes without an endpoint need not load.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        endpoint = f"{settings.endpoint.rstrip('/')}/v1/traces"
        provider.add_span_processor(KeptSpans(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    tracing.exported(settings.endpoint is not None)
    return provider


def instrument_clients(*, http: bool = False, postgres: bool = False) -> None:
    """Let the clients of this process make spans of their requests and pass trace ids on; nothing without an endpoint."""
    if not tracing.on():
        return
    if http:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

        HTTPXClientInstrumentor().instrument()
    if postgres:
        from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

        AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]


def _sampler(settings: TelemetrySettings) -> Sampler:
    if not settings.endpoint:
        return ALWAYS_OFF
    return RecordAll(ParentBased(TraceIdRatioBased(settings.sampled_share)))


class RecordAll(Sampler):
    """Another sampler's choice, but what it drops is recorded all the same, so that an error can still be kept.

    A client's call that belongs to nothing (an idle process asking Postgres) is no trace either.
    """

    def __init__(self, chooses: Sampler) -> None:
        self._chooses = chooses

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: list[Link] | None = None,  # type: ignore[override]
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The other's result; RECORD_ONLY instead of DROP."""
        result = self._chooses.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )
        alone = not trace.get_current_span(parent_context).get_span_context().is_valid
        if result.decision is Decision.DROP or (alone and kind is SpanKind.CLIENT):
            return SamplingResult(Decision.RECORD_ONLY, result.attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        """As the other's."""
        return f"RecordAll({self._chooses.get_description()})"


class KeptSpans(SpanProcessor):
    """Exports what is sampled, and every span that ends in an error."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._batches = BatchSpanProcessor(exporter)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is exported before it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Hand it over when it is to be kept."""
        if span.status.status_code is StatusCode.ERROR and not _is_sampled(span):
            # The exporter's queue takes only what is sampled.
            span._context = _sampled(span.get_span_context())
        self._batches.on_end(span)

    def shutdown(self) -> None:
        """Export what is left."""
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what waits."""
        return self._batches.force_flush(timeout_millis)


def _is_sampled(span: ReadableSpan) -> bool:
    context = span.get_span_context()
    return context is not None and context.trace_flags.sampled


def _sampled(context: SpanContext | None) -> SpanContext | None:
    if context is None:
        return None
    return SpanContext(
        context.trace_id,
        context.span_id,
        context.is_remote,
        TraceFlags(TraceFlags.SAMPLED),
        context.trace_state,
    )
