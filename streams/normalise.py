"""From the vendor's item to our content: a table compiled into one function. Pure, no I/O.

`compile_mapping` writes the table out as straight-line Python once and compiles it: a row costs one attribute read and
one dictionary look-up, where walking the table for each stone would cost ten times as much. `inspect` the result's
`source` to read what runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from connectors.feeds.form import Form
from connectors.feeds.mappings import MAPPINGS
from connectors.feeds.table import Parser, Refused, Row, Unknown
from schemas.errors import Invalid
from schemas.feeds import FEEDS, FeedInfo, stone_id
from schemas.stone import Content
from streams.pages import PageReader
from streams.transcription.transcriber import transcriber

_MEMO_SIZE: Final = 50_000
_VALUES_COUNTED: Final = 50
_OTHERS: Final = "(others)"


class UnknownValues:
    """How often each field held a value that its vocabulary does not know.

    At most 50 different values of a field are kept apart, so that a vendor's free text cannot fill the memory.
    """

    def __init__(self) -> None:
        self.by_field: dict[str, Counter[str]] = {}

    def count(self, field: str, value: object) -> None:
        """Count one occurrence."""
        values = self.by_field.setdefault(field, Counter())
        text = str(value)[:100]
        values[text if text in values or len(values) < _VALUES_COUNTED else _OTHERS] += 1

    def totals(self) -> dict[str, int]:
        """Occurrences by field."""
        return {field: values.total() for field, values in self.by_field.items()}


class Normaliser:
    """The compiled table of one feed.

    Attributes:
        version: number of the mapping; a higher one makes a replay write what changed.
        unknown: values that were not understood, by field of `Content`.
        pages: reads the feed's pages.
        content: the compiled function: vendor item to `Content`; raises `Invalid` with the vendor's path.
        content_of_plain: the same for an item from a page that `is_plain`, a third faster.
        source: the Python that `content` was compiled from.
        transcriber: makes most items of a page that `is_plain` into encoded contents; null where the table is beyond it.
    """

    def __init__(self, table: tuple[Row, ...], version: int, feed: FeedInfo, form: Form) -> None:
        check_total(table)
        self.pages = PageReader(form)
        self.transcriber = transcriber(table, feed, form.item)
        self.version = version
        self.unknown = UnknownValues()
        names: dict[str, Any] = {
            "Content": Content,
            "refuse": _refuse,
            "stone_prefix": stone_id(feed.name, ""),
        }
        self.source = "\n".join(_function(table, feed, form.item, names, self.unknown))
        self.content = _compiled(self.source, feed, names)
        self.content_of_plain = _compiled(_PRINTABLE.sub("", self.source), feed, names)


_PRINTABLE: Final = re.compile(r"v\d+\.isprintable\(\) and ")


def is_plain(page: bytes) -> bool:
    """Whether no text in a page's JSON can hold a character that is not printable: ASCII without any escape."""
    return page.isascii() and b"\\" not in page and b"\x7f" not in page


def _compiled(source: str, feed: FeedInfo, names: dict[str, Any]) -> Callable[[Any], Content]:
    # The text comes from our own table alone; no input reaches it.
    exec(compile(source, f"<mapping of {feed.name}>", "exec"), names)
    compiled: Callable[[Any], Content] = names["content"]
    return compiled


def check_total(table: tuple[Row, ...]) -> None:
    """Every field of `Content` has exactly one row.

    Raises:
        TypeError: names the fields that have none or several, and rows of no field.
    """
    rows = Counter(row.field for row in table)
    wrong = {name for name in (*rows, *Content.__struct_fields__) if rows[name] != 1}
    if wrong or set(rows) != set(Content.__struct_fields__):
        raise TypeError(f"not exactly one row each: {', '.join(sorted(wrong or set(rows)))}")


def _function(
    table: tuple[Row, ...],
    feed: FeedInfo,
    item: type[msgspec.Struct],
    names: dict[str, Any],
    unknown: UnknownValues,
) -> Iterator[str]:
    paths = sorted({path for row in table for path in row.sources if not path.startswith("feed.")})
    nodes = _Nodes(item)
    yield "def content(item):"
    for line in nodes.lines(paths):
        yield f"    {line}"
    arguments = []
    for number, row in enumerate(table):
        if row.parser is None:
            value = repr(getattr(feed, row.sources[0].removeprefix("feed."))) if row.sources else "None"
        else:
            lines, value = _row(row, row.parser, number, nodes, names, unknown)
            for line in lines:
                yield f"    {line}"
        arguments.append(f"{row.field}={f'stone_prefix + {value}' if row.field == 'id' else value}")
    yield f"    return Content({', '.join(arguments)})"


