"""The query string of a search, read against the table of fields. Every refusal names parameter, rule and a way out.

The table is compiled once: a name leads to the function that reads its text into an `Asked`. What was read of a list is
remembered, for shoppers ask for the same few shapes and grades again and again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Final
from urllib.parse import unquote_to_bytes

from api.cursors import from_cursor
from api.fields import FIELDS, SORTABLE, Field, Kind
from api.keys import Scope
from api.problems import BadParameter, NotAllowed
from api.query import DEFAULT_LIMIT, DEFAULT_SORT, MAX_LIMIT, Facets, Number, Query, Range, SortKey
from api.vocabulary import ValuesOf, grades_between, nearest, shown, texts_in, values_in
from schemas.columns import epoch_ms
from schemas.stone import Availability

MAX_QUERY_BYTES: Final = 8192
MAX_NUMBER: Final = 2**53
MAX_TEXT_CHARS: Final = 200
WALK_CAP: Final = 10_000
"""How many items of one search a key without the scope `diamonds:export` gets to see, by cursor or offset."""

COUNTABLE: Final = (Kind.LIST, Kind.FLAG)
RANGED: Final = (Kind.INTEGER, Kind.DECIMAL, Kind.MOMENT)

_SIGNED: Final = frozenset({"list_discount_bps"})
_FLAGS: Final = {"true": True, "false": False}
_ONLY_AVAILABLE: Final = (str(Availability.AVAILABLE),)
_REMEMBERED: Final = 4096
_ENCODING: Final = "must be percent-encoded UTF-8"


@dataclass(slots=True)
class Asked:
    """A request as it was read.

    Attributes:
        given: parameters as text, in the order given.
        remembered: lists that were read before: name and text to values.
        lists: attribute to values.
        ends: attribute to its range's ends, low and high.
        grades: attribute to the first and last grade of a range, as text.
        flags: attribute to truth.
        prefixes: attribute to beginnings.
        sort: sorting keys.
        limit: items a page.
        offset: items to leave out.
        facets: attributes to count.
        slim: whether the short items are wanted.
        text: free text, to be understood.
        max_age_s: how old the data may be, seconds; None does not care.
        walked: items on the pages before this one.
        private: parameters, and attributes to sort by and to count, that need the scope for cost.
    """

    given: Mapping[str, str]
    remembered: dict[tuple[str, str], tuple[str, ...]]
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ends: dict[str, list[Number | None]] = field(default_factory=dict)
    grades: dict[str, list[str | None]] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    prefixes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sort: tuple[SortKey, ...] = DEFAULT_SORT
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    facets: tuple[str, ...] = ()
    slim: bool = False
    text: str | None = None
    max_age_s: float | None = None
    walked: int = 0
    private: list[str] = field(default_factory=list)

    @property
    def filters(self) -> int:
        """The same number for the same filters, in whatever order they were given: a page goes on only with its own."""
        kept = sorted([f"{name}={text}" for name, text in self.given.items() if name not in _OF_THE_PAGE])
        return zlib.crc32("&".join(kept).encode())

    def query(self) -> Query:
        """The search, free text left aside.

        Raises:
            BadParameter: what was read does not go together.
        """
        ranges: dict[str, Range] = {}
        for name, (low, high) in self.ends.items():
            if low is not None and high is not None and low > high:
                raise BadParameter(f"{name}_min", f"is greater than {name}_max", high)
            ranges[name] = Range(low, high)
        lists = self.lists
        for name, (first, last) in self.grades.items():
            if name in lists:
                raise BadParameter(name, f"is given beside {name}_min or {name}_max; give either")
            lists[name] = grades_between(FIELDS[name], f"{name}_min", first, f"{name}_max", last)
        if "availability" not in lists:
            lists["availability"] = _ONLY_AVAILABLE
        after = None
        if "cursor" in self.given:
            if self.offset:
                raise BadParameter("offset", "is given beside cursor; give either")
            after, self.walked = from_cursor(self.given["cursor"], self.sort, self.filters)
        return Query(
            lists=lists,
            ranges=ranges,
            flags=self.flags,
            prefixes=self.prefixes,
            sort=self.sort,
            limit=self.limit,
            offset=self.offset,
            after=after,
            facets=_facets(self.facets) if self.facets else None,
        )


Reader = Callable[[Asked, str, str, ValuesOf], None]
"""Reads a parameter (its name and text) into what is asked."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a search.

    Attributes:
        name: as callers write it.
        read: reads its text.
        field: the attribute it is about, if it is about one.
        role: `is`, `min`, `max` or `prefix`; of the page, none.
    """

    name: str
    read: Reader
    field: Field | None = None
    role: str = ""
    private: bool = False
    """Whether it needs the scope for cost."""


Remembered = dict[tuple[str, str], tuple[str, ...]]


def read_parameters(
    given: Mapping[str, str], values_of: ValuesOf, remembered: Remembered | None = None
) -> Asked:
    """Read parameters that were told apart (`split`).

    Args:
        given: names and texts.
        values_of: the values that stones have.
        remembered: what was read of lists before, for the same `values_of`; added to.

    Raises:
        BadParameter: a parameter is unknown, malformed, or asks for what cannot be.
    """
    asked = Asked(given, {} if remembered is None else remembered)
    for name, text in given.items():
        parameter = PARAMETERS.get(name)
        if parameter is None:
            rule = "is not a parameter of this search"
            raise BadParameter(shown(name) or "(no name)", rule, nearest(name, PARAMETERS))
        parameter.read(asked, name, text, values_of)
        if parameter.private:
            asked.private.append(name)
    return asked


def check_scopes(asked: Asked, scopes: Collection[str]) -> None:
    """Refuse what the caller may not ask.

    Raises:
        NotAllowed: a parameter needs the scope for cost.
        BadParameter: it would walk beyond `WALK_CAP` without the scope for export.
    """
    if asked.private and Scope.READ_COST not in scopes:
        raise NotAllowed(f"{asked.private[0]} needs the scope {Scope.READ_COST}", scope=str(Scope.READ_COST))
    if asked.offset and asked.offset + asked.limit > WALK_CAP and Scope.EXPORT not in scopes:
        rule = f"goes beyond the first {WALK_CAP} items, which needs the scope {Scope.EXPORT}"
        raise BadParameter("offset", rule, max(0, WALK_CAP - asked.limit))


def split(raw: bytes) -> dict[str, str]:
    """Names and texts of a query string. Raises `BadParameter`."""
    if not raw:
        return {}
    if len(raw) > MAX_QUERY_BYTES:
        raise _too_long(raw)
    plain = b"%" not in raw and b"+" not in raw
    given: dict[str, str] = {}
    for pair in _ascii(raw).split("&"):
        name, _, text = pair.partition("=")
        if not pair:
            continue
        if not plain:
            name, text = _decoded(name), _decoded(text)
        if name in given:
            several = name in FIELDS and FIELDS[name].kind in (Kind.LIST, Kind.EXACT)
            advice = "; put the values into one, with commas" if several else ""
            raise BadParameter(shown(name), f"is given twice{advice}")
        given[name] = text
    return given


def _ascii(raw: bytes) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeError as error:
        raise BadParameter("query", _ENCODING) from error


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode()
    except UnicodeError as error:
        raise BadParameter("query", _ENCODING) from error


def _too_long(raw: bytes) -> BadParameter:
    longest = max(raw.split(b"&"), key=len)
    name, _, text = longest.partition(b"=")
    field_name = name.decode("ascii", "replace")
    if field_name not in PARAMETERS:
        rule = f"has {len(raw)} bytes; at most {MAX_QUERY_BYTES} are read"
        return BadParameter("query", rule, MAX_QUERY_BYTES)
    values = text.count(b",") + 1
    many = f"{values} values and " if values > 1 else ""
    rule = f"has {many}{len(text)} bytes; a query has at most {MAX_QUERY_BYTES} bytes"
    return BadParameter(field_name, rule, MAX_QUERY_BYTES)


def _read_list(asked: Asked, name: str, text: str, values_of: ValuesOf) -> None:
    # Values only ever come to those that are known: what was read once stays right.
    remembered = asked.remembered
    values = remembered.get((name, text))
    if values is None:
        values = values_in(FIELDS[name], text, values_of)
        if len(remembered) >= _REMEMBERED:
            remembered.clear()
        remembered[name, text] = values
    asked.lists[name] = values


def _read_exact(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.lists[name] = texts_in(name, text)


def _read_prefix(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.prefixes[name.removesuffix("_prefix")] = texts_in(name, text)


def _read_flag(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.flags[name] = _flag(name, text)


def _flag(name: str, text: str) -> bool:
    truth = _FLAGS.get(text.lower())
    if truth is None:
        raise BadParameter(name, "must be true or false", nearest(text.lower(), _FLAGS) or "true")
    return truth


def _end_reader(of: Field, place: int) -> Reader:
    number = _moment if of.kind is Kind.MOMENT else _integer if of.kind is Kind.INTEGER else _decimal

    def read(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
        ends = asked.ends.get(of.name)
        if ends is None:
            ends = asked.ends[of.name] = [None, None]
        ends[place] = number(of, name, text)

    return read


def _grade_reader(of: Field, place: int) -> Reader:
    def read(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
        if not text.strip():
            raise BadParameter(name, "has an empty value")
        asked.grades.setdefault(of.name, [None, None])[place] = text

    return read


def is_signed(of: Field) -> bool:
    """Whether an attribute's numbers may be negative."""
    return of.name in _SIGNED


