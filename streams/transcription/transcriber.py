"""A mapping's table made into a plan for the kernel, and what is learned of a vendor's values on the way.

The mapping's parsers stay the one truth: the kernel asks what a value's bytes become the first time it meets them, and
the parser answers. What a parser does not know, refuses, or would have counted is never learned, so that such an item
always goes the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from connectors.feeds.table import Decimal, Integer, Refused, Row, Text, Unknown, Url
from schemas.feeds import FeedInfo, stone_id
from schemas.stone import Content
from streams.transcription import grammar, kernel
from streams.transcription.grammar import ABSENT
from streams.transcription.kernel import LEFT, WAITING, Given, Plan, Table
from streams.transcription.words import SLACK

MOST_LEARNED: Final = 200_000
"""Values of all fields together: a vendor's free texts cannot fill the memory."""
_LONGEST_VALUE: Final = 200
_LONGEST_OF_TEXT: Final = 20
"""Of a text that is unique to a stone only the short ones, words for nothing among them, are worth learning."""
_ASKED_AT_ONCE: Final = 512
_BEHIND: Final = b'"' + SLACK * b" "
"""A text that is cut off ends here at the latest."""
_SHORTEST_ITEM: Final = 256
"""Bytes, in the mean; lists of shorter ones are not read. There is room for as many as a page can hold."""
_MOST_DECIMALS: Final = 4
"""Of a number that need not be learned: a smaller one stands in JSON with an exponent."""
_FIELDS: Final = Content.__struct_fields__
_KINDS: Final = {
    type(None): grammar.NULL,
    bool: grammar.FALSE_TRUE,
    int: grammar.WHOLE,
    float: grammar.WHOLE | grammar.DECIMAL,
    str: grammar.STRING,
}


class Contents(NamedTuple):
    """The contents of a page's items, an entry an item in each.

    Attributes:
        ids: the stones'; empty for an item that must go the plain way, whatever stands in the others.
        costs: US cents.
        jsons: the encoded `Content`; views of memory that the next page is written into.
        entries: what gave the learned fields that were asked for: equal bytes, equal values.
    """

    ids: list[str]
    costs: list[int]
    jsons: list[bytes | memoryview]
    entries: list[bytes]


class Found(NamedTuple):
    """A page, where the objects of its first list begin and end, and the page without them."""

    page: bytes
    places: NDArray[np.int64]
    around: bytes

    def item(self, place: int) -> bytes:
        """One of the objects."""
        begin, end = self.places[place].tolist()
        return self.page[begin:end]


def nothing_of(count: int) -> Contents:
    """Contents of so many items that must all go the plain way."""
    return Contents([""] * count, [0] * count, [b""] * count, [b""] * count)


class _NotExpressible(Exception):
    """The table or the vendor's item holds something that the kernel has no words for."""


