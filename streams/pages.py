"""A page's bytes to its items, so that one bad item never takes its page along. Pure.

The whole page is decoded typed in one go. Only where that fails, or an item's own bytes are wanted for its dead
letter, is the page split first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from schemas.errors import Invalid
from schemas.vendor import Item


class _Items(msgspec.Struct):
    items: list[Item | None] | None = None


class _RawItems(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


class _Query(msgspec.Struct):
    diamonds_by_query: _Items | None = None


class _RawQuery(msgspec.Struct):
    diamonds_by_query: _RawItems | None = None


class _Data(_Query):
    as_: _Query | None = msgspec.field(default=None, name="as")


class _RawData(_RawQuery):
    as_: _RawQuery | None = msgspec.field(default=None, name="as")


class _Reply(msgspec.Struct):
    data: _Data | None = None


class _RawReply(msgspec.Struct):
    data: _RawData | None = None


class _Listing(msgspec.Struct):
    id: str


class _Identity(msgspec.Struct):
    diamond: _Listing


UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON, not of a form, or nested deeper than anyone means."""

_decode: Final = msgspec.json.Decoder(_Reply).decode
_decode_raw: Final = msgspec.json.Decoder(_RawReply).decode
_decode_item: Final = msgspec.json.Decoder(Item).decode
_decode_identity: Final = msgspec.json.Decoder(_Identity).decode


def decode_page(page: bytes) -> list[Item | Invalid]:
    """The items of a vendor's reply, in order; an `Invalid` in the place of one that is not of an item's form.

    Raises:
        Invalid: the reply as a whole is not JSON, or holds no list of items.
    """
    try:
        items = _items(_decode(page))
    except msgspec.ValidationError:
        # Some item (or the envelope: then the split fails as well, and says so) is of an unexpected form.
        return [_item(item) for item in split_page(page)]
    except UNREADABLE as error:
        raise _unreadable(error) from error
    if None in items:
        return [_NULL_ITEM if item is None else item for item in items]
    return items  # type: ignore[return-value]


def split_page(page: bytes) -> list[bytes]:
    """The bytes of each item, in order.

    Raises:
        Invalid: as `decode_page`.
    """
    try:
        reply = _decode_raw(page)
    except msgspec.ValidationError as error:
        raise Invalid(_path(error) or "data", _rule(error), "bad_envelope") from error
    except UNREADABLE as error:
        raise _unreadable(error) from error
    return [bytes(item) for item in _raw_items(reply)]


def vendor_stone_id(item: bytes) -> str | None:
    """The vendor's id of the stone, read from an item that may be wrong in every other way."""
    try:
        return _decode_identity(item).diamond.id or None
    except UNREADABLE:
        return None


_NULL_ITEM: Final = Invalid("items[]", "must not be null", "null_item")


def _item(item: bytes) -> Item | Invalid:
    if item == b"null":
        return _NULL_ITEM
    return _or_invalid(_decode_item, item)


def _or_invalid(decode: Callable[[bytes], Item], item: bytes) -> Item | Invalid:
    try:
        return decode(item)
    except msgspec.ValidationError as error:
        return Invalid(_path(error) or "item", _rule(error), "wrong_type")
    except UNREADABLE as error:
        return Invalid("item", f"is not readable: {error}", "not_json")


def _items(reply: _Reply) -> list[Item | None]:
    data = reply.data
    found = data and ((data.as_ and data.as_.diamonds_by_query) or data.diamonds_by_query)
    if not found or found.items is None:
        raise _no_items()
    return found.items


def _raw_items(reply: _RawReply) -> list[msgspec.Raw]:
    data = reply.data
    found = data and ((data.as_ and data.as_.diamonds_by_query) or data.diamonds_by_query)
    if not found or found.items is None:
        raise _no_items()
    return found.items


def _no_items() -> Invalid:
    return Invalid("data.as.diamonds_by_query.items", "must be a list of items", "bad_envelope")


def _unreadable(error: Exception) -> Invalid:
    return Invalid("body", f"is not a JSON reply: {error}", "not_json")


def _path(error: msgspec.ValidationError) -> str:
    """The path in a msgspec message: "Expected `str`, got `int` - at `$.diamond.id`"."""
    return str(error).rpartition(" - at `$")[2].rstrip("`").lstrip(".") if " - at `$" in str(error) else ""


def _rule(error: msgspec.ValidationError) -> str:
    return str(error).partition(" - at `$")[0]
