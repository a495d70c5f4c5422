"""Rule files: what is refused, and with which row and field."""

import pytest

from schemas.conditions import Range
from schemas.errors import Invalid
from schemas.rule_file import MAX_FILE_BYTES, BadRuleFile, parse_rule_file
from schemas.ruleset import RuleSet

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


RATING = "{name: a, priority: 1, when: {shape: ROUND}, rating: 5}"
WHOLE_FILES = ("unknown key", "duplicate rating priority", "rating beyond ten", "currency in words")
MISTAKES = {
    "unknown key": ("colour: 1", "colour", "not permitted"),
    "unknown attribute": (ROW.replace("shape: ROUND", "sparkle: 1"), "row 1.when.sparkle", "sparkle"),
    "text for a boolean": (
        ROW.replace("shape: ROUND", "lab_grown: '100%'"),
        "row 1.when.lab_grown",
        "true or false",
    ),
    "boolean for text": (ROW.replace("shape: ROUND", "eye_clean: true"), "row 1.when.eye_clean", "eye_clean"),
    "a list for a number": (ROW.replace("shape: ROUND", "carat: [1, 2]"), "row 1.when.carat", "carat"),
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
    "rating beyond ten": (
        f"ratings: {{rules: [{RATING.replace('5', '11')}]}}",
        "ratings row 1.rating",
        "less than or equal to 10",
    ),
    "currency in words": ("currency: euro", "currency", "three capital letters"),
    "duplicate rating priority": (
        f"ratings: {{rules: [{RATING}, {RATING.replace('name: a', 'name: b')}]}}",
        "rules",
        "ratings row 2: priority 1",
    ),
    "an attribute no rule may ask": (
        ROW.replace("shape: ROUND", "comments: x"),
        "row 1.when.comments",
        "no such attribute",
    ),
    "a mistake in a group": (
        ROW.replace("shape: ROUND", "any: [{shape: OVAL}, {all: [{carat: 1}]}]"),
        "row 1.when.any.2.all.1.carat",
        "range",
    ),
    "a group that is no list": (
        ROW.replace("shape: ROUND", "any: {shape: OVAL}"),
        "row 1.when.any",
        "a list",
    ),
    "groups too deep": (
        ROW.replace("shape: ROUND", "all: [" + "{all: [" * 5 + "{shape: OVAL}" + "]}" * 5 + "]"),
        "row 1.when." + "all.1." * 4 + "all.1",
        "deeper",
    ),
    "a bound without end": (
        ROW.replace("shape: ROUND", "carat: {max: 1.0e+300}"),
        "row 1.when.carat",
        "beyond",
    ),
    "neither margin nor amount": (ROW.replace("margin_bps: 4500", "floor_cents: 5"), "row 1", "margin_bps"),
    "floor over ceiling": (
        ROW.replace("4500", "1, floor_cents: 9, ceiling_cents: 8"),
        "row 1",
        "greater than ceiling",
    ),
    "an ending that is no ending": (
        ROW.replace("4500", "1, rounding: {to_cents: 100, ending_cents: 100}"),
        "row 1.rounding",
        "less than",
    ),
    "validity backwards": (
        ROW.replace("4500", "1, valid_from: 2026-02-01T00:00:00Z, valid_until: 2026-01-01T00:00:00Z"),
        "row 1",
        "before",
    ),
    "validity without a zone": (
        ROW.replace("4500", "1, valid_from: 2026-02-01T00:00:00"),
        "row 1.valid_from",
        "with its zone",
    ),
    "reserved name": (ROW.replace("name: a", "name: 'base:x'"), "row 1.name", "colon"),
    "a typing error": (ROW.replace("margin_bps", "margn_bps"), "row 1.margn_bps", "did you mean margin_bps?"),
    "a typing error in an attribute": (
        ROW.replace("shape: ROUND", "carats: {min: 1}"),
        "row 1.when.carats",
        "did you mean carat?",
    ),
    "text for a number": (
        ROW.replace("shape: ROUND", "carat: {min: '1'}"),
        "row 1.when.carat.min",
        "a number",
    ),
    "boolean for a number": (
        ROW.replace("shape: ROUND", "carat: {min: true}"),
        "row 1.when.carat.min",
        "a number",
    ),
    "octal": (ROW.replace("4500", "04500"), "row 1.margin_bps", "integer"),
    "minutes": (ROW.replace("4500", "1:30"), "row 1.margin_bps", "integer"),
    "a number of 5 000 digits": (ROW.replace("4500", "9" * 5_000), "row 1.margin_bps", "integer"),
    "a day for a moment": (
        ROW.replace("4500", "1, valid_from: 2026-02-01"),
        "row 1.valid_from",
        "with its zone",
    ),
    "a day in digits": (ROW.replace("4500", "1, valid_from: 20260201"), "row 1.valid_from", "with its zone"),
    "seconds in a text": (ROW.replace("4500", "1, valid_from: '1764547200'"), "row 1.valid_from", "zone"),
    "no such month": (
        ROW.replace("4500", "1, valid_until: 2026-13-01T00:00:00Z"),
        "row 1.valid_until",
        "with its zone",
    ),
    "a name of two lines": (ROW.replace("name: a", 'name: "a\\nb"'), "row 1.name", "cannot be printed"),
    "a text that no database keeps": (
        ROW.replace("shape: ROUND", 'any: [{shape: "RO\\0UND"}]'),
        "row 1.when.shape",
        "cannot be printed",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_by_row_and_field(case: str) -> None:
    rows, field, rule = MISTAKES[case]
    text = rows if case in WHOLE_FILES else f"rules: [{rows}]"
    with pytest.raises(Invalid) as caught:
        parse_rule_file(text.encode())
    assert caught.value.field == field
    assert rule in caught.value.rule


@pytest.mark.parametrize("data", [b"\xff", b"[1]", b"{", b"just text", b"", b"#" * (MAX_FILE_BYTES + 1)])
def test_what_is_no_rule_file_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="file"):
        parse_rule_file(data)


def test_every_mistake_of_a_file_is_told() -> None:
    rows = f"{ROW.replace('4500', 'x')}, {ROW.replace('shape: ROUND', 'sparkle: 1')}"
    with pytest.raises(BadRuleFile) as caught:
        parse_rule_file(f"colour: 1\nrules: [{rows}]".encode())
    fields = {mistake.field for mistake in caught.value.mistakes}
    assert fields == {"row 1.margin_bps", "row 2.when.sparkle", "colour"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: {}\nbase: {}", "file: line 2: 'base' is there twice"),
        ('{"base": {},\n "base": {}}', "file: line 2: 'base' is there twice"),
        ('{\n\t"base": {},\n\t"base": {}}', "'base' is there twice"),
        (f"rules:\n- &a {ROW}\n- *a", "file: line 3: *a is an alias; write out what it stands for"),
        ("rules:\n\t- a", "file: is neither YAML nor JSON: line 2, column 1: found character that"),
        (
            '{"base": {} "rules": []}',
            "file: is neither YAML nor JSON: Expecting ',' delimiter: line 1 column 13",
        ),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(text: str, said: str) -> None:
    with pytest.raises(BadRuleFile) as caught:
        parse_rule_file(text.encode())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"rules: [&a {ROW}, *a]",
        "base: {natural_bps: 1, natural_bps: 2}",
        "{" * 100_000,
        "[" * 100_000,
        "? [a, b]\n: 1",
        '{"base": {"natural_bps": 1, "natural_bps": 2}}',
        '{"base": {"natural_bps": NaN}}',
    ],
)
def test_what_yaml_does_behind_ones_back_is_refused(text: str) -> None:
    with pytest.raises(BadRuleFile):
        parse_rule_file(text.encode())


