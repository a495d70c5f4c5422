"""From content to price: a published rule set compiled once into one function. Pure; money in integers only.

The first rule by priority (lowest number first) whose conditions all hold gives the margin. To find it, the rules are
first narrowed by the value of the attribute that tells most of them apart, then by the range of a number; what is left
is compiled to a chain of comparisons. A condition on an attribute that is null never holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from schemas.ruleset import Condition, PublishedRuleSet, Range, Rule
from schemas.stone import Content

FANCY: Final = "FANCY"
_CHAIN_MAX: Final = 6


class Priced(NamedTuple):
    """A price and what it came from."""

    price_cents: int
    rule: str
    margin_bps: int


class Margin(NamedTuple):
    """What a rule gives. `rule_json` is its name as it stands in a record, quotes included."""

    rule: str
    bps: int
    rule_json: bytes


Match = Callable[[Content], Margin]


class PriceBook:
    """A rule set ready to price.

    Attributes:
        number: the rule set's number.
        margin: the compiled function: content to the margin that holds for it.
    """

    def __init__(self, published: PublishedRuleSet) -> None:
        self.number = published.number
        base = published.content.base
        self._base = _base_match(
            _margin("base:natural", base.natural_bps),
            _margin("base:lab_grown", base.lab_grown_bps),
            _margin("base:fancy", base.fancy_bps),
        )
        rules = sorted(published.content.rules, key=lambda rule: rule.priority)
        self.margin: Match = _by_value(rules, self._base)

    def price(self, content: Content) -> Priced:
        """The stone's price, rule and margin."""
        margin = self.margin(content)
        return Priced(price_cents(content.cost_cents, margin.bps), margin.rule, margin.bps)


def price_cents(cost_cents: int, margin_bps: int) -> int:
    """`round_half_up(cost × (10 000 + margin) / 10 000)`, for a cost that is not negative."""
    return (cost_cents * (10_000 + margin_bps) + 5_000) // 10_000


def _margin(rule: str, bps: int) -> Margin:
    return Margin(rule, bps, msgspec.json.encode(rule))


def _base_match(natural: Margin, lab_grown: Margin, fancy: Margin) -> Match:
    def base(content: Content) -> Margin:
        if content.color == FANCY or content.fancy_color is not None:
            return fancy
        return lab_grown if content.lab_grown else natural

    return base


class _Branches(dict[Any, Match]):
    """Value to the function for the rules that can hold there, compiled when the value is first met."""

    __slots__ = ("_attribute", "_otherwise", "_rules")

    def __init__(self, attribute: str, rules: Sequence[Rule], otherwise: Match) -> None:
        super().__init__()
        self._attribute = attribute
        self._rules = rules
        self._otherwise = otherwise

    def __missing__(self, value: Any) -> Match:
        possible = [rule for rule in self._rules if _can_hold(rule.when.get(self._attribute), value)]
        match = _by_range(possible, self._otherwise)
        # Values outside the rules are many (free texts) and all alike; remembering some is enough.
        if len(self) < 10_000:
            self[value] = match
        return match


def _can_hold(condition: Condition | None, value: Any) -> bool:
    if condition is None:
        return True
    return value is condition if isinstance(condition, bool) else value in condition


def _by_value(rules: Sequence[Rule], otherwise: Match) -> Match:
    """Narrow by the text or yes-or-no attribute that most rules name."""
    attribute = _most_named(rules, lambda condition: not isinstance(condition, Range))
    if attribute is None or len(rules) <= _CHAIN_MAX:
        return _by_range(rules, otherwise)
    source = f"def match(stone):\n    return branches[stone.{attribute}](stone)\n"
    return _compiled(source, {"branches": _Branches(attribute, rules, otherwise)})


def _by_range(rules: Sequence[Rule], otherwise: Match) -> Match:
    """Narrow by the number that most rules limit: between two neighboring bounds the same rules can hold."""
    attribute = _most_named(rules, lambda condition: isinstance(condition, Range))
    if attribute is None or len(rules) <= _CHAIN_MAX:
        return _chain(rules, otherwise)
    ranges = [rule.when[attribute] for rule in rules if attribute in rule.when]
    bounds = sorted({bound for span in ranges if isinstance(span, Range) for bound in _bounds(span)})
    # Bounds themselves stay in both neighbors: whether a bound belongs to a range is the chain's to decide.
    edges = [float("-inf"), *bounds, float("inf")]
    chains = []
    for low, high in pairwise(edges):
        possible = [rule for rule in rules if _overlaps(rule.when.get(attribute), low, high)]
        chains.append(_chain(possible, otherwise))
    nothing_known = _chain([rule for rule in rules if attribute not in rule.when], otherwise)
    source = (
        f"def match(stone):\n    value = stone.{attribute}\n"
        "    return (unknown if value is None else chains[find(bounds, value)])(stone)\n"
    )
    return _compiled(
        source, {"unknown": nothing_known, "chains": chains, "find": bisect_right, "bounds": bounds}
    )


def _bounds(span: Range) -> list[float]:
    return [bound for bound in (span.min, span.max, span.below) if bound is not None]


def _overlaps(condition: Condition | None, low: float, high: float) -> bool:
    if not isinstance(condition, Range):
        return True
    upper = condition.max if condition.max is not None else condition.below
    return (condition.min is None or condition.min < high) and (upper is None or upper >= low)


def _most_named(rules: Sequence[Rule], wanted: Callable[[Condition], bool]) -> str | None:
    counts: dict[str, int] = {}
    for rule in rules:
        for name, condition in rule.when.items():
            if wanted(condition):
                counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: counts[name], default=None)


def _chain(rules: Sequence[Rule], otherwise: Match) -> Match:
    """The rules in order, as comparisons. Every constant is passed by name: no text of a rule becomes code."""
    if not rules:
        return otherwise
    names: dict[str, Any] = {"otherwise": otherwise}
    attributes = sorted({name for rule in rules for name in rule.when})
    lines = ["def match(stone):", *(f"    {name} = stone.{name}" for name in attributes)]
    for number, rule in enumerate(rules):
        tests = [
            _test(name, condition, f"k{number}_{place}", names)
            for place, (name, condition) in enumerate(rule.when.items())
        ]
        names[f"margin{number}"] = _margin(rule.name, rule.margin_bps)
        lines.append(f"    if {' and '.join(tests)}: return margin{number}")
    lines.append("    return otherwise(stone)")
    return _compiled("\n".join(lines), names)


def _test(attribute: str, condition: Condition, constant: str, names: dict[str, Any]) -> str:
    if isinstance(condition, bool):
        return f"{attribute} is {condition}"
    if isinstance(condition, Range):
        tests = [f"{attribute} is not None"]
        for name, operator in (("min", ">="), ("max", "<="), ("below", "<")):
            bound = getattr(condition, name)
            if bound is not None:
                names[f"{constant}_{name}"] = bound
                tests.append(f"{attribute} {operator} {constant}_{name}")
        return " and ".join(tests)
    names[constant] = frozenset(condition)
    return f"{attribute} in {constant}"


def _compiled(source: str, names: dict[str, Any]) -> Match:
    exec(compile(source, "<rule set>", "exec"), names)
    match: Match = names["match"]
    return match
