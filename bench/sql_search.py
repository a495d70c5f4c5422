"""The same searches in SQL: as the former platform wrote them, and as well as we can, in Postgres and in DuckDB.

Former: texts as they came, compared by UPPER(), an index an attribute. Best: codes in a narrow table, laid out by
lab-grown, shape and weight, two covering indexes, read without touching the table. Stones are named by the rank of their
id, so that ties are broken alike everywhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import asyncpg
import duckdb
import numpy as np
from numpy.typing import NDArray

from api.query import Query
from api.searchable import Searchable
from schemas.columns import epoch_ms

TEXTS: Final = (
    *("shape", "color", "clarity", "cut", "polish", "symmetry", "fluorescence", "lab", "availability"),
)
NUMBERS: Final = ("carat", "depth_percent", "price_cents", "price_per_carat_cents", "updated_at")
_ALL: Final = (*TEXTS, "lab_grown", *NUMBERS, "id_rank")
_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """A page's ids (ranks) and the total, and the milliseconds they took."""

    ranks: list[int]
    total: int
    took_ms: float


class Columns:
    """A stock as SQL stores it, in the order given: codes of texts, numbers, ranks of ids."""

    def __init__(self, stones: Iterable[Searchable]) -> None:
        ids: list[str] = []
        self.codes: dict[str, dict[Any, int]] = {name: {None: _UNKNOWN} for name in TEXTS}
        codes: dict[str, list[int]] = {name: [] for name in TEXTS}
        rows: list[tuple[Any, ...]] = []
        for stone in stones:
            ids.append(stone.id)
            for name, column in codes.items():
                known = self.codes[name]
                column.append(known.setdefault(getattr(stone, name), len(known) - 1))
            depth = -1.0 if stone.depth_percent is None else stone.depth_percent
            rows.append((stone.lab_grown, stone.carat, depth, stone.price_cents, epoch_ms(stone.updated_at)))
        self.ranks = np.empty(len(ids), dtype=np.int32)
        self.ranks[np.argsort(np.array(ids))] = np.arange(len(ids), dtype=np.int32)
        lab_grown, carat, depth_percent, price_cents, updated_at = map(np.array, zip(*rows, strict=True))
        thousandths = np.maximum(1, np.rint(carat * 1000).astype(np.int64))
        self.arrays: dict[str, NDArray[Any]] = {
            **{name: np.array(column, dtype=np.int16) for name, column in codes.items()},
            "lab_grown": lab_grown,
            "carat": carat,
            "depth_percent": depth_percent,
            "price_cents": price_cents.astype(np.int32),
            "price_per_carat_cents": ((2000 * price_cents + thousandths) // (2 * thousandths)).astype(
                np.int32
            ),
            "updated_at": updated_at,
            "id_rank": self.ranks,
        }
        self.layout = np.lexsort((carat, self.arrays["shape"], lab_grown))

    def texts(self, name: str) -> NDArray[Any]:
        """A listed attribute as it was given."""
        # The code of what is unknown is -1: its text is the last.
        table = [text for text in self.codes[name] if text is not None]
        found: NDArray[Any] = np.array([*table, None], dtype=object)[self.arrays[name]]
        return found

    def code(self, name: str, text: str) -> int:
        """A text's code; of one that no stone has, a code that no stone has."""
        return self.codes[name].get(text, len(self.codes[name]))


def where(query: Query, columns: Columns, *, former: bool) -> str:
    """The conditions of a query."""
    parts = []
    for name, values in query.lists.items():
        if former:
            parts.append(f"UPPER({name}) IN ({', '.join(repr(v.upper()) for v in values)})")
        else:
            parts.append(f"{name} IN ({', '.join(str(columns.code(name, v)) for v in values)})")
    for name, wanted in query.ranges.items():
        if wanted.low is not None:
            parts.append(f"{name} >= {wanted.low}")
        elif name == "depth_percent":
            parts.append("depth_percent >= 0")
        if wanted.high is not None:
            parts.append(f"{name} <= {wanted.high}")
    parts += [f"lab_grown = {truth}" for truth in query.flags.values()]
    return " AND ".join(parts)


def statements(query: Query, columns: Columns, table: str, *, former: bool) -> tuple[str, str]:
    """Page and total."""
    conditions = where(query, columns, former=former)
    order = ", ".join(f"{key.name}{' DESC' if key.descending else ''}" for key in query.sort)
    page = (
        f"SELECT id_rank FROM {table} WHERE {conditions} ORDER BY {order}, id_rank "
        f"LIMIT {query.limit} OFFSET {query.offset}"
    )
    return page, f"SELECT count(*) FROM {table} WHERE {conditions}"


