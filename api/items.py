"""From fragments to what a caller gets: a join of bytes, nothing decoded."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from schemas.stone import PUBLIC_FIELDS, Stone

_COST: Final = "cost_cents"


def item(fragment: bytes) -> bytes:
    """One item, as JSON."""
    return b"{" + fragment + b"}"


def page(fragments: list[bytes], total: int, cursor: str | None, as_of: str | None) -> bytes:
    """The answer to a search, as JSON."""
    items = b"{" + b"},{".join(fragments) + b"}" if fragments else b""
    end = msgspec.json.encode({"total": total, "next": cursor, "as_of": as_of})
    return b'{"items":[' + items + b"]," + end[1:]


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

PAGE_SCHEMA: Final = {
    "type": "object",
    "required": ["items", "total", "next", "as_of"],
    "properties": {
        "items": {"type": "array", "items": {"$ref": "#/components/schemas/Item"}},
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
