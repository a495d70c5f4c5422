"""A page's bytes to its items, so that one bad item never takes its page along. Pure.

The whole page is decoded typed in one go. Only where that fails, or an item's own bytes are wanted for its dead
letter, is the page split first. What a page looks like is its feed's business (`connectors.feeds.form`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from connectors.feeds.form import Form
from schemas.errors import Invalid

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON, not of a form, or nested deeper than anyone means."""


class PageReader:
    """Reads the pages of feeds of one form."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._decode = msgspec.json.Decoder(form.reply(form.item | None)).decode
        self._decode_raw = msgspec.json.Decoder(form.reply(msgspec.Raw)).decode
        self._decode_item = msgspec.json.Decoder(form.item).decode
        self._decode_identity = msgspec.json.Decoder(form.identity).decode

    def decode(self, page: bytes) -> list[Any]:
        """The items of a vendor's reply, in order; an `Invalid` in the place of one that is not of an item's form.

        Raises:
            Invalid: the reply as a whole is not JSON, or holds no list of items.
        """
        try:
            items = self._found(self._decode(page))
        except msgspec.ValidationError:
            # Some item (or the envelope: then the split fails as well, and says so) is of an unexpected form.
            return [self.item(item) for item in self.split(page)]
        except UNREADABLE as error:
            # Told in the words of `split`, by which most pages are read.
            self.split(page)
            raise _unreadable(error) from error
        if None in items:
            return [_NULL_ITEM if item is None else item for item in items]
        return items

    def split(self, page: bytes) -> list[msgspec.Raw]:
        """The bytes of each item, in order; views of the page.

        Raises:
            Invalid: as `decode`.
        """
        try:
            reply = self._decode_raw(page)
        except msgspec.ValidationError as error:
            raise Invalid(_path(error) or "data", _rule(error), "bad_envelope") from error
        except UNREADABLE as error:
            raise _unreadable(error) from error
        return self._found(reply)

    def holds_nothing(self, page: bytes) -> bool:
        """Whether a reply holds one list, which is that of its items, and they are none."""
        try:
            return page.count(b"[") == 1 and self.form.items(self._decode_raw(page)) == []
        except UNREADABLE:
            return False

    def item(self, item: bytes | msgspec.Raw) -> Any:
        """One item of a page from its bytes; an `Invalid` where it is not of an item's form."""
        if len(item) == len(b"null") and bytes(item) == b"null":
            return _NULL_ITEM
        try:
            return self._decode_item(item)
        except msgspec.ValidationError as error:
            return Invalid(_path(error) or "item", _rule(error), "wrong_type")
        except UNREADABLE as error:
            return Invalid("item", f"is not readable: {error}", "not_json")

    def stone(self, item: bytes | msgspec.Raw) -> str | None:
        """The vendor's id of the stone, read from an item that may be wrong in every other way."""
        try:
            return self.form.stone(self._decode_identity(item)) or None
        except UNREADABLE:
            return None

    def _found(self, reply: Any) -> list[Any]:
        items = self.form.items(reply)
        if items is None:
            raise Invalid(self.form.place, "must be a list of items", "bad_envelope")
        return items


_NULL_ITEM: Final = Invalid("items[]", "must not be null", "null_item")


def _unreadable(error: Exception) -> Invalid:
    return Invalid("body", f"is not a JSON reply: {error}", "not_json")


def _path(error: msgspec.ValidationError) -> str:
    """The path in a msgspec message: "Expected `str`, got `int` - at `$.diamond.id`"."""
    return str(error).rpartition(" - at `$")[2].rstrip("`").lstrip(".") if " - at `$" in str(error) else ""


def _rule(error: msgspec.ValidationError) -> str:
    return str(error).partition(" - at `$")[0]
