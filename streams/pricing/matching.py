"""A table's rows compiled into one function that finds the first row holding for a stone. Pure.

Rows are first narrowed by the value of the attribute that tells most of them apart, then by the range of a number;
what is left is compiled to a chain of comparisons. A condition on an attribute that is null never holds. Branches are
compiled when a stone first takes them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from schemas.conditions import AGE, DERIVED, GROUPS, Condition, Range, conditions_in, direct
from schemas.stone import Content

FANCY: Final = "FANCY"
_CHAIN_MAX: Final = 6
_REMEMBERED: Final = 10_000

ResultT = TypeVar("ResultT")
Match = Callable[[Content, int | None], ResultT]
"""A stone's content and its age in days, null for one whose age is unknown, to what it is given."""


class Case(NamedTuple, Generic[ResultT]):
    """A row as the compiler takes it: its conditions and what it gives."""

    when: Mapping[str, Any]
    result: ResultT


def stone_type(content: Content) -> str:
    """The derived attribute `type`: a fancy color makes a stone fancy, however it grew."""
    if content.color == FANCY or content.fancy_color is not None:
        return "fancy"
    return "lab_grown" if content.lab_grown else "natural"


def cost_per_carat_cents(content: Content) -> float | None:
    """The derived attribute of that name: cents, not rounded; null for a stone without weight."""
    return content.cost_cents / content.carat if content.carat else None


_DERIVED: Final[dict[str, Callable[[Content], Any]]] = {
    "type": stone_type,
    "cost_per_carat_cents": cost_per_carat_cents,
}
_DERIVED_FROM: Final = {
    "type": ("color", "fancy_color", "lab_grown"),
    "cost_per_carat_cents": ("cost_cents", "carat"),
    AGE: (),
}
assert {*_DERIVED, AGE} == DERIVED.keys() == _DERIVED_FROM.keys()
_READERS: Final = {f"read_{name}": read for name, read in _DERIVED.items()}


def fields_read(attribute: str) -> tuple[str, ...]:
    """The fields of a content that a condition on an attribute looks at."""
    return _DERIVED_FROM.get(attribute, (attribute,))


def compile_cases(cases: Sequence[Case[ResultT]], otherwise: Match[ResultT]) -> Match[ResultT]:
    """The function that gives the first case's result, in the order given, and `otherwise` where none holds."""
    attribute = _most_named(cases, lambda condition: not isinstance(condition, Range))
    if attribute is None or len(cases) <= _CHAIN_MAX:
        return _by_range(cases, otherwise)
    branches = _Branches(attribute, cases, otherwise)
    source = f"def match(stone, age):\n    return branches[{_read(attribute)}](stone, age)\n"
    return _compiled(source, {"branches": branches, **_READERS})


class _Branches(dict[Any, Any]):
    """Value to the function for the rows that can hold there, compiled when the value is first met."""

    __slots__ = ("_attribute", "_cases", "_otherwise")

    def __init__(self, attribute: str, cases: Sequence[Case[Any]], otherwise: Match[Any]) -> None:
        super().__init__()
        self._attribute = attribute
        self._cases = cases
        self._otherwise = otherwise

    def __missing__(self, value: Any) -> Match[Any]:
        possible = [case for case in self._cases if _can_hold(case.when.get(self._attribute), value)]
        match = _by_range(possible, self._otherwise)
        # Values outside the rows are many (free texts) and all alike; remembering some is enough.
        if len(self) < _REMEMBERED:
            self[value] = match
        return match


def _can_hold(condition: Condition | None, value: Any) -> bool:
    if condition is None:
        return True
    return value is condition if isinstance(condition, bool) else value in cast(tuple[str, ...], condition)