class Transcriber:
    """For one feed's pages.

    Args:
        table: the feed's mapping.
        feed: the feed.
        item: the vendor's item.

    Attributes:
        learned: the fields that `Contents.entries` can tell apart.
        constant: the fields that are the same for all stones of the feed.
    """

    def __init__(self, table: Sequence[Row], feed: FeedInfo, item: type[msgspec.Struct]) -> None:
        rows = {row.field: row for row in table}
        self._rows = [rows[field] for field in _FIELDS]
        keys = _Keys(item)
        self._sources = [
            (place, keys.numbers[path])
            for place, row in enumerate(self._rows)
            if row.parser is not None
            for path in row.sources
        ]
        self._decoders = [msgspec.json.Decoder(keys.hints[key]) for _, key in self._sources]
        self.plan = self._plan(keys, feed)
        self.learned, self.constant = (
            frozenset(field for field, own in zip(_FIELDS, self.plan.kinds, strict=True) if own == kind)
            for kind in (kernel.LEARNED, kernel.CONSTANT)
        )
        self._known = _Learned(len(self._sources), len(_FIELDS))
        self._given = self._room(64, 1 << 16)

    def transcribe(self, items: Sequence[bytes | msgspec.Raw], fields: Sequence[str]) -> Contents:
        """The contents of a page's items.

        Args:
            items: valid JSON, and plain (`streams.normalise.is_plain`).
            fields: learned fields; `entries` tells those apart.
        """
        count, whole = len(items), b"".join([*items, _BEHIND])
        given = self._given = self._enough(count, len(whole), fields)
        ends = np.cumsum([*map(len, items)], dtype=np.int64)
        given.items[1:count, 0], given.items[:count, 1] = ends[:-1], ends
        given.items[:1, 0] = 0
        return self._transcribe(whole, ABSENT, count, fields)[0]  # type: ignore[index]

    def transcribe_list(self, page: bytes, fields: Sequence[str]) -> tuple[Contents, Found] | None:
        """The contents of the items in a page's first list; null where not all of it can be read as JSON, or it holds other things.

        Args:
            page: as the vendor sent it, good or bad.
            fields: as for `transcribe`.
        """
        whole, begin = page + _BEHIND, page.find(b"[")
        if begin < 0 or not grammar.is_printable(np.frombuffer(whole, np.uint8), len(page)):
            return None
        self._given = self._enough(len(page) // _SHORTEST_ITEM + 1, len(whole), fields)
        made = self._transcribe(whole, begin, 0, fields)
        if made is None:
            return None
        contents, places = made
        return contents, Found(page, places, page[: begin + 1] + page[page.find(b"]", int(places[-1, 1])) :])

    def _transcribe(
        self, whole: bytes, begin: int, count: int, fields: Sequence[str]
    ) -> tuple[Contents, NDArray[np.int64]] | None:
        """Contents, and where the items are; those are found from `begin` on, or there are `count` of which that is known."""
        data, size = np.frombuffer(whole, np.uint8), len(whole) - len(_BEHIND)
        given, again = self._given, False
        ids: list[str] = []
        waiting = [*range(count)]
        given.states[: max(count, len(given.states) if begin != ABSENT else 0)] = WAITING
        given.counts[2] = 0
        while True:
            found = kernel.transcribe(data, size, begin, count, self.plan, self._known.table, given)
            if found == ABSENT:
                return None
            lines = given.ids[: given.counts[1]].tobytes().decode().split("\n")
            if not again:
                count, begin, again = found, ABSENT, True
                ids = lines[:count]
            else:
                for place, stone in zip(waiting, lines, strict=False):
                    ids[place] = stone
            if not given.counts[0]:
                break
            self._learn(whole, given)
            room = given.contents
            given = self._given = self._enough(len(given.states), len(whole), fields)
            if given.contents is not room:
                # From the beginning: what lay in a smaller room is lost.
                given.states[:count], given.counts[2] = WAITING, 0
            # Only those that asked, and behind what is there.
            waiting = np.flatnonzero(given.states[:count] == WAITING).tolist()
        contents = given.contents.data
        return (
            Contents(
                ids,
                given.prices[:count].tolist(),
                [contents[begin:end] for begin, end in given.spans[:count].tolist()],
                given.entries[:count].view(f"V{4 * len(fields)}")[:, 0].tolist() if fields else [b""] * count,
            ),
            given.items[:count].copy(),
        )

    def _learn(self, whole: bytes, given: Given) -> None:
        """Learn what the kernel asked for; an item with a value that cannot be learned is left."""
        asked = [
            (item, (source, None if begin == ABSENT else whole[begin:end]))
            for source, begin, end, item in given.asked[: given.counts[0]].tolist()
        ]
        new = [
            entry for value in dict.fromkeys(value for _, value in asked) if (entry := self._entry(*value))
        ]
        known = {(entry.source, entry.value) for entry in self._known.add(new)}
        for item, value in asked:
            if value not in known:
                given.states[item] = LEFT

    def _entry(self, source: int, value: bytes | None) -> _Entry | None:
        """What a value of a source becomes; null for one that the plain way must meet again, and say so where it belongs."""
        field = self._sources[source][0]
        row = self._rows[field]
        longest = _LONGEST_VALUE if self.plan.kinds[field] == kernel.LEARNED else _LONGEST_OF_TEXT
        if row.parser is None or (value is not None and len(value) > longest):
            return None
        try:
            given = None if value is None else self._decoders[source].decode(value)
            parsed = row.parser.parse(given)
        except (msgspec.DecodeError, Unknown, Refused, ArithmeticError, ValueError):
            return None
        if parsed is None and row.required:
            return None
        return _Entry(source, field, value, _head(field) + msgspec.json.encode(parsed), parsed is None)

    def _enough(self, count: int, size: int, fields: Sequence[str]) -> Given:
        """Room for so many items of so many bytes together, and for the entries of these fields."""
        given = self._given
        needed = size + count * (self._most_of_item + self._known.longest) + SLACK
        if count > len(given.states) or needed > len(given.contents):
            larger = self._room(max(count, len(given.states)), max(2 * needed, len(given.contents)))
            larger.states[: len(given.states)] = given.states
            larger.items[: len(given.items)] = given.items
            given = larger
        if given.entries.shape != (len(given.states), len(fields)):
            columns = np.full(len(_FIELDS), ABSENT, np.int64)
            columns[[_FIELDS.index(field) for field in fields]] = range(len(fields))
            given = given._replace(
                columns=columns, entries=np.full((len(given.states), len(fields)), ABSENT, np.int32)
            )
        return given

    def _room(self, count: int, size: int) -> Given:
        return Given(
            states=np.zeros(count, np.int64),
            items=np.zeros((count, 2), np.int64),
            contents=np.empty(size, np.uint8),
            spans=np.zeros((count, 2), np.int64),
            ids=np.empty(size, np.uint8),
            prices=np.zeros(count, np.int64),
            columns=np.full(len(_FIELDS), ABSENT, np.int64),
            entries=np.empty((count, 0), np.int32),
            asked=np.zeros((_ASKED_AT_ONCE, 4), np.int64),
            counts=np.zeros(3, np.int64),
        )

    def _plan(self, keys: _Keys, feed: FeedInfo) -> Plan:
        heads = [_head(place) for place in range(len(_FIELDS))]
        constants = [
            head + _constant(row, feed) if row.parser is None else b""
            for head, row in zip(heads, self._rows, strict=True)
        ]
        prefix = msgspec.json.encode(stone_id(feed.name, ""))[1:-1]
        self._most_of_item = sum(map(len, heads)) + sum(map(len, constants)) + len(prefix) + 3
        kinds = [_kind(row) for row in self._rows]
        price, identity = _FIELDS.index("cost_cents"), _FIELDS.index("id")
        if (
            kinds[price] != kernel.INTEGER
            or _limits(self._rows[price])[0] < 0
            or kinds[identity] != kernel.TEXT
        ):
            raise _NotExpressible("the price must be a number as it is, the id a text as it is")
        begins = [sum(place < field for place, _ in self._sources) for field in range(len(_FIELDS) + 1)]
        return Plan(
            keys=_bytes(keys.names),
            key_ends=_ends(keys.names),
            key_ranges=np.array(keys.ranges, np.int64),
            key_struct=np.array(keys.structs, np.int64),
            key_kinds=np.array(keys.kinds, np.int64),
            key_needed=np.array(keys.needed, np.bool_),
            heads=_bytes(heads),
            head_ends=_ends(heads),
            kinds=np.array(kinds, np.int64),
            limits=np.array([_limits(row) for row in self._rows], np.int64),
            decimals=np.array([_decimals(row) for row in self._rows], np.int64),
            sources=np.array(list(pairwise(begins)), np.int64),
            source_keys=np.array([key for _, key in self._sources], np.int64),
            constants=_bytes(constants),
            constant_ends=_ends(constants),
            price=price,
            identity=identity,
            prefix=_bytes([prefix]),
            prefix_length=len(prefix),
        )


def transcriber(table: Sequence[Row], feed: FeedInfo, item: type[msgspec.Struct]) -> Transcriber | None:
    """A feed's transcriber; null where its table or its item holds what the kernel has no words for."""
    try:
        return Transcriber(table, feed, item)
    except _NotExpressible:
        return None


class _Entry(NamedTuple):
    """A value of a source, as the vendor writes it, and what a content says for it, its head included."""

    source: int
    field: int
    value: bytes | None
    text: bytes
    is_null: bool


class _Learned:
    """The table of what was learned, as it grows.

    Attributes:
        longest: of the longest text of each field, bytes of all together.
    """

    def __init__(self, sources: int, fields: int) -> None:
        self.longest = 0
        self._longest = [0] * fields
        self._count = 0
        self.table = Table(
            slots=np.full(1 << 12, ABSENT, np.int64),
            hashes=np.zeros(1 << 11, np.uint64),
            sources=np.zeros(1 << 11, np.int64),
            is_null=np.zeros(1 << 11, np.bool_),
            values=np.zeros(1 << 15, np.uint8),
            value_ends=np.zeros(1 << 11, np.int64),
            texts=np.zeros(1 << 15, np.uint8),
            text_ends=np.zeros(1 << 11, np.int64),
            nulls=np.full(sources, ABSENT, np.int64),
        )

    def add(self, entries: Sequence[_Entry]) -> Sequence[_Entry]:
        """Learn values that were not known; those that there was room for."""
        entries = entries[: max(0, MOST_LEARNED - self._count)]
        first, behind = self._count, self._count + len(entries)
        values, texts = [entry.value or b"" for entry in entries], [entry.text for entry in entries]
        table = self._with_room(len(entries), sum(map(len, values)), sum(map(len, texts)))
        _append(table.values, table.value_ends, first, values)
        _append(table.texts, table.text_ends, first, texts)
        table.sources[first:behind] = [entry.source for entry in entries]
        table.is_null[first:behind] = [entry.is_null for entry in entries]
        for place, entry in enumerate(entries, start=first):
            self._longest[entry.field] = max(self._longest[entry.field], len(entry.text))
            if entry.value is None:
                table.nulls[entry.source] = place
        self.longest = sum(self._longest)
        self._count = behind
        kernel.enter(table, first, behind)
        return entries

    def _with_room(self, entries: int, values: int, texts: int) -> Table:
        table, count = self.table, self._count
        while count + entries > len(table.hashes):
            table = table._replace(
                slots=np.full(2 * len(table.slots), ABSENT, np.int64),
                hashes=_doubled(table.hashes),
                sources=_doubled(table.sources),
                is_null=_doubled(table.is_null),
                value_ends=_doubled(table.value_ends),
                text_ends=_doubled(table.text_ends),
            )
        while _end(table.value_ends, count) + values + SLACK > len(table.values):
            table = table._replace(values=_doubled(table.values))
        while _end(table.text_ends, count) + texts + SLACK > len(table.texts):
            table = table._replace(texts=_doubled(table.texts))
        if table.slots is not self.table.slots:
            kernel.enter(table, 0, count)
        self.table = table
        return table


class _Keys:
    """The keys of an item's structs, numbered; those of one struct lie together.

    Attributes:
        numbers: path to the number of its last key.
    """

    def __init__(self, item: type[msgspec.Struct]) -> None:
        self.names: list[bytes] = []
        self.ranges: list[tuple[int, int]] = []
        self.structs: list[int] = []
        self.kinds: list[int] = []
        self.needed: list[bool] = []
        self.hints: list[Any] = []
        self.numbers: dict[str, int] = {}
        waiting: list[tuple[str, type[msgspec.Struct], bool]] = [("", item, True)]
        found = 1
        for prefix, struct, always in waiting:
            first = len(self.names)
            for field in msgspec.structs.fields(struct):
                path = f"{prefix}{field.name}"
                inner, kinds = _shape(field.type)
                # The one struct without which the table refuses an item; see `streams.normalise`.
                needed = field.required or field.name == "certificate"
                if needed and not always:
                    raise _NotExpressible(f"{path} is needed only where there is a {prefix}")
                self.numbers[path] = len(self.names)
                self.names.append(b'"%b":' % field.encode_name.encode())
                self.kinds.append(kinds)
                self.needed.append(needed)
                self.hints.append(field.type)
                self.structs.append(ABSENT if inner is None else found)
                if inner is not None:
                    waiting.append((f"{path}.", inner, needed))
                    found += 1
            self.ranges.append((first, len(self.names)))


def _shape(hint: Any) -> tuple[type[msgspec.Struct] | None, int]:
    """The struct inside a type, if there is one, and the kinds of JSON values that are left."""
    inner, kinds = None, 0
    for part in get_args(hint) or (hint,):
        if part in _KINDS:
            kinds |= _KINDS[part]
        elif isinstance(part, type) and issubclass(part, msgspec.Struct) and inner is None:
            inner = part
        else:
            raise _NotExpressible(f"a value of type {part!r}")
    return inner, kinds


def _kind(row: Row) -> int:
    match row.parser:
        case None:
            return kernel.CONSTANT
        case Integer():
            return kernel.INTEGER
        case parser if parser.memo:
            return kernel.LEARNED
        case Text():
            return kernel.TEXT
        case Url():
            return kernel.ADDRESS
        case parser:
            raise _NotExpressible(f"{row.field} is read by {parser!r}")


def _limits(row: Row) -> tuple[int, int]:
    match row.parser:
        case Text(limit=limit) | Url(limit=limit):
            return 0, limit
        case Integer(at_least=low, up_to=high):
            return low, high
        case Decimal(above=low, up_to=high, places=places) if _decimals(row) != ABSENT:
            unit = 10**places
            return int(low * unit) + 1, int(high * unit)
        case _:
            return 0, 0


def _decimals(row: Row) -> int:
    match row.parser:
        # Its limits must be whole, so that they are units of the last decimal.
        case Decimal(above=low, up_to=high, places=places) if (
            low >= 0 and places <= _MOST_DECIMALS and all(float(limit).is_integer() for limit in (low, high))
        ):
            return places
        case _:
            return ABSENT


def _constant(row: Row, feed: FeedInfo) -> bytes:
    return msgspec.json.encode(getattr(feed, row.sources[0].removeprefix("feed.")) if row.sources else None)


def _head(field: int) -> bytes:
    return b'%b"%b":' % (b"," if field else b"{", _FIELDS[field].encode())


def _bytes(parts: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join([*parts, bytes(SLACK)]), np.uint8)


def _ends(parts: Sequence[bytes]) -> NDArray[np.int64]:
    return np.cumsum([len(part) for part in parts], dtype=np.int64)


def _end(ends: NDArray[np.int64], entry: int) -> int:
    return int(ends[entry - 1]) if entry else 0


def _append(to: NDArray[np.uint8], ends: NDArray[np.int64], first: int, parts: Sequence[bytes]) -> None:
    """Write parts behind the first entries, and where each of them ends."""
    begin = _end(ends, first)
    own = begin + _ends(parts)
    ends[first : first + len(parts)] = own
    joined = b"".join(parts)
    to[begin : begin + len(joined)] = np.frombuffer(joined, np.uint8)


def _doubled(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array, np.zeros_like(array)])
