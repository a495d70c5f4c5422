from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursors import from_cursor, to_cursor
from api.parameters import FILTERS, MAX_QUERY_BYTES, NAMES, parameter_docs, parse_query
from api.problems import BadParameter
from api.query import After, Query, Range, SortKey


def values_of(name: str) -> Iterable[str]:
    return {"shape": ("KITE",), "fancy_color": ("GREEN YELLOW", "PINK")}.get(name, ())


def refusal_of(work: Callable[[], object]) -> BadParameter | None:
    try:
        work()
    except BadParameter as refused:
        return refused
    return None


def parsed(text: str) -> Query:
    return parse_query(text.encode(), values_of)


def test_nothing_asked_is_the_first_page_of_what_can_be_sold() -> None:
    assert parsed("") == Query(lists={"availability": ("available",)})


def test_every_kind_of_parameter_is_read() -> None:
    query = parsed(
        "shape=round,KITE&color=D,O-P&carat_min=0.5&carat_max=1&price_cents_max=500000&lab_grown=false"
        "&availability=on_hold,available&fancy_color=green-yellow&certificate_number=A%2C1,2&limit=3"
        "&sort=-price_cents,carat&cut=very%20good,Excellent,ID&feed=nivoda-natural&fancy_intensity=fancy+vivid"
    )
    assert query == Query(
        lists={
            "shape": ("ROUND", "KITE"),
            "color": ("D", "O-P"),
            "availability": ("on_hold", "available"),
            "fancy_color": ("GREEN YELLOW",),
            "certificate_number": ("A", "1", "2"),
            "cut": ("VG", "EX", "ID"),
            "feed": ("nivoda-natural",),
            "fancy_intensity": ("FANCY_VIVID",),
        },
        ranges={"carat": Range(0.5, 1.0), "price_cents": Range(None, 500000)},
        flags={"lab_grown": False},
        sort=(SortKey("price_cents", descending=True), SortKey("carat")),
        limit=3,
    )


@pytest.mark.parametrize(
    ("text", "field", "nearest"),
    [
        ("limit=0", "limit", 1),
        ("limit=-3", "limit", 1),
        ("limit=100000", "limit", 250),
        ("limit=" + "9" * 5000, "limit", 250),
        ("limit=many", "limit", 24),
        ("limit=", "limit", 24),
        ("limit=%C2%B2", "limit", 24),
        ("carat_min=9&carat_max=1", "carat_min", 1.0),
        ("carat_min=heavy", "carat_min", None),
        ("carat_min=nan", "carat_min", None),
        ("carat_min=-1", "carat_min", 0),
        ("carat_max=1e300", "carat_max", 2**53),
        ("price_cents_min=1000.5", "price_cents_min", 1000),
        ("price_cents_min=1e999", "price_cents_min", None),
        ("price_cents_min=1_000", "price_cents_min", None),
        ("price_cents_min=" + "9" * 5000, "price_cents_min", None),
        ("shpe=ROUND", "shpe", "shape"),
        ("carat=1", "carat", "carat_min"),
        ("=", "", None),
        ("shape=ROUNDD", "shape", "ROUND"),
        ("shape=", "shape", None),
        ("shape=ROUND,", "shape", None),
        ("shape=" + ",".join(map(str, range(101))), "shape", None),
        ("color=" + ",".join(["D"] * 101), "color", None),
        ("shape=" + "R" * 201, "shape", None),
        ("shape=ROUND&shape=OVAL", "shape", None),
        ("clarity=VVS3", "clarity", "VVS2"),
        ("availability=sold", "availability", "on_hold"),
        ("lab_grown=yes", "lab_grown", "true"),
        ("sort=prize_cents", "sort", "price_cents"),
        ("sort=carat,-carat", "sort", None),
        ("sort=", "sort", None),
        ("cursor=", "cursor", None),
        ("cursor=AAAA", "cursor", None),
        ("cursor=%F0%9F%92%8E", "cursor", None),
        ("shape=%FF", "query", None),
        ("comment=" + "x" * MAX_QUERY_BYTES, "query", None),
    ],
)
def test_a_refusal_names_the_parameter_and_the_nearest_value(text: str, field: str, nearest: Any) -> None:
    with pytest.raises(BadParameter) as refused:
        parsed(text)
    assert refused.value.members["field"] == field
    assert refused.value.members["rule"]
    assert refused.value.members["nearest"] == nearest or (field, nearest) == ("limit", 24)


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_no_query_string_does_anything_but_parse_or_be_refused(raw: bytes) -> None:
    refused = refusal_of(lambda: parse_query(raw, values_of))
    assert refused is None or refused.members["rule"]


@given(st.sampled_from(NAMES), st.text(max_size=30))
def test_no_value_does_anything_but_parse_or_be_refused(name: str, value: str) -> None:
    refused = refusal_of(lambda: parsed(f"{name}={quote(value)}"))
    assert refused is None or refused.members["field"] == name


SORT = (SortKey("price_cents", descending=True), SortKey("color"))
AFTER = After((1234, None), "nivoda-natural:é")


def test_a_cursor_comes_back_as_it_went() -> None:
    assert from_cursor(to_cursor(AFTER, SORT), SORT) == AFTER


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_cursor_is_refused_or_still_well_formed(place: int, letter: str) -> None:
    text = to_cursor(AFTER, SORT)
    changed = text[: place % len(text)] + letter + text[place % len(text) + 1 :]
    found: list[After] = []
    refused = refusal_of(lambda: found.append(from_cursor(changed, SORT)))
    if refused is None:
        assert len(found[0].values) == len(SORT)
    else:
        assert refused.members["field"] == "cursor"


def test_a_cursor_of_another_sort_says_which() -> None:
    with pytest.raises(BadParameter) as refused:
        from_cursor(to_cursor(AFTER, SORT), (SortKey("carat"),))
    assert refused.value.members["nearest"] == "sort=-price_cents,color"


def test_a_cursor_with_values_of_the_wrong_kind_is_refused() -> None:
    for wrong in (("text", None), (1, 2), (float("nan"), None), (2**63, None)):
        with pytest.raises(BadParameter):
            from_cursor(to_cursor(After(wrong, "x"), SORT), SORT)


def test_every_parameter_is_documented() -> None:
    assert [doc["name"] for doc in parameter_docs()] == list(NAMES)
    assert set(FILTERS) < set(NAMES)
