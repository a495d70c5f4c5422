"""`adamas rules` where it meets the terminal and files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from streams.pricing.guards import Break
from streams.pricing.preview import Change
from streams.rules.command import app, write_changes
from streams.rules.report_text import guardrail


def test_the_stones_of_a_preview_come_as_csv_whatever_a_rule_is_called(tmp_path: Path) -> None:
    changes = [Change("f:1", 100, 140, 'cheap, "small" ones'), Change("f:2", 1, 2, "plain")]
    write_changes(tmp_path / "out.csv", changes)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "before_cents", "after_cents", "rule"],
        ["f:1", "100", "140", 'cheap, "small" ones'],
        ["f:2", "1", "2", "plain"],
    ]


def test_a_place_that_cannot_be_written_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        write_changes(tmp_path / "nowhere" / "out.csv", [])
    assert (
        capsys.readouterr().err
        == f"{tmp_path}/nowhere/out.csv cannot be written: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("currency", "ppm", "said"),
    [("EURO", "5", "three capital letters"), ("EUR", "0", "greater"), ("EUR", "900000001", "less")],
)
def test_a_rate_that_cannot_be_is_refused_before_anything_is_asked(
    currency: str, ppm: str, said: str
) -> None:
    result = CliRunner().invoke(app, ["rates", "set", currency, ppm])
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            Break("below_cost", 0, 7_432_800, 3, "f:1"),
            "below_cost: 3 stones priced below their cost, the worst by 74,328.00 EUR (f:1)",
        ),
        (
            Break("below_cost", 500, 100, 3, "f:1"),
            "below_cost: 3 stones priced below their cost and a margin of 5 %, the worst by 1.00 EUR (f:1)",
        ),
        (
            Break("max_move", 5_000, 173_598, 973, "f:1"),
            "max_move: 973 stones move by more than 50 %, the worst by 1,735.98 % (f:1)",
        ),
        (
            Break("max_changed", 5_000, 9_997, 4_984),
            "max_changed: 4,984 stones change, 99.97 % of all and more than 50 %",
        ),
    ],
)
def test_a_guardrail_tells_each_figure_in_its_own_unit(broken: Break, said: str) -> None:
    assert guardrail(broken, "EUR") == said
