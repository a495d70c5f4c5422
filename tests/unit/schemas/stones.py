"""A plain stone for tests: `make_stone(shape="OVAL")` is the default one with another shape."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from schemas.stone import Availability, Cause, Stone, encode

DEFAULTS: dict[str, Any] = {
    "cost_cents": 100_000,
    "offer_id": "DIAMOND/1",
    "id": "nivoda-natural:1",
    "feed": "nivoda-natural",
    "shape": "ROUND",
    "carat": 1.01,
    "lab_grown": False,
    "availability": Availability.AVAILABLE,
    "price_cents": 140_000,
    "rule": "base:natural",
    "rules_version": 1,
    "updated_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "seq": (1 << 40) + 1,
    "mapper_version": 1,
    "content_hash": "0" * 16,
    "cause": Cause.NEW,
    "margin_bps": 4_000,
    "raw_offset": 0,
}


def make_stone(**changes: Any) -> Stone:
    """A stone with every required field set; `changes` override."""
    return Stone(**(DEFAULTS | changes))


_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.decimals(
    -1000, 1000, places=3, allow_nan=False
).map(float)
_MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
_TEXTS = st.text(st.characters(codec="ascii"), max_size=20) | st.text(max_size=5)
_BY_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    "IntType": _INTEGERS,
    "FloatType": _FLOATS,
    "StrType": _TEXTS,
    "BoolType": st.booleans(),
    "DateTimeType": _MOMENTS,
}


def _strategy_of(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, msgspec.inspect.Metadata):
        return _strategy_of(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return st.one_of(*map(_strategy_of, kind.types))
    if isinstance(kind, msgspec.inspect.NoneType):
        return st.none()
    if isinstance(kind, msgspec.inspect.EnumType):
        return st.sampled_from(list(kind.cls))
    if isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType) and 0 in (kind.ge, kind.gt):
        return _BY_TYPE[type(kind).__name__].map(abs).filter(lambda number: 0 < number < 2**63)
    return _BY_TYPE[type(kind).__name__]


(_DESCRIBED,) = msgspec.inspect.multi_type_info([Stone])


def any_stones() -> st.SearchStrategy[Stone]:
    """Stones with any values that their fields allow."""
    assert isinstance(_DESCRIBED, msgspec.inspect.StructType)
    fields = {field.name: _strategy_of(field.type) for field in _DESCRIBED.fields}
    return st.fixed_dictionaries(fields).map(lambda values: Stone(**values))


UNREADABLE = (
    b"",
    b"{",
    b"<html>",
    encode(make_stone())[:-1],
    encode(make_stone()).replace(b'"carat":1.01', b'"carat":"1.01"'),
    encode(make_stone()).replace(b'"shape":"ROUND"', b'"shape":null'),
    encode(make_stone()).replace(b'"ROUND"', b'"RO\xffD"'),
    encode(make_stone(id="nivoda-natural:2")),
)
"""Records under the default stone's key that nobody can use."""
