"""Spans over batches: a batch of records carries many traces, and each goes on through it.

`traceparents` picks the sampled traces of a batch, `batch_span` puts a span into each of them, and what it gives is
written into the records that come of them. Where nothing is exported, or nothing was sampled, it costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode

HEADER: Final = "traceparent"
MOST: Final = 32
"""Traces of one batch that are followed; more in one batch say no more."""

_state = {"exported": False}


def exported(value: bool) -> None:
    """Say whether spans leave this process."""
    _state["exported"] = value


def on() -> bool:
    """Whether spans leave this process."""
    return _state["exported"]


def traceparent(headers: Any) -> bytes | None:
    """The trace that a record belongs to, when it is sampled. `headers` as any of our clients gives them."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    for name, value in pairs:
        if name == HEADER and value:
            told = value if isinstance(value, bytes) else str(value).encode()
            return told if _sampled(told) else None
    return None


def _sampled(told: bytes) -> bool:
    # The lowest bit of the flags; another one says that the id is random.
    return told[-1:] in b"13579bdf"


def traceparents(batch: Iterable[Any]) -> tuple[bytes, ...]:
    """The sampled traces of a batch, each once, in the order of its records; it is told the headers of each."""
    if not on():
        return ()
    found: dict[bytes, None] = {}
    for headers in batch:
        if headers and (told := traceparent(headers)):
            found[told] = None
            if len(found) == MOST:
                break
    return tuple(found)


@contextmanager
def batch_span(name: str, told: Iterable[bytes], **attributes: Any) -> Iterator[dict[bytes, bytes]]:
    """A span in each of these traces while the block runs; the first is the current one, the others are linked to it.

    Gives, for each trace, the `traceparent` with which it goes on.
    """
    parents = {one: propagate.extract({HEADER: one.decode()}) for one in told}
    if not parents:
        yield {}
        return
    tracer = trace.get_tracer("adamas")
    spans: dict[bytes, Span] = {}
    with ExitStack() as stack:
        links: list[Link] = []
        for one, parent in parents.items():
            span = tracer.start_span(name, parent, SpanKind.CONSUMER, attributes, links)
            links = links or [Link(span.get_span_context())]
            spans[one] = span
            stack.callback(span.end)
        token = context.attach(trace.set_span_in_context(next(iter(spans.values()))))
        stack.callback(context.detach, token)
        try:
            yield {one: _traceparent_of(span) for one, span in spans.items()}
        except BaseException as error:
            for span in spans.values():
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


@contextmanager
def request_span(name: str, headers: Mapping[str, str]) -> Iterator[Span]:
    """The span of a request that we answer; it goes on with the caller's trace."""
    tracer = trace.get_tracer("adamas")
    with tracer.start_as_current_span(name, propagate.extract(headers), SpanKind.SERVER) as span:
        yield span


def _traceparent_of(span: Span) -> bytes:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(HEADER, "").encode()
