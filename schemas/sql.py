"""SQL derived from the records: the table `diamonds` is the canonical stone, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import Annotated, Final, Union, get_args, get_origin, get_type_hints

import msgspec

from schemas.stone import Bigint, Stone

_TYPES: Final[dict[type, str]] = {
    bool: "boolean",
    int: "bigint",
    float: "double precision",
    str: "text",
    datetime: "timestamptz",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that mirrors a record."""

    name: str
    sql_type: str
    nullable: bool
    meaning: str
    since: int = 1
    """Version of the record that brought it, from `Meta(extra={"since": …})`; migrations select by it."""


def columns_of(struct: type[msgspec.Struct]) -> tuple[Column, ...]:
    """The columns of a record's table, in the record's order.

    Raises:
        TypeError: a field has a type SQL is not told how to hold.
    """
    hints = get_type_hints(struct, include_extras=True)
    return tuple(_column(name, hints[name]) for name in struct.__struct_fields__)


def _column(name: str, hint: object) -> Column:
    meaning, since = "", 1
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        metas = [extra for extra in extras if isinstance(extra, msgspec.Meta)]
        meaning = next((meta.description for meta in metas if meta.description), "")
        since = next((meta.extra["since"] for meta in metas if meta.extra and "since" in meta.extra), 1)
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    plain = [option for option in options if option is not type(None)]
    kind = plain[0]
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        kind = str
    if len(plain) != 1 or kind not in _TYPES:
        raise TypeError(f"{name}: no SQL type for {hint}")
    return Column(name, _TYPES[kind], nullable=len(options) > 1, meaning=meaning, since=since)


STONE_COLUMNS: Final = columns_of(Stone)
"""The columns of `diamonds` that come from the record."""

BIGINTS: Final = {
    column.name: Bigint | None if column.nullable else Bigint
    for column in STONE_COLUMNS
    if column.sql_type == "bigint"
}
"""The types of the record's integers, where they are to be held."""

SINK_COLUMNS: Final = (
    Column("topic_id", "uuid", False, "id of the canonical topic the row was read from"),
    Column(
        "canonical_offset",
        "bigint",
        False,
        "offset of the record in the feed's partition; an upsert never goes back",
    ),
    Column("retired_at", "timestamptz", True, "when the stone was found gone; null while it is in stock"),
)
"""The columns of `diamonds` that the sink adds."""


def create_table(name: str, columns: tuple[Column, ...], primary_key: str) -> str:
    """A CREATE TABLE statement for columns derived from a record."""
    lines = [
        f"    {column.name} {column.sql_type}{'' if column.nullable else ' NOT NULL'}" for column in columns
    ]
    return f"CREATE TABLE {name} (\n" + ",\n".join([*lines, f"    PRIMARY KEY ({primary_key})"]) + "\n)"