class _Nodes:
    """Local variables of the generated function for the structs inside an item."""

    def __init__(self, item: type[msgspec.Struct]) -> None:
        self._optional: dict[str, bool] = {"": False}
        self._types: dict[str, Any] = {"": item}

    def lines(self, paths: list[str]) -> Iterator[str]:
        """Statements that fetch every inner struct once; a missing certificate refuses the item."""
        for path in paths:
            parts = path.split(".")[:-1]
            for depth in range(1, len(parts) + 1):
                node = ".".join(parts[:depth])
                if node not in self._types:
                    yield from self._fetch(".".join(parts[: depth - 1]), parts[depth - 1], node)

    def _fetch(self, parent: str, name: str, node: str) -> Iterator[str]:
        hint = msgspec.structs.fields(self._types[parent])
        kind = next(field.type for field in hint if field.name == name)
        options = [part for part in getattr(kind, "__args__", (kind,)) if part is not type(None)]
        self._types[node] = options[0]
        self._optional[node] = kind is not options[0] and name != "certificate"
        yield f"{_local(node)} = {self.read(f'{parent}.{name}'.lstrip('.'))}"
        if name == "certificate":
            yield f'if {_local(node)} is None: refuse({node!r}, "must not be null", "null_certificate")'

    def read(self, path: str) -> str:
        """The expression for a path: null where a struct on the way is."""
        parent, _, name = path.rpartition(".")
        local = _local(parent)
        read = f"{local}.{name}"
        return f"(None if {local} is None else {read})" if self._optional[parent] else read


def _local(node: str) -> str:
    return f"n_{node.replace('.', '_')}" if node else "item"


def _row(
    row: Row, parser: Parser, number: int, nodes: _Nodes, names: dict[str, Any], unknown: UnknownValues
) -> tuple[list[str], str]:
    """The statements and the expression that yield a row's value."""
    readers = [_Reader(row, parser, path, unknown) for path in row.sources]
    if parser.memo and len(readers) == 1:
        names[f"memo{number}"] = _Memo(readers[0])
        return [], f"memo{number}[{nodes.read(row.sources[0])}]"
    value = f"v{number}"
    null_passes = f"{value} is None or " if row.required else f"{value} is not None and "
    printable = f"{value}.isprintable() and " if parser.text else ""
    unread = f"{null_passes}not ({printable}{parser.as_is.format(v=value)})" if parser.as_is else "True"
    lines = []
    for source, (path, reader) in enumerate(zip(row.sources, readers, strict=True)):
        names[f"read{number}_{source}"] = reader
        indent = ""
        if source:
            lines.append(f"if {value} is None:")
            indent = "    "
        lines.append(f"{indent}{value} = {nodes.read(path)}")
        lines.append(f"{indent}if {unread}: {value} = read{number}_{source}({value})")
    return lines, value


class _Reader:
    """A parser in its row: says what becomes of values that are unknown or missing."""

    def __init__(self, row: Row, parser: Parser, path: str, unknown: UnknownValues) -> None:
        self._row = row
        self._parser = parser
        self._path = path
        self._unknown = unknown
        self.counted = False

    def __call__(self, value: object) -> object:
        self.counted = False
        try:
            parsed = self._parser.parse(value)
        except Refused as error:
            raise Invalid(self._path, str(error), error.code) from None
        except Unknown as error:
            return self._not_known(value, error)
        if parsed is None and self._row.required:
            raise Invalid(self._path, "must not be null or empty", f"null_{self._row.field}")
        return parsed

    def _not_known(self, value: object, error: Unknown) -> object:
        self._unknown.count(self._row.field, value)
        if self._row.required or self._row.refuse_unknown:
            shown = str(value)[:60]
            raise Invalid(self._path, f"{error}: {shown!r}", f"unknown_{self._row.field}") from None
        self.counted = True
        keep = getattr(self._parser, "keep_unknown", False)
        return " ".join(str(value).upper().split())[:100] if keep else self._parser.fallback


class _Memo(dict[Any, Any]):
    """Values read before. Unknown ones are not remembered, so that each occurrence is counted."""

    __slots__ = ("_read",)

    def __init__(self, read: _Reader) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, value: Any) -> Any:
        parsed = self._read(value)
        if not self._read.counted and len(self) < _MEMO_SIZE:
            self[value] = parsed
        return parsed


def _refuse(field: str, rule: str, code: str) -> None:
    raise Invalid(field, rule, code)


Normalisers = Mapping[str, Normaliser]
"""By feed."""


def normalisers() -> dict[str, Normaliser]:
    """Every feed's, compiled from its table."""
    return {
        name: Normaliser(mapping.table, mapping.version, FEEDS[name], mapping.form)
        for name, mapping in MAPPINGS.items()
    }
