"""Rule files: what is refused, and with which row and field."""

import pytest

from schemas.errors import Invalid
from schemas.ruleset import MAX_FILE_BYTES, Range, RuleSet, parse_rule_file

ROW = "{name: a, priority: 1, when: {shape: ROUND}, margin_bps: 4500}"


def test_a_file_is_read_from_yaml_and_json_alike() -> None:
    rules = parse_rule_file(f"rules: [{ROW}]".encode())
    same = parse_rule_file(
        b'{"rules":[{"name":"a","priority":1,"when":{"shape":["ROUND"]},"margin_bps":4500}]}'
    )
    assert rules == same
    assert rules.base.lab_grown_bps == 7_900
    assert rules.rules[0].when == {"shape": ("ROUND",)}


def test_ranges_booleans_and_lists() -> None:
    text = "rules: [{name: a, priority: 0, when: {carat: {min: 1, below: 2}, lab_grown: true, color: [D, E]}, margin_bps: 1}]"
    when = parse_rule_file(text.encode()).rules[0].when
    assert when == {"carat": Range(min=1, below=2), "lab_grown": True, "color": ("D", "E")}


def test_an_empty_table_is_a_rule_set() -> None:
    assert parse_rule_file(b"base: {natural_bps: 4000}") == RuleSet()


MISTAKES = {
    "unknown key": ("colour: 1", "colour", "not permitted"),
    "unknown attribute": (ROW.replace("shape: ROUND", "sparkle: 1"), "row 1.when", "sparkle"),
    "text for a boolean": (ROW.replace("shape: ROUND", "lab_grown: '100%'"), "row 1.when", "true or false"),
    "boolean for text": (ROW.replace("shape: ROUND", "eye_clean: true"), "row 1.when", "eye_clean"),
    "a list for a number": (ROW.replace("shape: ROUND", "carat: [1, 2]"), "row 1.when", "carat"),
    "min over max": (ROW.replace("shape: ROUND", "carat: {min: 2, max: 1}"), "row 1.when.carat", "greater"),
    "max and below": (
        ROW.replace("shape: ROUND", "carat: {max: 2, below: 2}"),
        "row 1.when.carat",
        "not both",
    ),
    "empty range": (ROW.replace("shape: ROUND", "carat: {}"), "row 1.when.carat", "needs min"),
    "no condition": (ROW.replace("shape: ROUND", ""), "row 1.when", "at least 1"),
    "margin below everything": (ROW.replace("4500", "-10000"), "row 1.margin_bps", "-9999"),
    "fractional margin": (ROW.replace("4500", "45.5"), "row 1.margin_bps", "integer"),
    "duplicate priority": (f"{ROW}, {ROW.replace('name: a', 'name: b')}", "rules", "row 2: priority 1"),
    "duplicate name": (f"{ROW}, {ROW.replace('priority: 1', 'priority: 2')}", "rules", "row 2: name 'a'"),
    "reserved name": (ROW.replace("name: a", "name: 'base:x'"), "row 1.name", "pattern"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_by_row_and_field(case: str) -> None:
    rows, field, rule = MISTAKES[case]
    text = rows if case == "unknown key" else f"rules: [{rows}]"
    with pytest.raises(Invalid) as caught:
        parse_rule_file(text.encode())
    assert caught.value.field == field
    assert rule in caught.value.rule


@pytest.mark.parametrize("data", [b"\xff", b"[1]", b"{", b"just text", b"", b"#" * (MAX_FILE_BYTES + 1)])
def test_what_is_no_rule_file_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="file"):
        parse_rule_file(data)
