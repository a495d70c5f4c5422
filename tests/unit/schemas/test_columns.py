"""The columnar form holds what a dict of stones would."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import Codes, Columns, epoch_ms
from schemas.stone import Stone
from tests.unit.schemas.stones import DEFAULTS, make_stone

NAMES = (
    "shape",
    "carat",
    "color",
    "price_cents",
    "return_window_days",
    "treated",
    "updated_at",
    "depth_percent",
)
IDS = st.integers(0, 20).map(lambda number: f"nivoda-natural:{number}")
CHANGES = st.fixed_dictionaries(
    {
        "shape": st.sampled_from(["ROUND", "OVAL"]),
        "color": st.none() | st.sampled_from("DEF"),
        "price_cents": st.integers(0, 2**50),
        "return_window_days": st.none() | st.integers(0, 30),
        "treated": st.none() | st.booleans(),
        "depth_percent": st.none() | st.floats(0, 100),
    }
)


@given(st.lists(st.tuples(IDS, st.none() | CHANGES)))
def test_columns_equal_a_dict_of_stones(steps: list[tuple[str, dict[str, Any] | None]]) -> None:
    columns = Columns(NAMES)
    plain: dict[str, Stone] = {}
    for stone_id, changes in steps:
        if changes is None:
            assert (columns.remove(stone_id) is None) == (plain.pop(stone_id, None) is None)
        else:
            plain[stone_id] = make_stone(id=stone_id, **changes)
            columns.put([plain[stone_id]])
    assert columns.rows.keys() == plain.keys()
    assert int(columns.live.sum()) == len(columns) == len(plain)
    for stone_id, stone in plain.items():
        row = columns.rows[stone_id]
        for name in NAMES:
            expected = epoch_ms(DEFAULTS["updated_at"]) if name == "updated_at" else getattr(stone, name)
            assert columns.value(name, row) == expected


def test_a_batch_may_name_a_stone_twice_and_the_last_wins() -> None:
    columns = Columns(NAMES)
    rows = columns.put([make_stone(price_cents=1), make_stone(price_cents=2)])
    assert rows.tolist() == [0, 0]
    assert columns.value("price_cents", 0) == 2


def test_growth_keeps_every_row() -> None:
    columns = Columns(("price_cents",))
    for start in range(0, 5_000, 500):
        columns.put([make_stone(id=f"f:{i}", price_cents=i) for i in range(start, start + 500)])
    assert len(columns) == columns.used == 5_000
    assert columns["price_cents"].tolist() == list(range(5_000))


def test_codes_never_change() -> None:
    codes = Codes()
    assert [codes.add("x"), codes.add("y"), codes.add("x"), codes.add(None)] == [1, 2, 1, 0]
    assert codes.find("z") is None
    assert len(codes) == 3
