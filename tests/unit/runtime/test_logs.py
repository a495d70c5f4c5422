"""Every line carries its action, the process and, inside a span, the trace id."""

import asyncio
import json
import logging

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from runtime import logs
from runtime.logs import FrequentLines, configure_logs
from runtime.settings import LogSettings


class LineReader:
    """Log lines of one test; logs are configured here because pytest gives each phase its own stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logs(LogSettings(format="json"), "tester")
        self._capsys = capsys

    def read(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]


def test_the_event_is_the_action(capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineReader(capsys)
    structlog.stdlib.get_logger("x").info("ingest.page_published", feed="nivoda-natural")
    (line,) = lines.read()
    assert (line["action"], line["feed"], line["process"], line["level"]) == (
        "ingest.page_published",
        "nivoda-natural",
        "tester",
        "info",
    )
    assert str(line["at"]).endswith("Z")


def test_a_line_inside_a_span_carries_its_trace_id(capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineReader(capsys)
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        structlog.stdlib.get_logger("x").info("a.b")
    (line,) = lines.read()
    assert line["trace_id"] == f"{span.get_span_context().trace_id:032x}"


def test_a_library_line_is_named_by_its_logger(capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineReader(capsys)
    logging.getLogger("some.library").warning("it is %s", "late")
    (line,) = lines.read()
    assert (line["action"], line["message"], line["process"]) == ("some.library", "it is late", "tester")


def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    lines = LineReader(capsys)
    secret = "hunter2"
    try:
        _ = len(secret) / 0
    except ZeroDivisionError:
        structlog.stdlib.get_logger("x").exception("a.failed")
    (line,) = lines.read()
    assert "ZeroDivisionError" in str(line["exception"])
    assert "hunter2" not in str(line["exception"])


async def test_a_frequent_line_has_the_form_of_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    lines, frequent = LineReader(capsys), FrequentLines()
    structlog.stdlib.get_logger("x").info("api.answered", status=200, key=None)
    frequent.info("api.answered", status=200, key=None)
    frequent.write()
    slow, fast = lines.read()
    assert list(fast) == list(slow)
    assert {**fast, "at": ""} == {**slow, "at": ""}
    assert len(str(fast["at"])) == len(str(slow["at"]))


async def test_frequent_lines_are_written_together_and_by_themselves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_WRITTEN_EVERY_S", 0.0)
    lines, frequent = LineReader(capsys), FrequentLines()
    frequent.info("one")
    frequent.info("two")
    await asyncio.sleep(0.01)
    assert [line["action"] for line in lines.read()] == ["one", "two"]


async def test_a_frequent_line_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(format="json", level="WARNING"), "tester")
    frequent = FrequentLines()
    frequent.info("one")
    frequent.write()
    assert capsys.readouterr().err == ""
