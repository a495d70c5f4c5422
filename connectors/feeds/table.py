"""What a feed's mapping table is made of: rows, and the parsers they name.

A table is data: one row for each field of `schemas.stone.Content`, saying where the vendor keeps it and how it is
read. `streams.normalise` compiles a table into one function. A parser is pure: it returns our value, or raises
`Unknown` for a value it cannot read. The row decides what that means: an important field makes the item invalid, any
other becomes null (or the parser's own fall-back) and is counted.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol


class Unknown(Exception):
    """A value that the parser's vocabulary or range does not hold; the message is the rule it breaks."""


class Refused(Exception):
    """No stone may carry this value, however unimportant its field.

    Args:
        rule: the rule it breaks.
        code: short stable name of the kind of mistake.
    """

    def __init__(self, rule: str, code: str) -> None:
        super().__init__(rule)
        self.code = code


class Parser(Protocol):
    """Reads one vendor value.

    Attributes:
        memo: whether results are worth remembering by value (few different values, none of them unique to a stone).
        as_is: a Python condition over `{v}` under which a printable value (not null) is already ours; empty for none.
            It only saves time: `parse` gives the same answer.
        text: whether the value is a text that must be printable for that.
        fallback: what an unknown value of an unimportant field becomes.
    """

    @property
    def memo(self) -> bool: ...  # noqa: D102
    @property
    def as_is(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> bool: ...  # noqa: D102
    @property
    def fallback(self) -> object: ...  # noqa: D102

    def parse(self, value: object) -> object:
        """Our value. Raises `Unknown` or `Refused`."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """Where one field comes from.

    Attributes:
        field: the field of `Content`.
        sources: paths in the vendor's item, the first that yields a value wins; `feed.x` is an attribute of the feed.
        parser: how it is read; None only where the feed itself is the source, or there is none.
        required: whether a missing value makes the item invalid.
        refuse_unknown: whether an unknown value does; always where it is required.
    """

    field: str
    sources: tuple[str, ...]
    parser: Parser | None = None
    required: bool = False
    refuse_unknown: bool = False


def absent(*fields: str) -> tuple[Row, ...]:
    """Rows of fields that a vendor tells nothing of."""
    return tuple(Row(field, ()) for field in fields)


_SEPARATORS: Final = re.compile(r"[\s_\-]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NOTHING: Final = frozenset({"", "null", "none given", "n/a", "-"})


def word(text: str) -> str:
    """The form in which vocabularies are looked up: upper case, every run of space, dash or underscore one space."""
    return _SEPARATORS.sub(" ", text).strip().upper()


@dataclass(frozen=True)
class Words:
    """A vocabulary: exact words to ours, any case and separator.

    Attributes:
        table: words (as `word` spells them) to our value; null for a word that says nothing.
        null: what null means.
        fallback: what an unknown word becomes where the row is not required.
        keep_unknown: keep an unknown word as it came (counted all the same).
    """

    table: Mapping[str, str | None]
    null: str | None = None
    fallback: str | None = None
    keep_unknown: bool = False
    memo: bool = True
    as_is: str = ""
    text: bool = False

    def parse(self, value: object) -> str | None:
        """Our word for the vendor's."""
        if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
            return self.null
        found = self.table.get(word(str(value)), _MISSING)
        if found is _MISSING:
            raise Unknown("is not in the vendor's list of values")
        return found  # type: ignore[return-value]


_MISSING: Final = object()


@dataclass(frozen=True)
class Text:
    """Free text: trimmed, the words for nothing made null, line breaks made spaces.

    Refuses control characters (Postgres refuses some, terminals obey others) and what is longer than `limit`
    characters.
    """

    limit: int
    memo: bool = False
    text: bool = True
    fallback: str | None = None

    @property
    def as_is(self) -> str:
        """Trimmed, and too long to be a word for nothing."""
        return f"4 < len({{v}}) <= {self.limit} and {{v}}.strip() is {{v}}"

    def parse(self, value: object) -> str | None:
        """The cleaned text."""
        text = str(value).strip() if value is not None else ""
        if text.lower() in _NOTHING:
            return None
        if len(text) > self.limit:
            raise Refused(f"has {len(text)} characters; at most {self.limit} are kept", "too_long")
        if _CONTROLS.search(text):
            raise Refused("holds a control character", "control_character")
        return " ".join(text.split()) if not text.isprintable() else text


@dataclass(frozen=True)
class Url:
    """An address that a browser may be given: http or https."""

    limit: int = 4000
    memo: bool = False
    text: bool = True
    fallback: str | None = None

    @property
    def as_is(self) -> str:
        """An https address without spaces around it."""
        return f"len({{v}}) <= {self.limit} and {{v}}.startswith('https://') and {{v}}.strip() is {{v}}"

    def parse(self, value: object) -> str | None:
        """The address."""
        text = Text(self.limit).parse(value)
        if text is not None and not text.lower().startswith(("https://", "http://")):
            raise Unknown("must be an http or https address")
        return text


@dataclass(frozen=True)
class Decimal:
    """A number, often sent as text; `0` means unknown. At most `places` decimals are kept."""

    above: float
    up_to: float
    places: int = 4
    zero_is_unknown: bool = True
    memo: bool = True
    as_is: str = ""
    text: bool = False
    fallback: float | None = None

    def parse(self, value: object) -> float | None:
        """The number as a float."""
        number = _number(value)
        if number is None or (number == 0 and self.zero_is_unknown):
            return None
        number = round(number, self.places)
        if not self.above < number <= self.up_to:
            raise Unknown(f"must be over {self.above:g} and at most {self.up_to:g}")
        return number


@dataclass(frozen=True)
class Integer:
    """A whole number, perhaps sent as text."""

    at_least: int
    up_to: int
    memo: bool = True
    text: bool = False
    fallback: int | None = None

    @property
    def as_is(self) -> str:
        """A JSON integer in range; unused while results are remembered."""
        return "" if self.memo else f"{self.at_least} <= {{v}} <= {self.up_to}"

    def parse(self, value: object) -> int | None:
        """The number."""
        number = value if isinstance(value, int) else _number(value)
        if number is None:
            return None
        if not self.at_least <= number <= self.up_to or number != int(number):
            raise Unknown(f"must be a whole number from {self.at_least} to {self.up_to}")
        return int(number)


@dataclass(frozen=True)
class Dollars:
    """Whole cents from dollars, sent as a JSON number or as text; never by way of a binary fraction."""

    at_least: int
    up_to: int
    memo: bool = False
    as_is: str = ""
    text: bool = False
    fallback: int | None = None

    def parse(self, value: object) -> int | None:
        """Cents. Refuses fractions of a cent: nobody can say what was meant."""
        if _number(value) is None:
            return None
        # The shortest decimal that is this float is what the vendor wrote.
        cents = decimal.Decimal(str(value).strip()) * 100
        if cents != cents.to_integral_value() or not self.at_least <= cents <= self.up_to:
            raise Unknown(f"must be dollars and whole cents, {self.at_least} to {self.up_to} cents")
        return int(cents)


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise Unknown("must be a number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise Unknown("must be a finite number")
    return number


@dataclass(frozen=True)
class Flag:
    """True or false, as a boolean or in words."""

    table: Mapping[str, bool]
    memo: bool = True
    as_is: str = ""
    text: bool = False
    fallback: bool | None = None

    def parse(self, value: object) -> bool | None:
        """The boolean; null stays null."""
        if value is None or isinstance(value, bool):
            return value
        found = self.table.get(word(str(value)))
        if found is None:
            raise Unknown("must say yes or no")
        return found


@dataclass(frozen=True)
class Tinge:
    """A shade in the supplier's words: lower case, `none` where it says no."""

    no: frozenset[str]
    memo: bool = True
    as_is: str = ""
    text: bool = False
    fallback: str | None = None

    def parse(self, value: object) -> str | None:
        """The words, never cast to a boolean: suppliers write degrees."""
        text = Text(200).parse(value)
        if text is None:
            return None
        return "none" if word(text) in self.no else text.lower()


@dataclass(frozen=True)
class EyeClean:
    """Words, or a percentage kept as the vendor writes it."""

    table: Mapping[str, str]
    memo: bool = True
    as_is: str = ""
    text: bool = False
    fallback: str | None = None

    def parse(self, value: object) -> str | None:
        """`yes`, `no`, `borderline`, `90%` or null."""
        text = "" if value is None else str(value).strip()
        if text.lower() in _NOTHING:
            return None
        if text.endswith("%") and text[:-1].strip().isdecimal() and int(text[:-1]) <= 100:
            return f"{int(text[:-1])}%"
        found = self.table.get(word(text))
        if found is None:
            raise Unknown("is neither yes, no, borderline nor a percentage")
        return found
