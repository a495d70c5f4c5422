"""`adamas rules rates`: what a person records, is refused, and reads again."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streams.rules.command import app


def test_a_rate_set_by_hand_that_leaps_needs_a_reason_that_the_list_shows(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAMAS_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", database)

    def rates(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["rates", *words])
        return done.exit_code, done.output

    assert rates("set", "EUR", "900000", "--id", "r1") == (0, "recorded r1\n")
    assert rates("set", "EUR", "900000", "--id", "r1") == (0, "r1 is known already, with this value\n")
    code, said = rates("set", "EUR", "900001", "--id", "r1")
    assert (code, said.startswith("refused: id: 'r1' is the rate 900000 of EUR")) == (1, True)
    code, said = rates("set", "EUR", "1")
    assert (code, said.startswith("refused: ppm: 1 is 100.0 % off 900000")) == (1, True)
    assert rates("set", "EUR", "1", "--id", "r2", "--reason", "a new euro") == (0, "recorded r2\n")
    code, said = rates("list")
    assert (code, "r2" in said, said.rstrip().endswith(": a new euro")) == (0, True, True)
