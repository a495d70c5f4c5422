"""What tracing costs, with and without it side by side: a stone through `process`, a search, a record produced.

    make bench-tracing           # STONES=10000 REQUESTS=2000 ROUNDS=5

Claim: at the share that is sampled by default a stone through the worker costs at most 5 % more than without tracing. For
comparison: what the instrumentation for Kafka's client adds to each record, which is why the hot producers do without.

Processor time of the whole process, so the exporter's thread counts; spans are sent to a receiver in another process. The
rounds of the variants take turns. What is done with a batch is what `streams.process` does, but for Kafka.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Producer
from opentelemetry import trace
from opentelemetry.instrumentation.confluent_kafka import ConfluentKafkaInstrumentor
from opentelemetry.sdk.trace import TracerProvider

from adamas.ports import free_ports
from api.app import create_app
from api.engine.fast_index import FastIndex
from api.engine.warming import warm
from api.freshness import Freshness
from api.service import Service
from bench.http import KEY, FixedKeys
from bench.options import read_options
from drills.report import Figure, finish, print_environment
from drills.searches import query_strings
from drills.stock import batches, canonical_stock
from drills.vendor_pages import page_bodies
from runtime import tracing
from runtime.logs import configure_logs
from runtime.settings import LogSettings, TelemetrySettings
from runtime.telemetry import configure_telemetry
from schemas.facts import FactHeaders, Kind, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.seq import make_seq
from streams.memory import Memory
from streams.normalise import normalisers
from streams.outbox import Outbox
from streams.pricing.engine import PriceBook
from streams.process import BATCH_PAGES
from streams.worker import RawRecord, Worker

SHARES: Final = {"off": None, "a tenth": 0.1, "all": 1.0}
RECORDS: Final = 5_000
GOAL_RATIO: Final = 1.05

_RECEIVER: Final = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextmanager
def receiver() -> Iterator[str]:
    """Takes exports and forgets them."""
    (port,) = free_ports(1)
    child = subprocess.Popen([sys.executable, "-c", _RECEIVER, str(port)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


class Switch:
    """Turns tracing on and off within one process; OpenTelemetry itself takes a provider only once."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._provider: TracerProvider | None = None
        trace.get_tracer = lambda name, *_, **__: self.provider.get_tracer(name)

    @property
    def provider(self) -> TracerProvider:
        """The one that is in use."""
        assert self._provider is not None
        return self._provider

    def set(self, share: float | None) -> None:
        """Sample this share, or export nothing."""
        if self._provider is not None:
            self._provider.shutdown()
        settings = TelemetrySettings.model_construct(
            endpoint=None if share is None else self._endpoint, sampled_share=share or 0.0
        )
        self._provider = configure_telemetry(settings, "bench", "bench")


class Stones:
    """Pages through a worker, batch by batch, as `streams.process` takes them."""

    def __init__(self, stones: int) -> None:
        self._pages = list(page_bodies(stones, 7, bad_share=0.0))
        rules = PublishedRuleSet(number=1, published_at=0, actor="b", reason="b", content=RuleSet())
        self._book = PriceBook(rules)
        self._normalisers = normalisers()
        self.number = 50 * len(self._pages)

    def run(self) -> None:
        """All of them once, into an empty memory."""
        worker = Worker(Memory(), self._normalisers)
        records = [self._record(number, *page) for number, page in enumerate(self._pages)]
        for first in range(0, len(records), BATCH_PAGES):
            batch = records[first : first + BATCH_PAGES]
            out = Outbox()
            told = tracing.traceparents(record.headers for record in batch)
            with tracing.batch_span("process.batch", told, pages=len(batch)) as traces:
                for record in batch:
                    one = traces.get(tracing.traceparent(record.headers) or b"") if traces else None
                    if one is not None:
                        out.settle()
                    before = len(out.stones), len(out.dead)
                    worker.take(record, self._book, 1, out)
                    if one is not None:
                        out.settle()
                        out.carry(one, *before)
                out.settle()

    def _record(self, number: int, feed: str, body: bytes) -> RawRecord:
        headers = FactHeaders(
            kind=Kind.PAGE, feed=feed, epoch=1, seq=make_seq(1, number + 1), run="r", partition=0, page=number
        )
        pairs: list[tuple[str, bytes | None]] = [*to_headers(headers)]
        with tracing.request_span("ingest.page", {}) as span:
            sampled = int(span.get_span_context().trace_flags.sampled)
            told = span.get_span_context()
        if tracing.on():
            pairs.append((tracing.HEADER, f"00-{told.trace_id:032x}-{told.span_id:016x}-0{sampled}".encode()))
        return RawRecord(FEEDS[feed].slot, number, fact_key(feed, "r", 0), body, pairs, number)


