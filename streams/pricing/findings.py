"""What can be told of a rule set without looking at a stone: rows that never hold, are shadowed, or contradict. Pure.

A row's conditions are taken apart into alternatives without groups. A row never holds when every alternative asks for
what no stone can be; it is shadowed when each of its alternatives is contained in one of a single earlier row; and two
rows contradict each other when they ask for exactly the same and give something else. What two earlier rows shadow only
together is not found here: a preview shows it as a dead row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final

import msgspec

from schemas.conditions import GROUPS, TYPES, Condition, Range, conditions_in, direct
from schemas.feeds import FEEDS
from schemas.grades import GRADES
from schemas.ruleset import RatingRule, Row, Rule, RuleSet, Terms
from streams.pricing.wider import Wider, top

MAX_ALTERNATIVES: Final = 64
"""A row that comes apart into more is not looked at."""
MAX_ROWS: Final = 2_000
"""Each row is compared with all earlier ones (`wider`): of a longer table only the first rows are looked at."""

_CLOSED: Final[dict[str, frozenset[str]]] = {
    **{name: frozenset(values) for name, values in GRADES.items()},
    "type": frozenset(TYPES),
    "feed": frozenset(FEEDS),
}

Alternative = dict[str, Condition]


class Finding(msgspec.Struct, frozen=True):
    """One thing worth knowing: about which row of which table, what (`never`, `unknown`, `shadowed`, …), and why."""

    table: str
    row: str
    kind: str
    text: str


def findings(content: RuleSet) -> list[Finding]:
    """Everything that is found."""
    found = [*_in_table("rules", content.rules), *_in_table("ratings", content.ratings.rules)]
    longest = max(len(content.rules), len(content.ratings.rules))
    if longest > MAX_ROWS:
        found.append(
            Finding("rules", "", "unchecked", f"only the first {MAX_ROWS} rows by priority were looked at")
        )
    return found


def _in_table(table: str, rows: Sequence[Rule | RatingRule]) -> Iterator[Finding]:
    rows = sorted(rows, key=lambda row: row.priority)[:MAX_ROWS]
    taken_apart = [_alternatives(row.when) for row in rows]
    possible = [
        [one for one in alternatives or () if one is not None and not _impossible(one)]
        for alternatives in taken_apart
    ]
    wider = Wider(possible)
    for place, (row, alternatives) in enumerate(zip(rows, taken_apart, strict=True)):
        if alternatives is None:
            yield Finding(table, row.name, "unchecked", f"has more than {MAX_ALTERNATIVES} alternatives")
            continue
        if not possible[place]:
            why = next((_impossible(one) for one in alternatives if one is not None), None)
            yield Finding(table, row.name, "never", why or "its groups exclude one another")
            continue
        for name, condition in conditions_in(row.when):
            if isinstance(condition, tuple) and 0 < len(strange := _strange(name, condition)) < len(
                condition
            ):
                yield Finding(table, row.name, "unknown", f"{name}: no stone is ever {', '.join(strange)}")
        earlier = [(rows[other], possible[other]) for other in wider.before(place)]
        yield from _overshadowed(table, row, possible[place], earlier)


def _overshadowed(
    table: str,
    row: Rule | RatingRule,
    possible: list[Alternative],
    earlier: list[tuple[Rule | RatingRule, list[Alternative]]],
) -> Iterator[Finding]:
    for other, others in earlier:
        if not _valid_throughout(other, row) or not all(
            any(_implies(one, wider) for wider in others) for one in possible
        ):
            continue
        same = all(any(_implies(wider, one) for one in possible) for wider in others)
        if same and _result(other) != _result(row):
            yield Finding(
                table,
                row.name,
                "contradicts",
                f"asks for the same as {other.name!r} and gives another result",
            )
        yield Finding(table, row.name, "shadowed", f"{other.name!r} holds wherever it does and comes first")
        return


def _alternatives(when: Mapping[str, Any]) -> list[Alternative | None] | None:
    """The conditions without groups; null in place of one that contradicts itself. Null when there are too many."""
    found: list[Alternative | None] = [dict(direct(when))]
    for name in GROUPS:
        for group in _groups(when, name):
            parts = [_alternatives(one) for one in group]
            if any(part is None for part in parts):
                return None
            options = [one for part in parts for one in part or ()]
            if len(found) * len(options) > MAX_ALTERNATIVES:
                return None
            found = [
                None if left is None or right is None else _both(left, right)
                for left, right in product(found, options)
            ]
    return found


def _groups(when: Mapping[str, Any], name: str) -> list[Sequence[Mapping[str, Any]]]:
    """Lists of groups of which one each must hold."""
    groups = when.get(name, ())
    if name == "any":
        return [groups] if groups else []
    return [[group] for group in groups]


def _both(left: Alternative, right: Alternative) -> Alternative | None:
    merged = dict(left)
    for name, condition in right.items():
        if name not in merged:
            merged[name] = condition
            continue
        joined = _intersection(merged[name], condition)
        if joined is None:
            return None
        merged[name] = joined
    return merged


def _intersection(one: Condition, other: Condition) -> Condition | None:
    if isinstance(one, bool) or isinstance(other, bool):
        return one if one is other else None
    if isinstance(one, Range) and isinstance(other, Range):
        return _narrower(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return tuple(text for text in one if text in other) or None
    return None


def _narrower(one: Range, other: Range) -> Range | None:
    least = max((bound for bound in (one.min, other.min) if bound is not None), default=None)
    end, open_ = min(top(one), top(other), key=lambda end: (end[0], not end[1]))
    if least is not None and (least > end or (least == end and open_)):
        return None
    bounded = end != float("inf")
    return Range(
        min=least, max=end if bounded and not open_ else None, below=end if bounded and open_ else None
    )


def _impossible(alternative: Alternative) -> str | None:
    """Why no stone can be like that."""
    for name, condition in alternative.items():
        if isinstance(condition, tuple) and len(_strange(name, condition)) == len(condition):
            return f"{name}: no stone is ever {', '.join(condition)}"
        if isinstance(condition, Range):
            end, open_ = top(condition)
            if condition.min is not None and condition.min == end and open_:
                return f"{name}: nothing lies between {condition.min} and below {end}"
    return None


def _strange(name: str, texts: tuple[str, ...]) -> list[str]:
    """The texts that no stone has; of shapes, whose list is each vendor's, those that are not in upper case."""
    if name in _CLOSED:
        return [text for text in texts if text not in _CLOSED[name]]
    return [text for text in texts if name == "shape" and text != text.upper()]


def _implies(narrow: Alternative, wide: Alternative) -> bool:
    """Whether every stone like the first is like the second."""
    return all(name in narrow and _inside(narrow[name], condition) for name, condition in wide.items())


def _inside(one: Condition, other: Condition) -> bool:
    if isinstance(one, Range) and isinstance(other, Range):
        low = other.min is None or (one.min is not None and one.min >= other.min)
        (end, open_), (wide_end, wide_open) = top(one), top(other)
        return low and (end < wide_end or (end == wide_end and (open_ or not wide_open)))
    if isinstance(one, tuple) and isinstance(other, tuple):
        return set(one) <= set(other)
    return isinstance(one, bool) and one is other


def _valid_throughout(other: Row, row: Row) -> bool:
    """Whether a row is valid whenever another is."""
    begins = other.valid_from is None or (row.valid_from is not None and other.valid_from <= row.valid_from)
    ends = other.valid_until is None or (row.valid_until is not None and other.valid_until >= row.valid_until)
    return begins and ends


def _result(row: Rule | RatingRule) -> Any:
    if isinstance(row, RatingRule):
        return row.rating
    return {name: getattr(row, name) for name in Terms.model_fields}
