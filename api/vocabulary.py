"""The words of the filters: how people write a value, which one of ours it is, and the nearest one where it is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from api.fields import FIELDS, Field
from api.problems import BadParameter
from schemas.grades import LONG_NAMES

ValuesOf = Callable[[str], Iterable[str]]
"""The values that stones have of a listed attribute."""

MAX_VALUES: Final = 100
MAX_VALUE_CHARS: Final = 200

RANGE_MARK: Final = ".."
"""`color=D..G`: grades from one to another, in grade order."""

_VALUES_SHOWN: Final = 40
_QUALITY_WORDS: Final = {
    **{long: short for short, long in LONG_NAMES.items()},
    **{"EIGHTX": "8X", "8 X": "8X", "GD": "G", "FR": "F", "PR": "P", "VERYGOOD": "VG"},
}

ALIASES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cut": _QUALITY_WORDS,
        "polish": _QUALITY_WORDS,
        "symmetry": _QUALITY_WORDS,
        "clarity": {
            **{"flawless": "FL", "internally flawless": "IF"},
            **{f"very very slightly included {n}": f"VVS{n}" for n in (1, 2)},
            **{f"very slightly included {n}": f"VS{n}" for n in (1, 2)},
            **{f"slightly included {n}": f"SI{n}" for n in (1, 2, 3)},
            **{f"included {n}": f"I{n}" for n in (1, 2, 3)},
        },
        "fluorescence": {
            **{"NON": "NONE", "NO": "NONE", "VSL": "VERY_SLIGHT", "SLT": "SLIGHT", "FNT": "FAINT"},
            **{"MED": "MEDIUM", "STG": "STRONG", "STN": "STRONG", "VST": "VERY_STRONG"},
        },
        "fancy_color": {"grey": "GRAY"},
        "lab_grown_type": {"type IIa": "IIA"},
    }
)
"""Other spellings of values, by attribute."""


def fold(text: str) -> str:
    """One spelling for every way of writing a value: very good, Very-Good, VERY_GOOD."""
    return text.upper().replace("-", " ").replace("_", " ")


def _closed() -> dict[str, dict[str, str]]:
    known = {name: {fold(value): value for value in field.values} for name, field in FIELDS.items()}
    for name, words in ALIASES.items():
        known[name] |= {fold(word): value for word, value in words.items()}
    return known


_KNOWN: Final = _closed()


def known_words(field: Field, values_of: ValuesOf) -> dict[str, str]:
    """Every folded spelling of an attribute's values, to the value."""
    if field.closed:
        return _KNOWN[field.name]
    return _KNOWN[field.name] | {fold(value): value for value in values_of(field.name)}


def values_in(field: Field, text: str, values_of: ValuesOf) -> tuple[str, ...]:
    """The values that a parameter names, commas and grade ranges resolved.

    Raises:
        BadParameter: a value does not exist, or a range is reversed.
    """
    known, chosen = known_words(field, values_of), dict[str, None]()
    for part in texts_in(field.name, text):
        if RANGE_MARK in part and field.graded:
            low, _, high = part.partition(RANGE_MARK)
            chosen |= dict.fromkeys(grades_between(field, field.name, low, field.name, high))
        else:
            chosen[_value(field, field.name, part, known)] = None
    return tuple(chosen)


def grades_between(
    field: Field, low_name: str, low: str | None, high_name: str, high: str | None
) -> tuple[str, ...]:
    """The grades from one to another, both included, in grade order; an end that is empty is open.

    Raises:
        BadParameter: a grade does not exist, or the first comes behind the last.
    """
    known, grades = _KNOWN[field.name], field.values
    first = grades.index(_value(field, low_name, low, known)) if low else 0
    last = grades.index(_value(field, high_name, high, known)) if high else len(grades) - 1
    if first > last:
        rule = f"is reversed: in grade order {grades[last]} comes before {grades[first]}"
        turned = f"{grades[last]}{RANGE_MARK}{grades[first]}" if low_name == high_name else grades[last]
        raise BadParameter(low_name, rule, turned)
    return grades[first : last + 1]


def texts_in(name: str, text: str) -> tuple[str, ...]:
    """The parts of a list with commas, each once.

    Raises:
        BadParameter: there are too many, or one is empty or too long.
    """
    count = text.count(",") + 1
    if count > MAX_VALUES:
        raise BadParameter(name, f"has {count} values; at most {MAX_VALUES} are taken", MAX_VALUES)
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        if not part:
            raise BadParameter(name, "has an empty value")
        if len(part) > MAX_VALUE_CHARS:
            raise BadParameter(name, f"has a value of {len(part)} characters; at most {MAX_VALUE_CHARS}")
    return parts


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The one of some words that a text most resembles, if any does."""
    close = get_close_matches(text[:MAX_VALUE_CHARS], list(known), n=1, cutoff=0.5)
    return close[0] if close else None


def shown(text: str) -> str:
    """A caller's text, short enough to be repeated."""
    return text if len(text) <= 60 else f"{text[:60]}…"


def _value(field: Field, name: str, text: str, known: Mapping[str, str]) -> str:
    folded = fold(text.strip())
    value = known.get(folded)
    if value is None:
        near = nearest(folded, known)
        values = list(dict.fromkeys(known.values()))
        others = ", …" if len(values) > _VALUES_SHOWN else ""
        rule = f"has no value {shown(text)}; there are {', '.join(values[:_VALUES_SHOWN])}{others}"
        raise BadParameter(name, rule, None if near is None else known[near])
    return value