def in_duckdb(columns: Columns, queries: list[Query]) -> list[Answer]:
    """Answers of DuckDB in memory, one thread, over the narrow table."""
    connection = duckdb.connect(config={"threads": 1})
    data = {name: columns.arrays[name][columns.layout] for name in _ALL}
    connection.register("data", data)
    connection.execute("CREATE TABLE best AS SELECT * FROM data")
    return [
        _ask(query, columns, "best", False, lambda sql: connection.execute(sql).fetchall())
        for query in queries
    ]


def _ask(
    query: Query, columns: Columns, table: str, former: bool, fetch: Callable[[str], list[Any]]
) -> Answer:
    page, total = statements(query, columns, table, former=former)
    started = time.perf_counter()
    ranks = [row[0] for row in fetch(page)]
    count = int(fetch(total)[0][0])
    return Answer(ranks, count, (time.perf_counter() - started) * 1000)


class InPostgres:
    """Both tables in one Postgres.

    Args:
        dsn: of a database of its own.
        columns: the stock.
    """

    def __init__(self, dsn: str, columns: Columns) -> None:
        self._columns = columns
        self._loop = asyncio.new_event_loop()
        self._connection: Any = self._loop.run_until_complete(asyncpg.connect(dsn))

    def close(self) -> None:
        """End the connection."""
        self._loop.run_until_complete(self._connection.close())
        self._loop.close()

    def fill(self) -> None:
        """Make, fill and index both tables."""
        columns = self._columns
        texts = ", ".join(f"{name} text" for name in TEXTS)
        codes = ", ".join(f"{name} smallint" for name in TEXTS)
        rest = (
            "lab_grown boolean, carat double precision, depth_percent double precision, price_cents integer, "
            "price_per_carat_cents integer, updated_at bigint, id_rank integer"
        )
        for statement in (
            f"CREATE UNLOGGED TABLE former ({texts}, {rest})",
            f"CREATE UNLOGGED TABLE best ({codes}, {rest})",
            "SET maintenance_work_mem = '512MB'; SET max_parallel_workers_per_gather = 0",
        ):
            self._run(self._connection.execute(statement))
        every = np.arange(len(columns.ranks))
        self._copy("former", every, {name: columns.texts(name) for name in TEXTS})
        self._copy("best", columns.layout, columns.arrays)
        for name in TEXTS:
            self._run(self._connection.execute(f"CREATE INDEX ON former (UPPER({name}))"))
        for name in NUMBERS:
            self._run(self._connection.execute(f"CREATE INDEX ON former ({name})"))
        for statement in (
            "CREATE INDEX ON former (UPPER(shape), carat, price_cents)",
            f"CREATE INDEX ON best (lab_grown, shape, carat) INCLUDE ({', '.join(_others('carat'))})",
            f"CREATE INDEX ON best (lab_grown, shape, price_cents) INCLUDE ({', '.join(_others('price_cents'))})",
            "VACUUM ANALYZE former",
            "VACUUM ANALYZE best",
        ):
            self._run(self._connection.execute(statement, timeout=600))

    def ask(self, queries: list[Query], *, former: bool) -> list[Answer]:
        """Answers from one of the two."""
        table = "former" if former else "best"

        def fetch(sql: str) -> list[Any]:
            found: list[Any] = self._run(self._connection.fetch(sql))
            return found

        return [_ask(query, self._columns, table, former, fetch) for query in queries]

    def _copy(self, table: str, rows: NDArray[Any], texts: dict[str, NDArray[Any]]) -> None:
        arrays = self._columns.arrays
        for start in range(0, len(rows), 100_000):
            part = rows[start : start + 100_000]
            values = [*(texts[name][part].tolist() for name in TEXTS)]
            values += [arrays[name][part].tolist() for name in ("lab_grown", *NUMBERS, "id_rank")]
            lines = (
                "\t".join("\\N" if v is None else str(v) for v in row) for row in zip(*values, strict=True)
            )
            source = BytesIO(("\n".join(lines) + "\n").encode())
            self._run(self._connection.copy_to_table(table, source=source))

    def _run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)


def _others(key: str) -> list[str]:
    return [name for name in _ALL if name not in ("lab_grown", "shape", key)]
