from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cursors import from_cursor, to_cursor
from api.keys import Scope
from api.parameter_docs import parameter_docs
from api.parameters import MAX_QUERY_BYTES, PARAMETERS, WALK_CAP, Asked, check_scopes, read_parameters, split
from api.problems import BadParameter, NotAllowed
from api.query import After, Facets, Query, Range, SortKey


def values_of(name: str) -> Iterable[str]:
    return {
        "shape": ("KITE",),
        "supplier_name": ("x",),
        "eye_clean": ("yes",),
        "fancy_color": ("GREEN YELLOW", "PINK"),
    }.get(name, ())


def refusal_of(work: Callable[[], object]) -> BadParameter | None:
    try:
        work()
    except BadParameter as refused:
        return refused
    return None


def asked(text: str | bytes) -> Asked:
    return read_parameters(split(text if isinstance(text, bytes) else text.encode()), values_of)


def parsed(text: str | bytes) -> Query:
    return asked(text).query()


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
        ("=", "(no name)", None),
        ("shape=ROUNDD", "shape", "ROUND"),
        ("shape=", "shape", None),
        ("shape=ROUND,", "shape", None),
        ("shape=" + ",".join(map(str, range(101))), "shape", 100),
        ("color=" + ",".join(["D"] * 101), "color", 100),
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
        ("comment=" + "x" * MAX_QUERY_BYTES, "query", MAX_QUERY_BYTES),
        ("shape=" + ",".join(["ROUND"] * 10_000), "shape", MAX_QUERY_BYTES),
        ("q=" + "x" * 1_000_000, "q", MAX_QUERY_BYTES),
        ("q=" + "x" * 201, "q", "x" * 200),
        ("color_min=F&color_max=D", "color_min", "D"),
        ("color=F..D", "color", "D..F"),
        ("color=D..BB", "color", None),
        ("color_min=", "color_min", None),
        ("color=D&color_min=E", "color", None),
        ("clarity_min=VVS3", "clarity_min", "VVS2"),
        ("availability_min=available", "availability_min", "availability"),
        ("offset=-1", "offset", 0),
        ("offset=3&cursor=x", "offset", None),
        ("facets=shap", "facets", "shape"),
        ("facets=certificate_number", "facets", None),
        ("fields=slimm", "fields", "slim"),
        ("max_age=old", "max_age", 60),
        ("updated_at_min=yesterday", "updated_at_min", "2026-01-31T12:00:00Z"),
        ("updated_at_min=2026-01-31T12:00:00", "updated_at_min", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_refusal_names_the_parameter_and_the_nearest_value(text: str, field: str, nearest: Any) -> None:
    with pytest.raises(BadParameter) as refused:
        parsed(text)
    assert refused.value.members["field"] == field
    assert refused.value.members["rule"]
    assert refused.value.members["nearest"] == nearest or (field, nearest) == ("limit", 24)


def test_every_filter_of_the_trade_is_read() -> None:
    query = parsed(
        "color_min=D&color_max=F&clarity=VS2..&cut=..very%20good&fluorescence=NON,faint&polish_max=Excellent"
        "&certificate_number_prefix=123,GIA&updated_at_min=2026-01-01T00:00:00%2B01:00&ratio_max=1.05&treated=false"
        "&first_seen_min=2026-01-01T00:00:00.5Z&list_discount_bps_min=-5000&has_video=true&id=a,b&offset=48&rating_min=60&eye_clean=yes"
    )
    assert query.lists["color"] == ("D", "E", "F")
    assert query.lists["clarity"] == ("VS2", "SI1", "SI2", "SI3", "I1", "I2", "I3")
    assert query.lists["cut"] == ("8X", "ID", "EX", "VG")
    assert query.lists["polish"] == ("8X", "ID", "EX")
    assert query.lists["fluorescence"] == ("NONE", "FAINT")
    assert query.lists["id"] == ("a", "b")
    assert query.prefixes == {"certificate_number": ("123", "GIA")}
    assert query.flags == {"treated": False, "has_video": True}
    assert query.offset == 48
    assert query.ranges == {
        "updated_at": Range(1767222000000, None),
        "first_seen": Range(1767225600500, None),
        "ratio": Range(None, 1.05),
        "list_discount_bps": Range(-5000, None),
        "rating": Range(60, None),
    }


def test_facets_are_told_apart_and_fields_and_age_are_read() -> None:
    read = asked("facets=shape,lab_grown,price_cents&fields=slim&max_age=30&q=oval")
    assert read.query().facets == Facets(("shape", "lab_grown"), {"price_cents": ()})
    assert (read.slim, read.max_age_s, read.text) == (True, 30, "oval")


def test_what_needs_a_scope_is_refused_without_it() -> None:
    for text in ("cost_cents_max=5", "supplier_name=x", "sort=-cost_cents", "facets=list_discount_bps"):
        with pytest.raises(NotAllowed, match="cost:read"):
            check_scopes(asked(text), {Scope.READ_DIAMONDS})
        check_scopes(asked(text), set(Scope))


def test_beyond_the_cap_the_scope_for_export_is_needed() -> None:
    far = asked(f"offset={WALK_CAP - 23}")
    with pytest.raises(BadParameter) as refused:
        check_scopes(far, {Scope.READ_DIAMONDS})
    assert refused.value.members["nearest"] == WALK_CAP - 24
    check_scopes(far, set(Scope))
    check_scopes(asked(f"offset={WALK_CAP - 24}"), {Scope.READ_DIAMONDS})


def test_a_list_that_was_read_before_is_remembered() -> None:
    remembered: dict[tuple[str, str], tuple[str, ...]] = {}
    for _ in range(2):
        query = read_parameters({"shape": "oval,kite"}, values_of, remembered).query()
        assert query.lists["shape"] == ("OVAL", "KITE")
    assert remembered == {("shape", "oval,kite"): ("OVAL", "KITE")}


@given(st.binary(max_size=80) | st.text(max_size=60).map(str.encode))
def test_no_query_string_does_anything_but_parse_or_be_refused(raw: bytes) -> None:
    refused = refusal_of(lambda: parsed(raw))
    assert refused is None or refused.members["rule"]


@given(st.sampled_from(tuple(PARAMETERS)), st.text(max_size=30))
def test_no_value_does_anything_but_parse_or_be_refused(name: str, value: str) -> None:
    refused = refusal_of(lambda: parsed(f"{name}={quote(value)}"))
    assert refused is None or refused.members["field"] == name


SORT = (SortKey("price_cents", descending=True), SortKey("color"))
AFTER = After((1234, None), "nivoda-natural:é")


def test_a_cursor_comes_back_as_it_went() -> None:
    assert from_cursor(to_cursor(AFTER, SORT, 48, 7), SORT, 7) == (AFTER, 48)


@given(st.integers(0, 200), st.characters(codec="ascii"))
def test_a_changed_cursor_is_refused_or_still_well_formed(place: int, letter: str) -> None:
    text = to_cursor(AFTER, SORT, 0, 7)
    changed = text[: place % len(text)] + letter + text[place % len(text) + 1 :]
    found: list[After] = []
    refused = refusal_of(lambda: found.append(from_cursor(changed, SORT, 7)[0]))
    if refused is None:
        assert len(found[0].values) == len(SORT)
    else:
        assert refused.members["field"] == "cursor"


def test_a_cursor_of_another_sort_says_which() -> None:
    with pytest.raises(BadParameter) as refused:
        from_cursor(to_cursor(AFTER, SORT, 0, 7), (SortKey("carat"),), 7)
    assert refused.value.members["nearest"] == "sort=-price_cents,color"


def test_a_cursor_with_values_of_the_wrong_kind_is_refused() -> None:
    for wrong in (("text", None), (1, 2), (float("nan"), None), (2**63, None)):
        with pytest.raises(BadParameter):
            from_cursor(to_cursor(After(wrong, "x"), SORT, 0, 7), SORT, 7)


def test_every_parameter_is_documented() -> None:
    assert [doc["name"] for doc in parameter_docs()] == list(PARAMETERS)
