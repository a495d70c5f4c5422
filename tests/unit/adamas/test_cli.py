"""The command: bad settings exit with 2 and are all named, secrets are masked, help needs nothing."""

import json
import subprocess
import sys
from importlib import import_module

import pytest
from typer.testing import CliRunner

from adamas.cli import SUB_COMMANDS, app, without
from runtime.settings import EXIT_BAD_SETTINGS, Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for group in Settings.ALL:
        for field in group.model_fields:
            monkeypatch.delenv(group.variable(field), raising=False)


def test_every_command_is_listed() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    commands = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert commands >= {
        "up",
        "ingest",
        "process",
        "sink",
        "api",
        "simulate",
        "migrate",
        "settings",
        "rules",
        "keys",
    }
    assert all(f" {command} " in shown for command in commands)


def test_bad_settings_are_all_named_and_exit_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", "postgresql://a:changeme@b/c")
    monkeypatch.setenv("ADAMAS_LOG_LEVEL", "LOUD")
    result = CliRunner().invoke(app, ["migrate"])
    assert result.exit_code == EXIT_BAD_SETTINGS
    assert "ADAMAS_POSTGRES_DSN: is still a placeholder" in result.output
    assert "ADAMAS_LOG_LEVEL" in result.output


def test_settings_are_shown_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", "postgresql://a:hunter2@b/c")
    monkeypatch.setenv("ADAMAS_KAFKA_BOOTSTRAP", "kafka:9092")
    result = CliRunner().invoke(app, ["settings"])
    assert "ADAMAS_KAFKA_BOOTSTRAP=kafka:9092" in result.output
    assert "ADAMAS_POSTGRES_DSN=********" in result.output
    assert "hunter2" not in result.output
    assert "ADAMAS_VENDOR_URL is not set" in result.output
    assert result.exit_code == EXIT_BAD_SETTINGS


def test_up_refuses_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("os._exit", leave)
    result = CliRunner().invoke(app, ["up", "--api", "0"])
    assert result.exit_code == 1
    assert "API must be from 1 to 10, not 0." in result.output


def test_a_sub_command_without_its_settings_names_them_and_exits_with_two() -> None:
    result = CliRunner().invoke(app, ["dead", "list"])
    assert result.exit_code == EXIT_BAD_SETTINGS
    assert "ADAMAS_POSTGRES_DSN is not set" in result.output
    assert "Traceback" not in result.output


def test_a_sub_command_says_what_is_wrong_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", "postgresql://a:b@127.0.0.1:1/c")
    result = CliRunner().invoke(app, ["jobs", "show", "1"])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Postgres does not answer: ")
    assert "Traceback" not in result.output


def test_what_is_not_wanted_counts_as_not_installed_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without("colorsys", "json"):
        with pytest.raises(ImportError):
            import_module("colorsys")
        assert import_module("json") is json
    assert import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)


_WITHOUT_NUMBA = """
import json, sys
sys.modules["numba"] = None  # from now on it counts as not installed
from typer.testing import CliRunner
from adamas.cli import app
results = {line: CliRunner().invoke(app, line.split()) for line in sys.argv[1:]}
json.dump({line: [one.exit_code, one.output] for line, one in results.items()}, sys.stdout)
"""


def test_no_command_imports_numba_to_help_or_to_ask_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAMAS_POSTGRES_DSN", "postgresql://a:b@127.0.0.1:1/c")
    monkeypatch.setenv("ADAMAS_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    helping = [f"{name} --help" for name in (*SUB_COMMANDS, "price", "price export")]
    asking = [
        "dead list",
        "dead fix a",
        "dead redrive a",
        "replay undo 1 --yes",
        "replay promote 1 --yes",
        "price a",
    ]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_NUMBA, *helping, *asking], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert [line for line in helping if told[line][0] != 0] == []
    assert [line for line in asking if "Postgres does not answer" not in told[line][1]] == []
