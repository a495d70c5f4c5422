"""A search in SQL, on the rows that the sink wrote: what the API's answers are compared with.

Written from what a search means (`api.query`), not from how the index does it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from api.fields import FIELDS, Kind
from api.query import Query, SortKey

_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALIVE: Final = "retired_at IS NULL"
_THOUSANDTHS: Final = "GREATEST(1, round(carat * 1000))::bigint"
_DERIVED: Final = {
    "price_per_carat_cents": f"((2000 * price_cents::bigint + {_THOUSANDTHS}) / (2 * {_THOUSANDTHS}))"
}
"""What the index makes of a record's fields, and no column has."""


class SqlSearch:
    """The statements of one search over the table `diamonds`.

    Attributes:
        arguments: their parameters, in order.
    """

    def __init__(self, query: Query) -> None:
        if query.after is not None or query.prefixes:
            raise ValueError("cursors and beginnings are not compared in SQL")
        self.arguments: list[Any] = []
        self._query = query
        self._where = " AND ".join(
            [
                _ALIVE,
                *(f"{name} = ANY({self._bound(list(values))})" for name, values in query.lists.items()),
                *(f"{name} = {self._bound(truth)}" for name, truth in query.flags.items()),
                *(self._range(name) for name in query.ranges),
            ]
        )

    @property
    def total(self) -> str:
        """How many stones match."""
        return f"SELECT count(*) FROM diamonds WHERE {self._where}"

    @property
    def page(self) -> str:
        """The ids of the page, in order."""
        keys = [part for key in self._query.sort for part in self._order(key)]
        order = ", ".join([*keys, 'id COLLATE "C"'])
        window = f"LIMIT {self._query.limit} OFFSET {self._query.offset}"
        return f"SELECT id FROM diamonds WHERE {self._where} ORDER BY {order} {window}"

    def _bound(self, value: Any) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def _range(self, name: str) -> str:
        wanted = self._query.ranges[name]
        ends: list[tuple[str, Any]] = [(">=", wanted.low), ("<=", wanted.high)]
        if FIELDS[name].kind is Kind.MOMENT:
            ends = [(sign, end and _1970 + timedelta(milliseconds=end)) for sign, end in ends]
        name = _DERIVED.get(name, name)
        return " AND ".join(f"{name} {sign} {self._bound(end)}" for sign, end in ends if end is not None)

    def _order(self, key: SortKey) -> list[str]:
        direction = f"{'DESC' if key.descending else 'ASC'} NULLS LAST"
        field = FIELDS[key.name]
        if field.graded:
            # The grades are constants of ours, and the total's statement must not count them among its parameters.
            grades = ",".join(f"'{value}'" for value in field.values)
            place = f"array_position(ARRAY[{grades}]::text[], {key.name})"
            return [f"({key.name} IS NULL)", f"{place} {direction}", f'{key.name} COLLATE "C" {direction}']
        if field.kind is Kind.LIST:
            return [f'{key.name} COLLATE "C" {direction}']
        return [f"{_DERIVED.get(key.name, key.name)} {direction}"]
