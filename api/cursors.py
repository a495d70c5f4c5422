"""Cursors: where the next page begins, as opaque text. A cursor names its sort, marks its filters, and is checked before use."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from typing import Final

import msgspec

from api.fields import FIELDS, Kind
from api.problems import BadParameter
from api.query import After, SortKey, Value
from schemas.errors import Invalid

CURSOR_VERSION: Final = 3
MAX_CURSOR_CHARS: Final = 2000

_STALE: Final = "is not one that this service gave; begin again without it"


class _Cursor(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    version: int
    sort: str
    values: list[int | float | str | None]
    stone_id: str
    walked: int
    filters: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Cursor).decode


def sort_text(sort: tuple[SortKey, ...]) -> str:
    """Sorting keys as the `sort` parameter spells them."""
    return ",".join([f"-{key.name}" if key.descending else key.name for key in sort])


def to_cursor(after: After, sort: tuple[SortKey, ...], walked: int, filters: int) -> str:
    """The cursor of a page's end; `walked` items lie before it, and `filters` is the same number for the same filters."""
    cursor = _Cursor(CURSOR_VERSION, sort_text(sort), list(after.values), after.stone_id, walked, filters)
    packed = _encode(cursor)
    return urlsafe_b64encode(packed).rstrip(b"=").decode()


def from_cursor(text: str, sort: tuple[SortKey, ...], filters: int) -> tuple[After, int]:
    """The end of the page before, and how many items were walked until there.

    Raises:
        BadParameter: it is not a cursor, or one of another sort or of other filters.
    """
    try:
        cursor = _read(text)
    except Invalid as error:
        raise BadParameter("cursor", _STALE) from error
    if cursor.sort != sort_text(sort):
        raise BadParameter("cursor", f"belongs to sort={cursor.sort}", nearest=f"sort={cursor.sort}")
    if cursor.filters != filters:
        raise BadParameter("cursor", "belongs to a search with other filters; begin again without it")
    if len(cursor.values) != len(sort) or not all(map(_fits, sort, cursor.values)) or cursor.walked < 0:
        raise BadParameter("cursor", _STALE)
    return After(tuple(cursor.values), cursor.stone_id), cursor.walked


def _read(text: str) -> _Cursor:
    if len(text) > MAX_CURSOR_CHARS:
        raise Invalid("cursor", "is too long")
    try:
        packed = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        cursor = _decode(packed)
    except (UnicodeEncodeError, Base64Error, ValueError, msgspec.MsgspecError) as error:
        raise Invalid("cursor", "cannot be read") from error
    # Base64 reads many texts as the same bytes; only the one we wrote is taken.
    if cursor.version != CURSOR_VERSION or urlsafe_b64encode(packed).rstrip(b"=").decode() != text:
        raise Invalid("cursor", "was not written by this version")
    return cursor


def _fits(key: SortKey, value: Value) -> bool:
    if value is None:
        return True
    kind = FIELDS[key.name].kind
    if kind is Kind.LIST:
        return isinstance(value, str)
    if kind is Kind.DECIMAL:
        return isinstance(value, int | float) and value == value
    return isinstance(value, int) and abs(value) < 2**62
