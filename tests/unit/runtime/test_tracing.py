"""Traces go on through a batch, what is not sampled costs nothing, and an error is kept whatever was sampled."""

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from runtime import tracing
from tests.spans import Spans

ONE = b"00-11111111111111111111111111111111-2222222222222222-01"
TWO = b"00-33333333333333333333333333333333-4444444444444444-03"
NOT_SAMPLED = b"00-55555555555555555555555555555555-6666666666666666-00"


def headers(told: bytes | None) -> list[tuple[str, bytes]]:
    return [("kind", b"page")] + ([("traceparent", told)] if told else [])


def test_only_sampled_traces_are_followed_and_each_once(spans: Spans) -> None:
    batch = [headers(told) for told in (ONE, None, NOT_SAMPLED, TWO, ONE)]
    assert tracing.traceparents(batch) == (ONE, TWO)
    tracing.exported(False)
    assert tracing.traceparents(batch) == ()


def test_each_trace_goes_on_and_the_second_is_linked_to_the_first(spans: Spans) -> None:
    with tracing.batch_span("b", (ONE, TWO), pages=2) as goes_on:
        current = trace.get_current_span().get_span_context()
    assert f"{current.trace_id:032x}" == ONE.decode().split("-")[1]
    assert {one.split(b"-")[1]: two.split(b"-")[1] for one, two in goes_on.items()} == {
        one.split(b"-")[1]: one.split(b"-")[1] for one in (ONE, TWO)
    }
    first, second = sorted(spans(), key=lambda span: len(span.links))
    assert second.links[0].context == first.get_span_context()
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == ONE.decode().split("-")[2]


def test_nothing_is_made_for_a_batch_without_traces(spans: Spans) -> None:
    with tracing.batch_span("b", ()) as goes_on:
        assert goes_on == {}
    assert spans() == []


def test_a_failed_batch_is_an_error_in_each_trace(spans: Spans) -> None:
    with pytest.raises(RuntimeError), tracing.batch_span("b", (ONE, TWO)):
        raise RuntimeError
    assert [span.status.status_code for span in spans()] == [StatusCode.ERROR] * 2


def test_what_was_not_sampled_is_dropped_unless_it_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans(monkeypatch, share=False)
    with tracing.request_span("fine", {}):
        pass
    with pytest.raises(RuntimeError), tracing.request_span("broken", {}):
        raise RuntimeError
    assert [span.name for span in spans()] == ["broken"]
    spans.provider.shutdown()