class Searches:
    """Requests to the application, without a socket."""

    def __init__(self, stones: int, requests: int) -> None:
        index = FastIndex()
        for batch in batches(canonical_stock(stones, 7)):
            index.apply(batch)
        warm()
        self._app = create_app(Service(index, FixedKeys(), freshness=Freshness(("a",))))
        self._queries = [query.encode() for query in query_strings(requests, 7)]
        self.number = requests

    def run(self) -> None:
        """All of them once."""
        asyncio.run(self._ask_all())

    async def _ask_all(self) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200, message

        for query in self._queries:
            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/v1/diamonds",
                "raw_path": b"/v1/diamonds",
                "query_string": query,
                "headers": [(b"x-api-key", KEY.encode()), (b"host", b"bench")],
                "client": ("127.0.0.1", 1),
                "server": ("127.0.0.1", 2),
            }
            await self._app(scope, receive, send)


def cpu_us(work: Callable[[], None], switch: Switch, number: int) -> float:
    """Processor time of a piece of work, exports included, in µs for each of its units."""
    began = time.process_time()
    work()
    switch.provider.force_flush()
    return 1e6 * (time.process_time() - began) / number


def produced_us(instrumented: bool) -> float:
    """Processor time of the thread for a record handed to Kafka's client, which sends it nowhere."""
    plain = Producer({"bootstrap.servers": "127.0.0.1:9", "log_level": 0})
    sender = ConfluentKafkaInstrumentor.instrument_producer(plain) if instrumented else plain
    began = time.thread_time()
    for _ in range(RECORDS):
        sender.produce("none", b"x" * 700, key=b"k", headers=[])
    took = time.thread_time() - began
    plain.purge()
    plain.flush(1)
    return 1e6 * took / RECORDS


def main() -> None:
    """Run the benchmark and print its figures."""
    options = read_options(__doc__, stones=10_000, requests=2_000, rounds=5)
    print_environment("opentelemetry-sdk", "opentelemetry-instrumentation-confluent-kafka")
    configure_logs(LogSettings(level="ERROR"), "bench")
    figures = []
    with receiver() as endpoint:
        switch = Switch(endpoint)
        switch.set(None)
        stones, searches = Stones(options.stones), Searches(options.stones, options.requests)
        took: dict[tuple[str, str], list[float]] = {}
        for _ in range(options.rounds + 1):
            for name, share in SHARES.items():
                switch.set(share)
                for what, work in (("stone", stones), ("search", searches)):
                    took.setdefault((what, name), []).append(cpu_us(work.run, switch, work.number))
        switch.set(1.0)
        client = {
            kind: statistics.median(produced_us(kind == "instrumented") for _ in range(options.rounds))
            for kind in ("plain", "instrumented")
        }
        switch.set(None)
    # The first round warms up.
    median = {key: statistics.median(values[1:]) for key, values in took.items()}
    for (what, name), values in took.items():
        print(f"{what}, {name}: {median[what, name]:.1f} µs ({min(values[1:]):.1f} to {max(values[1:]):.1f})")
    for what in ("stone", "search"):
        base = median[what, "off"]
        figures.append(Figure(f"{what}_without_us", round(base, 1), "µs"))
        for name in ("a tenth", "all"):
            goal = f"<= {GOAL_RATIO}" if (what, name) == ("stone", "a tenth") else None
            label = f"{what}_with_{name.replace(' ', '_')}"
            figures.append(Figure(label, round(median[what, name] / base, 3), "times without", goal))
    figures += [Figure(f"produced_{kind}_us", round(us, 1), "µs") for kind, us in client.items()]
    finish("bench-tracing", figures)


if __name__ == "__main__":
    main()
