"""The parameters of a search as OpenAPI describes them, from the same table that reads them."""

from __future__ import annotations

from typing import Any, Final

from api.fields import FIELDS, SORTABLE, Kind
from api.parameters import (
    FACETS,
    FIELD_SETS,
    MAX_NUMBER,
    MAX_TEXT_CHARS,
    PARAMETERS,
    RANGED,
    WALK_CAP,
    Parameter,
    is_signed,
)
from api.query import DEFAULT_LIMIT, MAX_LIMIT
from api.vocabulary import MAX_VALUE_CHARS, MAX_VALUES


def parameter_docs(*, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The parameters of a search, but for some."""
    docs = (_PAGING.get(name) or _filter_doc(parameter) for name, parameter in PARAMETERS.items())
    return [doc for doc in docs if doc["name"] not in without]


def _filter_doc(parameter: Parameter) -> dict[str, Any]:
    field, role = parameter.field, parameter.role
    assert field is not None
    meaning = f"{field.meaning}{'; needs the scope cost:read' if field.private else ''}"
    if role == "prefix":
        return _doc(parameter.name, f"{meaning}: begins with any of these", _texts())
    if field.kind is Kind.FLAG:
        return _doc(parameter.name, meaning, {"type": "boolean"})
    if field.kind in RANGED:
        return _doc(
            parameter.name, f"{meaning}: at {'least' if role == 'min' else 'most'}", _number(parameter)
        )
    if role in ("min", "max"):
        end = "from this one on, in grade order" if role == "min" else "up to this one, in grade order"
        return _doc(parameter.name, f"{meaning}: {end}", {"type": "string", "enum": list(field.values)})
    known = f"; among them {', '.join(field.values)}" if field.values and not field.closed else ""
    ranges = "; D..G is a range in grade order" if field.name == "color" else ""
    schema = _texts(field.values if field.closed else ())
    return _doc(parameter.name, f"{meaning}; any of the values, with commas{ranges}{known}", schema)


def _number(parameter: Parameter) -> dict[str, Any]:
    assert parameter.field is not None
    if parameter.field.kind is Kind.MOMENT:
        return {"type": "string", "format": "date-time"}
    low = -MAX_NUMBER if is_signed(parameter.field) else 0
    kind = "integer" if parameter.field.kind is Kind.INTEGER else "number"
    return {"type": kind, "minimum": low, "maximum": MAX_NUMBER}


def _texts(values: tuple[str, ...] = ()) -> dict[str, Any]:
    items: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_VALUE_CHARS}
    if values:
        items = {"type": "string", "enum": list(values)}
    return {"type": "array", "minItems": 1, "maxItems": MAX_VALUES, "items": items}


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


_PAGING: Final = {
    doc["name"]: doc
    for doc in (
        _doc(
            "q",
            "words such as `2ct oval E VS1 under 5k`, a certificate or stock number; `understood` in the answer says"
            " which filters they became",
            {"type": "string", "maxLength": MAX_TEXT_CHARS},
        ),
        _doc(
            "sort",
            "sorting keys, the first counts most; a minus sorts downwards; ties are broken by id",
            {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "string",
                    "enum": [
                        f"{sign}{name}"
                        for name in (*SORTABLE, *(n for n, f in FIELDS.items() if f.private and f.sortable))
                        for sign in ("", "-")
                    ],
                },
            },
        ),
        _doc(
            "limit",
            "greatest number of items",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        ),
        _doc(
            "offset",
            f"items to leave out, for numbered pages; beyond {WALK_CAP} items the scope diamonds:export is needed",
            {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER, "default": 0},
        ),
        _doc("cursor", "`next` of the page before, with the same filters and sort", {"type": "string"}),
        _doc(
            "facets",
            "attributes to count over all stones that match, each without its own filter; numbers get a histogram",
            {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(FACETS)}},
        ),
        _doc(
            "fields",
            "`slim` items have what a list shows, `full` ones everything",
            {"type": "string", "enum": list(FIELD_SETS), "default": "full"},
        ),
        _doc(
            "max_age",
            "seconds; data that is older (`as_of`) is refused with 412",
            {"type": "integer", "minimum": 0, "maximum": 10**9},
        ),
    )
}
