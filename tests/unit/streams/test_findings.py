"""What is said of a table without a stone: every claim is checked on stones, and known cases are found."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ruleset import Rule, RuleSet
from streams.pricing import findings as looked_at
from streams.pricing.findings import findings
from streams.pricing.wider import Wider
from tests.unit.streams.reference import CHANGES, WHENS, slow_group
from tests.unit.streams.test_pricing import a_stone

PLAIN = a_stone()


def found(*whens: dict[str, Any], margins: tuple[int, ...] = ()) -> list[tuple[str, str]]:
    rows = [
        {"name": f"row-{place}", "priority": place, "when": when, "margin_bps": (margins or (7,) * 9)[place]}
        for place, when in enumerate(whens)
    ]
    return [(one.row, one.kind) for one in findings(RuleSet.model_validate({"rules": rows}))]


CASES: dict[str, tuple[list[dict[str, Any]], list[tuple[str, str]]]] = {
    "nothing": ([{"shape": "ROUND"}, {"shape": "OVAL"}], []),
    "a grade that does not exist": ([{"color": ["Dee"]}], [("row-0", "never")]),
    "one of several grades that does not exist": (
        [{"color": ["D", "Dee"]}, {"any": [{"carat": {"min": 1}}, {"cut": ["EX", "Ex"]}]}],
        [("row-0", "unknown"), ("row-1", "unknown")],
    ),
    "a shape in lower case": (
        [{"shape": "round"}, {"shape": ["OVAL", "Pear"]}],
        [("row-0", "never"), ("row-1", "unknown")],
    ),
    "a feed that does not exist": ([{"feed": "nivoda"}, {"feed": "nivoda-natural"}], [("row-0", "never")]),
    "a range of nothing": ([{"carat": {"min": 1, "below": 1}}], [("row-0", "never")]),
    "groups that exclude one another": (
        [
            {"shape": "ROUND", "all": [{"shape": "OVAL"}]},
            {"carat": {"max": 1}, "any": [{"carat": {"min": 2}}]},
        ],
        [("row-0", "never"), ("row-1", "never")],
    ),
    "a narrower range": ([{"carat": {"min": 1}}, {"carat": {"min": 1, "below": 2}}], [("row-1", "shadowed")]),
    "touching ranges are apart": ([{"carat": {"max": 1}}, {"carat": {"min": 1}}], []),
    "one of the alternatives is not": (
        [{"shape": "ROUND"}, {"any": [{"shape": "ROUND"}, {"shape": "OVAL"}]}],
        [],
    ),
    "all of the alternatives": (
        [{"shape": ["ROUND", "OVAL"]}, {"carat": {"min": 1}, "any": [{"shape": "ROUND"}, {"shape": "OVAL"}]}],
        [("row-1", "shadowed")],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_known_cases(case: str) -> None:
    whens, wanted = CASES[case]
    assert found(*whens) == wanted


def test_the_same_question_with_another_answer_is_a_contradiction() -> None:
    same = {"shape": "ROUND", "lab_grown": True}
    assert found(same, same, margins=(1, 2)) == [("row-1", "contradicts"), ("row-1", "shadowed")]
    assert found(same, same, margins=(1, 1)) == [("row-1", "shadowed")]


def test_validity_counts() -> None:
    row = {"priority": 1, "when": {"shape": "ROUND"}, "margin_bps": 1, "name": "a"}
    later = {**row, "name": "b", "priority": 2}
    assert (
        findings(RuleSet.model_validate({"rules": [{**row, "valid_until": "2026-01-01T00:00:00Z"}, later]}))
        == []
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(WHENS, min_size=1, max_size=5), st.lists(CHANGES, min_size=1, max_size=30))
def test_no_stone_disproves_a_finding(whens: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
    rows = [
        Rule.model_validate({"name": f"row-{place}", "priority": place, "when": when, "margin_bps": 1})
        for place, when in enumerate(whens)
    ]
    useless = {one.row for one in findings(RuleSet(rules=tuple(rows))) if one.kind in ("never", "shadowed")}
    for change in changes:
        stone = msgspec.structs.replace(PLAIN, **change)
        first = next((row.name for row in rows if slow_group(row.when, stone)), None)
        assert first not in useless


_BOUND = st.sampled_from([0, 1, 1.0, 2])
_RANGES = st.one_of(
    st.builds(lambda least: {"min": least}, _BOUND),
    st.builds(lambda end, kind: {kind: end}, _BOUND, st.sampled_from(["max", "below"])),
    st.builds(
        lambda bounds, kind: {"min": min(bounds), kind: max(bounds)},
        st.tuples(_BOUND, _BOUND),
        st.sampled_from(["max", "below"]),
    ),
)
_SMALL = st.fixed_dictionaries(
    {},
    optional={
        "carat": _RANGES,
        "depth_mm": _RANGES,
        "shape": st.lists(st.sampled_from(["ROUND", "OVAL"]), min_size=1, unique=True),
        "lab_grown": st.booleans(),
    },
).filter(bool)
"""So small a space that rows often contain one another, touch, and differ by one end."""


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            _SMALL, st.builds(lambda flat, any_: {**flat, "any": any_}, _SMALL, st.lists(_SMALL, min_size=1))
        ),
        min_size=2,
        max_size=8,
    )
)
def test_looking_earlier_rows_up_finds_what_comparing_with_each_does(whens: list[dict[str, Any]]) -> None:
    rows = [
        Rule.model_validate(
            {"name": f"row-{place}", "priority": place, "when": when, "margin_bps": place % 2}
        )
        for place, when in enumerate(whens)
    ]
    content = RuleSet(rules=tuple(rows))
    quick = findings(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wider, "before", lambda _wider, row: list(range(row)))
        assert quick == findings(content)


def test_texts_that_are_many_are_told_apart() -> None:
    whens = [{"supplier_name": f"s{number}"} for number in range(200)]
    assert found(*whens, {"supplier_name": ["s3", "s4"]}, {"supplier_name": "s150"}, margins=(7,) * 202) == [
        ("row-201", "shadowed")
    ]


def test_a_long_table_is_not_compared_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    exact = looked_at._implies

    def counted(*pair: Any) -> bool:
        nonlocal compared
        compared += 1
        return exact(*pair)

    monkeypatch.setattr(looked_at, "_implies", counted)
    whens = [
        {"shape": shape, "lab_grown": lab_grown, "carat": {"min": step / 10, "below": (step + 1) / 10}}
        for shape in ("ROUND", "OVAL", "PEAR")
        for lab_grown in (True, False)
        for step in range(50)
    ]
    assert found(*whens, whens[0], margins=(7,) * 301) == [("row-300", "shadowed")]
    assert compared <= 2