def _by_range(cases: Sequence[Case[Any]], otherwise: Match[Any]) -> Match[Any]:
    """Narrow by the number that most rows limit: between two neighboring bounds the same rows can hold."""
    attribute = _most_named(cases, lambda condition: isinstance(condition, Range))
    if attribute is None or len(cases) <= _CHAIN_MAX:
        return _chain(cases, otherwise)
    ranges = [condition for case in cases if isinstance(condition := case.when.get(attribute), Range)]
    bounds = sorted(
        {bound for span in ranges for bound in (span.min, span.max, span.below) if bound is not None}
    )
    nothing_known = _chain([case for case in cases if attribute not in case.when], otherwise)
    source = (
        f"def match(stone, age):\n    value = {_read(attribute)}\n"
        "    return (unknown if value is None else spans[find(bounds, value)])(stone, age)\n"
    )
    spans = _Spans(attribute, bounds, cases, otherwise)
    return _compiled(
        source, {"unknown": nothing_known, "spans": spans, "find": bisect_right, "bounds": bounds, **_READERS}
    )


class _Spans(dict[int, Any]):
    """Place between the bounds to the function for the rows that can hold there, compiled when first met."""

    __slots__ = ("_attribute", "_cases", "_edges", "_otherwise")

    def __init__(
        self, attribute: str, bounds: list[float], cases: Sequence[Case[Any]], otherwise: Match[Any]
    ) -> None:
        super().__init__()
        self._attribute = attribute
        self._cases = cases
        # Bounds themselves stay in both neighbors: whether a bound belongs to a range is the chain's to decide.
        self._edges = list(pairwise([float("-inf"), *bounds, float("inf")]))
        self._otherwise = otherwise

    def __missing__(self, place: int) -> Match[Any]:
        low, high = self._edges[place]
        possible = [case for case in self._cases if _overlaps(case.when.get(self._attribute), low, high)]
        match = self[place] = _chain(possible, self._otherwise)
        return match


def _overlaps(condition: Condition | None, low: float, high: float) -> bool:
    if not isinstance(condition, Range):
        return True
    upper = condition.max if condition.max is not None else condition.below
    return (condition.min is None or condition.min < high) and (upper is None or upper >= low)


def _most_named(cases: Sequence[Case[Any]], wanted: Callable[[Condition], bool]) -> str | None:
    counts: dict[str, int] = {}
    for case in cases:
        for name, condition in direct(case.when).items():
            if wanted(condition):
                counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name], default=None)


def _chain(cases: Sequence[Case[Any]], otherwise: Match[Any]) -> Match[Any]:
    """The rows in order, as comparisons. Every constant is passed by name: no text of a row becomes code."""
    if not cases:
        return otherwise
    names: dict[str, Any] = {"otherwise": otherwise, **_READERS}
    attributes = sorted({name for case in cases for name, _ in conditions_in(case.when)})
    lines = ["def match(stone, age):", *(f"    a_{name} = {_read(name)}" for name in attributes)]
    for number, case in enumerate(cases):
        names[f"result{number}"] = case.result
        lines.append(f"    if {_group(case.when, f'k{number}', names)}: return result{number}")
    lines.append("    return otherwise(stone, age)")
    return _compiled("\n".join(lines), names)


def _group(when: Mapping[str, Any], constant: str, names: dict[str, Any]) -> str:
    tests = []
    for place, (name, condition) in enumerate(when.items()):
        own = f"{constant}_{place}"
        if name in GROUPS:
            groups = [f"({_group(group, f'{own}_{at}', names)})" for at, group in enumerate(condition)]
            tests.append(f"({(' or ' if name == 'any' else ' and ').join(groups)})")
        else:
            tests.append(_test(f"a_{name}", condition, own, names))
    return " and ".join(tests)


def _test(local: str, condition: Condition, constant: str, names: dict[str, Any]) -> str:
    if isinstance(condition, bool):
        return f"{local} is {condition}"
    if isinstance(condition, Range):
        tests = [f"{local} is not None"]
        for name, operator in (("min", ">="), ("max", "<="), ("below", "<")):
            bound = getattr(condition, name)
            if bound is not None:
                names[f"{constant}_{name}"] = bound
                tests.append(f"{local} {operator} {constant}_{name}")
        return " and ".join(tests)
    names[constant] = frozenset(condition)
    return f"{local} in {constant}"


def _read(attribute: str) -> str:
    if attribute == AGE:
        return AGE
    return f"read_{attribute}(stone)" if attribute in _DERIVED else f"stone.{attribute}"


def _compiled(source: str, names: dict[str, Any]) -> Match[Any]:
    exec(compile(source, "<rule set>", "exec"), names)
    return cast(Match[Any], names["match"])
