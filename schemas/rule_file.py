"""Rule files: YAML or JSON to a rule set, or to a list of what is wrong in it, by row and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, NoReturn

import yaml
from pydantic import ValidationError

from schemas.conditions import BadCondition, Range, conditions_in
from schemas.errors import Invalid
from schemas.ruleset import BaseMargins, RatingRule, Ratings, Rounding, Rule, RuleSet
from schemas.wording import rule_of

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_MISTAKES: Final = 50
MAX_NESTING: Final = 30


class Mistake(NamedTuple):
    """One thing that is wrong: where (`row 3.when.carat.min`), and the rule it breaks."""

    field: str
    rule: str


class BadRuleFile(Invalid):
    """A rule set that breaks rules: the first mistake is the message, `mistakes` has up to 50 of them."""

    def __init__(self, mistakes: list[Mistake], code: str = "bad_rule") -> None:
        super().__init__(*mistakes[0], code=code)
        self.mistakes = tuple(mistakes)
        self.more["mistakes"] = [mistake._asdict() for mistake in mistakes]


def parse_rule_file(data: bytes) -> RuleSet:
    """Read a rule set from YAML or JSON.

    Raises:
        BadRuleFile: names row and field of each mistake, and the rule it breaks.
    """
    if len(data) > MAX_FILE_BYTES:
        raise _unusable(f"has {len(data)} bytes; at most {MAX_FILE_BYTES} are read", "too_large")
    return read_rule_set(_document(data))


def read_rule_set(document: Any) -> RuleSet:
    """A rule set from what a file or a request holds. Raises `BadRuleFile`."""
    if not isinstance(document, dict):
        raise _unusable("must be a mapping with `base` and `rules`", "unreadable")
    try:
        rules = RuleSet.model_validate(document)
    except ValidationError as error:
        raise BadRuleFile([_mistake(detail) for detail in error.errors()[:MAX_MISTAKES]]) from error
    if mistakes := list(_unprintable(rules)):
        raise BadRuleFile(mistakes[:MAX_MISTAKES])
    return rules


def _unprintable(rules: RuleSet) -> Iterator[Mistake]:
    """Texts that nobody could read in a history, and that no stone has; Postgres cannot even keep some of them."""
    for table, rows in (("row", rules.rules), ("ratings row", rules.ratings.rules)):
        for place, row in enumerate(rows, start=1):
            if not row.name.isprintable():
                yield Mistake(f"{table} {place}.name", _UNPRINTABLE)
            for attribute, condition in conditions_in(row.when):
                if isinstance(condition, tuple) and not all(map(str.isprintable, condition)):
                    yield Mistake(f"{table} {place}.when.{attribute}", _UNPRINTABLE)


_UNPRINTABLE: Final = "holds a character that cannot be printed"


def _document(data: bytes) -> Any:
    """What a file holds. JSON is tried first, it is read far faster; a YAML flow mapping begins with a brace too."""
    if data.lstrip()[:1] != b"{":
        return _yaml_document(data)
    try:
        return json.loads(data, object_pairs_hook=_mapping, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        try:
            return _yaml_document(data)
        except BadRuleFile as refusal:
            if refusal.code != _NEITHER:
                raise
        raise _unusable(f"is neither YAML nor JSON: {error}", _NEITHER) from error


def _yaml_document(data: bytes) -> Any:
    try:
        return _yaml(data)
    except _NotTaken as error:
        raise _unusable(str(error), "unreadable") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _unusable(f"is neither YAML nor JSON: {_said(error)}", _NEITHER) from error


_NEITHER: Final = "neither"


def _said(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', error)}"


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _unusable(rule: str, code: str) -> BadRuleFile:
    return BadRuleFile([Mistake("file", rule)], code)


class _NotTaken(yaml.YAMLError):
    """YAML that says something we do not take."""


class _Loader(yaml.CSafeLoader):
    """YAML without keys that silently win over others, and without its surprises: 010 is no eight, 1:30 no ninety.

    A date stays a text, so that the row it stands in says what is wrong with it.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 (the class is the library's)
        first: [(tag, form) for tag, form in forms if not tag.endswith((":int", ":timestamp"))]
        for first, forms in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping; refuses a key that is there twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _NotTaken(f"{_line(key)}: {key.value!r} is there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,18})$"), list("-+0123456789")
)


def _yaml(data: bytes) -> Any:
    # Looked at as a flat stream first: deep nesting overflows the C composer's stack and takes the process along, and
    # aliases make a small file a huge one.
    depth = 0
    for event in yaml.parse(data, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            raise _NotTaken(f"{_line(event)}: nests deeper than {MAX_NESTING}")
        if isinstance(event, yaml.AliasEvent):
            raise _NotTaken(f"{_line(event)}: *{event.anchor} is an alias; write out what it stands for")
    return yaml.load(data, _Loader)


def _line(place: Any) -> str:
    return f"line {place.start_mark.line + 1}"


def _mistake(detail: Any) -> Mistake:
    place = [str(part) for part in detail["loc"]]
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, BadCondition):
        place += error.path
    for table in (["rules"], ["ratings", "rules"]):
        if place[: len(table)] == table and len(place) > len(table):
            row = f"row {int(place[len(table)]) + 1}"
            place[: len(table) + 1] = [row if table == ["rules"] else f"ratings row {row[4:]}"]
    return Mistake(".".join(place) or "rules", _rule(detail))


def _rule(detail: Any) -> str:
    """A broken rule as whoever writes files says it: pydantic's own words name types of Python."""
    name, kind = str(detail["loc"][-1]) if detail["loc"] else "", detail["type"]
    if kind == "extra_forbidden":
        near = get_close_matches(name, _FIELDS, 1, 0.75)
        return f"{rule_of(detail)}{f'; did you mean {near[0]}?' if near else ''}"
    if kind == "string_pattern_mismatch":
        return _FORMS[name]
    if kind == "too_long" and "actual_length" in detail["ctx"]:
        return "has {actual_length} rows; at most {max_length} are taken".format(**detail["ctx"])
    if kind.startswith(("datetime", "timezone")):
        return "must be a moment with its zone, e.g. 2026-12-01T00:00:00Z"
    return rule_of(detail)


_FIELDS: Final = sorted(
    {
        name
        for model in (RuleSet, BaseMargins, Rule, Rounding, Ratings, RatingRule, Range)
        for name in model.model_fields
    }
)
_FORMS: Final = {
    "name": "must neither begin with a space nor hold a colon",
    "currency": "must be three capital letters, e.g. EUR",
}