def _integer(of: Field, name: str, text: str) -> Number:
    return _bounded(of, name, text, int, "a whole number")


def _decimal(of: Field, name: str, text: str) -> Number:
    return _bounded(of, name, text, float, "a number")


def _bounded(of: Field, name: str, text: str, read: Callable[[str], Number], what: str) -> Number:
    try:
        number = read(text)
    except ValueError as error:
        raise BadParameter(name, _bounds(of, what), _whole_of(text) if read is int else None) from error
    if "_" in text or not text.isascii() or not isfinite(number):
        raise BadParameter(name, _bounds(of, what))
    low = -MAX_NUMBER if of.name in _SIGNED else 0
    if not low <= number <= MAX_NUMBER:
        raise BadParameter(name, _bounds(of, what), low if number < low else MAX_NUMBER)
    return number


def _bounds(of: Field, what: str) -> str:
    return f"must be {what} from {-MAX_NUMBER if of.name in _SIGNED else 0} to {MAX_NUMBER}"


def _whole_of(text: str) -> int | None:
    """What someone who wrote `1000.50` may have meant."""
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        return None


def _moment(_: Field, name: str, text: str) -> Number:
    # A plus that nobody encoded stands for a space.
    spelled = text.strip().replace(" ", "+" if "T" in text else "T")
    try:
        moment = datetime.fromisoformat(spelled)
        if moment.tzinfo is None:
            raise BadParameter(name, "must name its offset to UTC", f"{moment.isoformat()}Z")
        return epoch_ms(moment)
    except (ValueError, OverflowError) as error:
        raise BadParameter(name, "must be a time as RFC 3339 writes it", "2026-01-31T12:00:00Z") from error


