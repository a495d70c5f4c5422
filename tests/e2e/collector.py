"""An OTLP/HTTP receiver in the test's own process: what every process of the stack exported, by trace."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from drills.receiver import receiving


@dataclass(frozen=True)
class Exported:
    """One span. `parent` is empty for a trace's first one."""

    process: str
    name: str
    trace: str
    span: str
    parent: str
    attributes: dict[str, str]


@dataclass
class Collector:
    """What was received so far."""

    url: str
    _spans: list[Exported] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def take(self, body: bytes) -> int:
        """Keep the spans of one export; the status to answer with."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for group in request.resource_spans:
                process = _attributes(group.resource)["service.name"].removeprefix("adamas-")
                for scope in group.scope_spans:
                    self._spans += [
                        Exported(
                            process,
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            _attributes(span),
                        )
                        for span in scope.spans
                    ]
        return HTTPStatus.OK

    def traces(self) -> dict[str, list[Exported]]:
        """Spans by trace id."""
        found: defaultdict[str, list[Exported]] = defaultdict(list)
        with self._lock:
            for span in self._spans:
                found[span.trace].append(span)
        return dict(found)


def _attributes(of: Any) -> dict[str, str]:
    return {pair.key: pair.value.string_value or str(pair.value.int_value) for pair in of.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A receiver on a free port."""
    made = Collector("")
    with receiving(made.take) as made.url:
        yield made
