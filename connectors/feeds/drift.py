"""Schema drift: what a live reply says of the fields that we rely on. Pure.

A field that no item has any more was renamed or dropped; a value that its declared types do not take has changed its
type. Only a whole page tells: one stone may lack anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, get_args, get_type_hints

import msgspec

from connectors.feeds.form import Form
from schemas.errors import Invalid

FEWEST_ITEMS: Final = 10
"""A field may be missing from fewer by chance."""

Path = tuple[str, ...]


def drift(reply: bytes, form: Form) -> list[str]:
    """What differs from the form, each with the field's path; nothing where all is as it was.

    Raises:
        Invalid: the reply is no page of this form at all.
    """
    try:
        items = form.items(msgspec.json.decode(reply, type=form.reply(Any)))
    except msgspec.DecodeError as error:
        raise Invalid(form.place, f"is not what it was: {error}", "drifted_envelope") from error
    if items is None:
        raise Invalid(form.place, "is not there any more", "drifted_envelope")
    found = [item for item in items if isinstance(item, dict)]
    return list(_differences(found, form.item, ()))


def _differences(items: Sequence[dict[str, Any]], struct: type[msgspec.Struct], path: Path) -> Iterator[str]:
    known = set(struct.__struct_fields__)
    strange = sorted({name for item in items for name in item} - known)
    for name, hint in get_type_hints(struct).items():
        field = ".".join((*path, name))
        values = [item[name] for item in items if name in item]
        if not values and len(items) >= FEWEST_ITEMS:
            hint_at = f"; new beside it: {', '.join(strange)}" if strange else ""
            yield f"{field}: in none of {len(items)} items (renamed or dropped{hint_at})"
            continue
        inner = _struct_in(hint)
        if inner is not None and not inner.__struct_config__.array_like:
            objects = [value for value in values if isinstance(value, dict)]
            others = [value for value in values if value is not None and not isinstance(value, dict)]
            if others:
                yield f"{field}: is {_kind(others[0])}, was an object"
            yield from _differences(objects, inner, (*path, name))
        else:
            wrong = next((value for value in values if not _fits(value, hint)), None)
            if wrong is not None:
                yield f"{field}: is {_kind(wrong)}, which it never was"


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    parts = (hint, *get_args(hint))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, msgspec.Struct)), None)


def _fits(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", int: "a whole number"}
    return names.get(type(value), "a number")
