"""Rule files: YAML or JSON to a rule set, or to a list of what is wrong in it, by row and field."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
import yaml
from pydantic import ValidationError

from schemas.conditions import BadCondition
from schemas.errors import Invalid
from schemas.ruleset import RuleSet

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
    try:
        document = msgspec.json.decode(data) if data.lstrip()[:1] == b"{" else _yaml(data)
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        # A YAML flow mapping begins with a brace too.
        document = _yaml_or_refusal(data, error)
    return read_rule_set(document)


def read_rule_set(document: Any) -> RuleSet:
    """A rule set from what a file or a request holds. Raises `BadRuleFile`."""
    if not isinstance(document, dict):
        raise _unusable("must be a mapping with `base` and `rules`", "unreadable")
    try:
        return RuleSet.model_validate(document)
    except ValidationError as error:
        raise BadRuleFile([_mistake(detail) for detail in error.errors()[:MAX_MISTAKES]]) from error


def _yaml_or_refusal(data: bytes, error: Exception) -> Any:
    try:
        if data.lstrip()[:1] == b"{" and isinstance(error, msgspec.DecodeError):
            return _yaml(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        pass
    raise _unusable(f"is neither YAML nor JSON: {error}", "unreadable") from error


def _unusable(rule: str, code: str) -> BadRuleFile:
    return BadRuleFile([Mistake("file", rule)], code)


class _Loader(yaml.CSafeLoader):
    """YAML without keys that silently win over others."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping; refuses a key that is there twice."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {key.value!r} is there twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _yaml(data: bytes) -> Any:
    # Looked at as a flat stream first: deep nesting overflows the C composer's stack and takes the process along, and
    # aliases make a small file a huge one.
    depth = 0
    for event in yaml.parse(data, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            raise yaml.YAMLError(f"it nests deeper than {MAX_NESTING}")
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
    return yaml.load(data, _Loader)


def _mistake(detail: Any) -> Mistake:
    place = [str(part) for part in detail["loc"]]
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, BadCondition):
        place += error.path
    for table in (["rules"], ["ratings", "rules"]):
        if place[: len(table)] == table and len(place) > len(table):
            row = f"row {int(place[len(table)]) + 1}"
            place[: len(table) + 1] = [row if table == ["rules"] else f"ratings row {row[4:]}"]
    message = detail["msg"].removeprefix("Value error, ")
    return Mistake(".".join(place) or "rules", message)
