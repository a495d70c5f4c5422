"""An OTLP/HTTP receiver in the test's own process: what every process of the stack exported, by trace."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


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

    def take(self, body: bytes) -> None:
        """Keep the spans of one export."""
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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
