"""A benchmark's sizes: by option, by the environment (as `make` hands its variables on), and by what it was made for."""

from __future__ import annotations

import pytest

from bench.options import parser


def test_an_option_goes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STONES", "5000")
    monkeypatch.delenv("ROUNDS", raising=False)
    made = parser("", stones=200_000, rounds=3)
    assert vars(made.parse_args([])) == {"stones": 5_000, "rounds": 3}
    assert vars(made.parse_args(["--stones", "7"])) == {"stones": 7, "rounds": 3}


def test_what_is_no_number_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STONES", "many")
    with pytest.raises(SystemExit):
        parser("", stones=200_000).parse_args([])
    assert "--stones: invalid int value: 'many'" in capsys.readouterr().err
