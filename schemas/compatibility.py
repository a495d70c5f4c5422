"""What a stored record or an older reader would not survive in a changed JSON Schema.

Both directions count: old records are read by new code (replay), and new records by old code (a rollback, a slow
replica). So a field may be added if it is optional, and nothing may be removed, narrowed or made required.
"""

from __future__ import annotations

from typing import Any


def incompatibilities(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Changes that need a new version, in words; empty when the change is safe."""
    old, new = _objects(before), _objects(after)
    found = [f"{name} was removed" for name in old if name not in new]
    for name in old.keys() & new.keys():
        found += _object_changes(name, old[name], new[name])
    return sorted(found)


def _objects(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    definitions = dict(schema.get("$defs", {}))
    if "properties" in schema:
        definitions[schema.get("title", "record")] = schema
    return definitions


def _object_changes(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = []
    if "enum" in old:
        gone = set(map(str, old["enum"])) ^ set(map(str, new.get("enum", [])))
        return [f"{name}: the set of values changed ({', '.join(sorted(gone))})"] if gone else []
    fields, now = old.get("properties", {}), new.get("properties", {})
    required, required_now = set(old.get("required", [])), set(new.get("required", []))
    found += [f"{name}.{field} was removed" for field in fields.keys() - now.keys()]
    found += [f"{name}.{field} became required" for field in required_now - required]
    found += [f"{name}.{field} became optional" for field in (required - required_now) & now.keys()]
    found += [
        f"{name}.{field} changed its type"
        for field in fields.keys() & now.keys()
        if _types(fields[field]) != _types(now[field])
    ]
    return found


def _types(field: dict[str, Any]) -> object:
    if "anyOf" in field:
        return frozenset(str(_types(option)) for option in field["anyOf"])
    if "items" in field:
        return (field.get("type"), str(_types(field["items"])))
    return field.get("type") or field.get("$ref") or str(field.get("const"))
