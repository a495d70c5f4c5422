"""Kafka headers from and to structs: every value is text, so that any tool can read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from schemas.errors import Invalid

Headers = list[tuple[str, bytes]]
StructT = TypeVar("StructT", bound=msgspec.Struct)


def to_headers(struct: msgspec.Struct) -> Headers:
    """One header a field that is not null; numbers in decimal, booleans as 0 and 1."""
    headers: Headers = []
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        if value is None:
            continue
        text = str(int(value)) if isinstance(value, bool) else str(value)
        headers.append((name, text.encode()))
    return headers


def from_headers(headers: Iterable[tuple[str, bytes | None]] | None, into: type[StructT]) -> StructT:
    """Read headers into a struct; unknown headers are ignored, the last of a repeated one wins.

    Raises:
        Invalid: a header is missing, not text, or not of its type.
    """
    try:
        texts = {name: value.decode() for name, value in headers or () if value is not None}
        return msgspec.convert(texts, into, strict=False)
    except UnicodeDecodeError as error:
        raise Invalid("headers", f"must be UTF-8 text ({error.reason})", code="bad_headers") from error
    except msgspec.ValidationError as error:
        raise Invalid("headers", str(error), code="bad_headers") from error
