"""The query string of a search, read against the table of fields. Every refusal names parameter, rule and a way out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final
from urllib.parse import parse_qsl

from api.cursors import from_cursor
from api.fields import FIELDS, PUBLIC, SORTABLE, Field, Kind
from api.problems import BadParameter
from api.query import DEFAULT_LIMIT, DEFAULT_SORT, MAX_LIMIT, Number, Query, Range, SortKey
from schemas.grades import LONG_NAMES
from schemas.stone import Availability

MAX_QUERY_BYTES: Final = 8192
MAX_VALUES: Final = 100
MAX_VALUE_CHARS: Final = 200
MAX_NUMBER: Final = 2**53

ValuesOf = Callable[[str], Iterable[str]]
"""The values stones have of a listed attribute."""

_QUALITIES: Final = ("cut", "polish", "symmetry")
_RANGED: Final = (Kind.INTEGER, Kind.DECIMAL)
_VALUES_SHOWN: Final = 40
_FLAGS: Final = {"true": True, "false": False}


def _parameters() -> dict[str, tuple[Field, str]]:
    """Parameter name to its field and its role: `is`, `min` or `max`."""
    found: dict[str, tuple[Field, str]] = {}
    for field in (FIELDS[name] for name in PUBLIC):
        if field.kind in _RANGED:
            found[f"{field.name}_min"] = (field, "min")
            found[f"{field.name}_max"] = (field, "max")
        elif field.kind is not Kind.MOMENT:
            found[field.name] = (field, "is")
    return found


FILTERS: Final = _parameters()
NAMES: Final = (*FILTERS, "sort", "limit", "cursor")
"""Every parameter of a search."""


def parse_query(raw: bytes, values_of: ValuesOf) -> Query:
    """Read a query string.

    Raises:
        BadParameter: a parameter is unknown, doubled, malformed, or asks for what cannot be.
    """
    given = _split(raw)
    sort = _sort(given["sort"]) if "sort" in given else DEFAULT_SORT
    lists, flags = _lists(given, values_of), _flags(given)
    lists.setdefault("availability", (str(Availability.AVAILABLE),))
    return Query(
        lists=lists,
        ranges=_ranges(given),
        flags=flags,
        sort=sort,
        limit=_limit(given["limit"]) if "limit" in given else DEFAULT_LIMIT,
        after=from_cursor(given["cursor"], sort) if "cursor" in given else None,
    )


def _split(raw: bytes) -> dict[str, str]:
    if len(raw) > MAX_QUERY_BYTES:
        raise BadParameter("query", f"has {len(raw)} bytes; at most {MAX_QUERY_BYTES} are read")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeError as error:
        raise BadParameter("query", "must be percent-encoded UTF-8") from error
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in NAMES:
            raise BadParameter(_shown(name), "is not a parameter of this search", _nearest(name, NAMES))
        if name in given:
            raise BadParameter(name, "is given twice; put the values into one, with commas")
        given[name] = value
    return given


def _lists(given: Mapping[str, str], values_of: ValuesOf) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, text in given.items():
        field = FILTERS[name][0] if name in FILTERS else None
        if field is None or field.kind not in (Kind.LIST, Kind.EXACT):
            continue
        texts = _texts(name, text)
        found[name] = texts if field.kind is Kind.EXACT else _known(field, texts, values_of)
    return found


def _texts(name: str, text: str) -> tuple[str, ...]:
    texts = tuple(part.strip() for part in text.split(","))
    if len(texts) > MAX_VALUES:
        raise BadParameter(name, f"has {len(texts)} values; at most {MAX_VALUES} are taken")
    texts = tuple(dict.fromkeys(texts))
    for part in texts:
        if not part:
            raise BadParameter(name, "has an empty value")
        if len(part) > MAX_VALUE_CHARS:
            raise BadParameter(name, f"has a value of {len(part)} characters; at most {MAX_VALUE_CHARS}")
    return texts


def _known(field: Field, texts: tuple[str, ...], values_of: ValuesOf) -> tuple[str, ...]:
    # `fold` makes the way people write a value and the way we do the same: very good, Very-Good, VERY_GOOD.
    known = {_fold(value): value for value in (*field.values, *values_of(field.name))}
    if field.name in _QUALITIES:
        known |= {_fold(long): short for short, long in LONG_NAMES.items()}
    chosen = []
    for text in texts:
        value = known.get(_fold(text))
        if value is None:
            near = _nearest(_fold(text), known)
            values = list(dict.fromkeys(known.values()))
            others = ", …" if len(values) > _VALUES_SHOWN else ""
            rule = f"has no value {_shown(text)}; there are {', '.join(values[:_VALUES_SHOWN])}{others}"
            raise BadParameter(field.name, rule, None if near is None else known[near])
        chosen.append(value)
    return tuple(dict.fromkeys(chosen))


def _flags(given: Mapping[str, str]) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name, (field, _) in FILTERS.items():
        if field.kind is Kind.FLAG and name in given:
            truth = _FLAGS.get(given[name].lower())
            if truth is None:
                raise BadParameter(
                    name, "must be true or false", _nearest(given[name].lower(), _FLAGS) or "true"
                )
            found[name] = truth
    return found


def _ranges(given: Mapping[str, str]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for field in FIELDS.values():
        low_name, high_name = f"{field.name}_min", f"{field.name}_max"
        if field.kind not in _RANGED or not (low_name in given or high_name in given):
            continue
        low = _number(field, low_name, given[low_name]) if low_name in given else None
        high = _number(field, high_name, given[high_name]) if high_name in given else None
        if low is not None and high is not None and low > high:
            raise BadParameter(low_name, f"is greater than {high_name}", high)
        found[field.name] = Range(low, high)
    return found


def _number(field: Field, name: str, text: str) -> Number:
    whole = field.kind is Kind.INTEGER
    rule = f"must be {'a whole number' if whole else 'a number'} from 0 to {MAX_NUMBER}"
    try:
        number = int(text) if whole else float(text)
    except ValueError as error:
        raise BadParameter(name, rule, _whole_of(text) if whole else None) from error
    if "_" in text or not text.isascii() or not isfinite(number):
        raise BadParameter(name, rule)
    if not 0 <= number <= MAX_NUMBER:
        raise BadParameter(name, rule, 0 if number < 0 else MAX_NUMBER)
    return number


def _whole_of(text: str) -> int | None:
    """What someone who wrote `1000.50` may have meant."""
    try:
        return round(float(text))
    except (ValueError, OverflowError):
        return None


def _limit(text: str) -> int:
    rule = f"must be a whole number from 1 to {MAX_LIMIT}"
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise BadParameter("limit", rule, DEFAULT_LIMIT)
    # A number of thousands of digits is not worth reading to the end.
    limit = int(text[:10])
    if not 1 <= limit <= MAX_LIMIT:
        raise BadParameter("limit", rule, 1 if limit < 1 else MAX_LIMIT)
    return limit


def _sort(text: str) -> tuple[SortKey, ...]:
    keys: list[SortKey] = []
    for part in text.split(","):
        name = part.strip().removeprefix("-")
        if name not in SORTABLE:
            raise BadParameter("sort", f"cannot be by {_shown(name)}", _nearest(name, SORTABLE))
        if any(key.name == name for key in keys):
            raise BadParameter("sort", f"names {name} twice")
        keys.append(SortKey(name, part.strip().startswith("-")))
    return tuple(keys)


def _fold(text: str) -> str:
    return text.upper().replace("-", " ").replace("_", " ")


def _nearest(text: str, known: Iterable[str]) -> str | None:
    close = get_close_matches(text[:MAX_VALUE_CHARS], list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def parameter_docs() -> list[dict[str, Any]]:
    """The parameters as OpenAPI describes them."""
    return [*(_filter_doc(name, field, role) for name, (field, role) in FILTERS.items()), *_PAGE_DOCS]


def _filter_doc(name: str, field: Field, role: str) -> dict[str, Any]:
    if field.kind is Kind.FLAG:
        return _doc(name, field.meaning, {"type": "boolean"})
    if field.kind in _RANGED:
        number = "integer" if field.kind is Kind.INTEGER else "number"
        end = "at least" if role == "min" else "at most"
        return _doc(name, f"{field.meaning}: {end}", {"type": number, "minimum": 0, "maximum": MAX_NUMBER})
    items: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_VALUE_CHARS}
    if field.closed:
        items = {"type": "string", "enum": list(field.values)}
    known = f"; among them {', '.join(field.values)}" if field.values and not field.closed else ""
    schema: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": MAX_VALUES, "items": items}
    return _doc(name, f"{field.meaning}; any of the values, with commas{known}", schema)


def _doc(name: str, meaning: str, schema: dict[str, Any]) -> dict[str, Any]:
    doc: dict[str, Any] = {
        "name": name,
        "in": "query",
        "required": False,
        "description": meaning,
        "schema": schema,
    }
    if schema["type"] == "array":
        doc |= {"style": "form", "explode": False}
    return doc


_PAGE_DOCS: Final = (
    _doc(
        "sort",
        "sorting keys, the first counts most; a minus sorts downwards; ties are broken by id",
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "enum": [f"{sign}{name}" for name in SORTABLE for sign in ("", "-")]},
        },
    ),
    _doc(
        "limit",
        "greatest number of items",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _doc("cursor", "`next` of the page before, with the same filters and sort", {"type": "string"}),
)
