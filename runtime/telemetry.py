"""Traces: an OpenTelemetry provider that exports over OTLP/HTTP only when an endpoint is named."""

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

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
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    return provider


def _sampler(settings: TelemetrySettings) -> Sampler:
    return ParentBased(TraceIdRatioBased(settings.sampled_share)) if settings.endpoint else ALWAYS_OFF


def tracer(name: str) -> trace.Tracer:
    """The tracer of a module; give it the module's name."""
    return trace.get_tracer(name)