def _read_sort(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    keys: list[SortKey] = []
    for part in text.split(","):
        key = part.strip().removeprefix("-")
        if not key:
            raise BadParameter(name, "has an empty value")
        of = FIELDS.get(key)
        if of is None or not of.sortable:
            raise BadParameter(name, f"cannot be by {shown(key)}", nearest(key, SORTABLE))
        if any(known.name == key for known in keys):
            raise BadParameter(name, f"names {key} twice")
        keys.append(SortKey(key, part.strip().startswith("-")))
        if of.private:
            asked.private.append(key)
    asked.sort = tuple(keys)


def _read_limit(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.limit = _count(name, text, 1, MAX_LIMIT, DEFAULT_LIMIT)


def _read_offset(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.offset = _count(name, text, 0, MAX_NUMBER, 0)


def _count(name: str, text: str, low: int, high: int, usual: int) -> int:
    rule = f"must be a whole number from {low} to {high}"
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise BadParameter(name, rule, usual)
    # A number of thousands of digits is not worth reading to the end.
    number = int(text[:18])
    if not low <= number <= high:
        raise BadParameter(name, rule, low if number < low else high)
    return number


def _read_cursor(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    if not text:
        raise BadParameter(name, "is empty; leave it out for the first page")


def _read_facets(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    names = texts_in(name, text)
    for one in names:
        of = FIELDS.get(one)
        if of is None or of.kind not in (*COUNTABLE, *RANGED):
            raise BadParameter(name, f"cannot be of {shown(one)}", nearest(one, FACETS))
        if of.private:
            asked.private.append(one)
    asked.facets = names


def _facets(names: tuple[str, ...]) -> Facets:
    return Facets(
        counts=tuple(name for name in names if FIELDS[name].kind in COUNTABLE),
        numbers={name: () for name in names if FIELDS[name].kind in RANGED},
    )


def _read_fields(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    if text not in FIELD_SETS:
        raise BadParameter(name, f"must be one of {', '.join(FIELD_SETS)}", nearest(text, FIELD_SETS))
    asked.slim = text == "slim"


def _read_text(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise BadParameter(
            name, f"has {len(text)} characters; at most {MAX_TEXT_CHARS}", text[:MAX_TEXT_CHARS]
        )
    asked.text = text


def _read_max_age(asked: Asked, name: str, text: str, _: ValuesOf) -> None:
    asked.max_age_s = float(_count(name, text, 0, 10**9, 60))


FIELD_SETS: Final = ("full", "slim")
FACETS: Final = tuple(name for name, of in FIELDS.items() if of.kind in (*COUNTABLE, *RANGED))
"""What `facets` takes."""

PAGING: Final[Mapping[str, Reader]] = {
    "q": _read_text,
    "sort": _read_sort,
    "limit": _read_limit,
    "offset": _read_offset,
    "cursor": _read_cursor,
    "facets": _read_facets,
    "fields": _read_fields,
    "max_age": _read_max_age,
}


def _parameters() -> Iterable[Parameter]:
    for of in FIELDS.values():
        if of.kind in RANGED:
            yield Parameter(f"{of.name}_min", _end_reader(of, 0), of, "min", of.private)
            yield Parameter(f"{of.name}_max", _end_reader(of, 1), of, "max", of.private)
        elif of.kind is Kind.FLAG:
            yield Parameter(of.name, _read_flag, of, "is", of.private)
        else:
            yield Parameter(
                of.name, _read_exact if of.kind is Kind.EXACT else _read_list, of, "is", of.private
            )
        if of.graded and of.name != "availability":
            yield Parameter(f"{of.name}_min", _grade_reader(of, 0), of, "min", of.private)
            yield Parameter(f"{of.name}_max", _grade_reader(of, 1), of, "max", of.private)
        if of.prefix:
            yield Parameter(f"{of.name}_prefix", _read_prefix, of, "prefix", of.private)
    yield from (Parameter(name, read) for name, read in PAGING.items())


_OF_THE_PAGE: Final = PAGING.keys() - {"q"}

PARAMETERS: Final[Mapping[str, Parameter]] = {parameter.name: parameter for parameter in _parameters()}
"""Every parameter of a search by its name."""
