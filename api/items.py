"""From fragments to what a caller gets: a join of bytes, nothing decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from api.index import Counted
from schemas.stone import PUBLIC_FIELDS, Stone

_COST: Final = "cost_cents"
_BEHIND_HEAD: Final = b',"certificate_url":'
_LAB_GROWN: Final = (b',"lab_grown":', b',"lab_grown_type":')
_TAIL: Final = b',"image_url":'


def _slim_fields() -> tuple[str, ...]:
    place = PUBLIC_FIELDS.index
    return (
        *PUBLIC_FIELDS[: place("certificate_url")],
        "lab_grown",
        *PUBLIC_FIELDS[place("image_url") :],
    )


SLIM_FIELDS: Final = _slim_fields()
"""What a slim item has: all that a list shows, without measurements, tinges and comments."""


def slim(fragment: bytes) -> bytes:
    """The short form of an item: three slices of it."""
    begin, end = _LAB_GROWN
    head = fragment.index(_BEHIND_HEAD)
    lab_grown = fragment.index(begin, head)
    return (
        fragment[:head]
        + fragment[lab_grown : fragment.index(end, lab_grown)]
        + fragment[fragment.index(_TAIL, lab_grown) :]
    )


def item(fragment: bytes) -> bytes:
    """One item, as JSON."""
    return b"{" + fragment + b"}"


def joined(fragments: Sequence[bytes]) -> bytes:
    """Items as a JSON array."""
    return b"[{" + b"},{".join(fragments) + b"}]" if fragments else b"[]"


def page(
    items: bytes | memoryview, total: int, cursor: str | None, as_of: str | None, more: bytes = b""
) -> bytes:
    """The answer to a search, as JSON.

    Args:
        items: a JSON array.
        total: how many stones match.
        cursor: of the next page.
        as_of: the age of the data.
        more: further members, each with a comma before it.
    """
    rest = b',"total":%d,"next":%b,"as_of":%b%b}' % (total, _text(cursor), _text(as_of), more)
    return b"".join((b'{"items":', items, rest))


def _text(text: str | None) -> bytes:
    # Neither a cursor nor a time has a character that JSON would escape.
    return b"null" if text is None else b'"%b"' % text.encode()


def facets_json(counted: Counted) -> bytes:
    """What was counted, as JSON."""
    facets: dict[str, Any] = {
        name: {_facet_key(value): count for value, count in counts.items()}
        for name, counts in counted.counts.items()
    }
    for name, numbers in counted.numbers.items():
        facets[name] = {
            "count": numbers.count,
            "min": numbers.low,
            "max": numbers.high,
            "mean": numbers.mean,
            "edges": numbers.edges,
            "buckets": numbers.buckets,
        }
    return msgspec.json.encode(facets)


def _facet_key(value: str | bool | None) -> str:
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else str(value).lower()


UNKNOWN: Final = "unknown"
"""Stands in a facet for stones that lack the attribute."""


def _item_schema() -> dict[str, Any]:
    (_, components) = msgspec.json.schema_components((Stone,), ref_template="{name}")
    stone = components["Stone"]
    properties = {name: _inlined(stone["properties"][name], components) for name in (*PUBLIC_FIELDS, _COST)}
    # Every field but the cost is in every item, null where it is unknown.
    return {"type": "object", "required": list(PUBLIC_FIELDS), "properties": properties}


def _inlined(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    return components[schema["$ref"]] if "$ref" in schema else schema


ITEM_SCHEMA: Final = _item_schema()
"""JSON Schema of an item, derived from the record."""

SLIM_ITEM_SCHEMA: Final = {
    "type": "object",
    "required": list(SLIM_FIELDS),
    "properties": {name: ITEM_SCHEMA["properties"][name] for name in (*SLIM_FIELDS, _COST)},
}
"""JSON Schema of a slim item."""

ITEMS_SCHEMA: Final = {
    "type": "array",
    "items": {"anyOf": [{"$ref": "#/components/schemas/Item"}, {"$ref": "#/components/schemas/SlimItem"}]},
}

_NUMBER_OR_NULL: Final = {"type": ["number", "null"]}

FACETS_SCHEMA: Final = {
    "type": "object",
    "description": "attribute to what was counted, each without its own filter",
    "additionalProperties": {
        "anyOf": [
            {
                "type": "object",
                "description": f"value to stones; `{UNKNOWN}` for those that lack the attribute",
                "additionalProperties": {"type": "integer", "minimum": 0},
            },
            {
                "type": "object",
                "required": ["count", "min", "max", "mean", "edges", "buckets"],
                "properties": {
                    "count": {"type": "integer", "minimum": 0},
                    "min": _NUMBER_OR_NULL,
                    "max": _NUMBER_OR_NULL,
                    "mean": _NUMBER_OR_NULL,
                    "edges": {
                        "type": "array",
                        "items": {"type": "number"},
                        "description": "where buckets begin; the first bucket lies below the first edge",
                    },
                    "buckets": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                },
            },
        ]
    },
}

UNDERSTOOD_SCHEMA: Final = {
    "type": "object",
    "description": "what free text became",
    "required": ["filters", "not_understood"],
    "properties": {
        "filters": {"type": "object", "additionalProperties": {"type": "string"}},
        "not_understood": {"type": "array", "items": {"type": "string"}},
    },
}

PAGE_SCHEMA: Final = {
    "type": "object",
    "required": ["items", "total", "next", "as_of"],
    "properties": {
        "items": ITEMS_SCHEMA,
        "facets": FACETS_SCHEMA,
        "understood": UNDERSTOOD_SCHEMA,
        "capped": {
            "type": "boolean",
            "description": "true where the walk ends because the key may not see more, not because there is none",
        },
        "total": {"type": "integer", "minimum": 0, "description": "how many stones match, exactly"},
        "next": {"type": ["string", "null"], "description": "cursor of the next page; null on the last"},
        "as_of": {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "until when the vendors' changes are in; null while a feed was never read through",
        },
    },
}
"""JSON Schema of a search's answer."""