def test_a_rule_set_survives_its_own_json() -> None:
    text = (
        "currency: EUR\nratings: {base: 5, rules: ["
        + RATING
        + "]}\nrules: [{name: a, priority: 1, amount_cents: -5, rounding: {to_cents: 100, ending_cents: 99, mode: up},"
        " valid_from: 2026-02-01T00:00:00+01:00,"
        " when: {type: fancy, any: [{shape: OVAL}, {all: [{carat: {min: 1}}, {lab_grown: true}]}]}}]"
    )
    rules = parse_rule_file(text.encode())
    assert RuleSet.model_validate_json(rules.model_dump_json(exclude_none=True)) == rules
    assert rules.boundaries() == [1_769_900_400_000]


def test_a_row_counts_from_the_first_whole_millisecond_of_its_validity() -> None:
    text = f"rules: [{ROW.replace('4500', '1, valid_from: 2026-02-01T00:00:00.0005Z, valid_until: 2026-02-01T00:00:01Z')}]"
    rules = parse_rule_file(text.encode())
    begin, end = rules.boundaries()
    assert (begin, end) == (1_769_904_000_001, 1_769_904_001_000)
    # A number made at a boundary has the row, or has lost it: the keeper looks no second time.
    assert [rules.rules[0].valid_at(at) for at in (begin - 1, begin, end - 1, end)] == [
        False,
        True,
        True,
        False,
    ]
