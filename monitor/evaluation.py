"""Evaluates the rules on what the processes said, as Prometheus would, where there is no Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from monitor.conditions import All, Condition, Increase, Share
from monitor.rules import RULES, Rule
from monitor.samples import Labels, Samples
from schemas.events import Kind

ALL_SUBJECTS: Final = "all"


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that holds, and has for long enough."""

    kind: Kind
    subject: str
    text: str


@dataclass
class Evaluation:
    """Remembers since when each condition has held."""

    rules: Iterable[Rule] = RULES
    _since: dict[tuple[int, Labels], float] = field(default_factory=dict)

    @property
    def kinds(self) -> list[Kind]:
        """The kinds that are evaluated; the others are recorded, and resolved, by whoever finds out."""
        return [rule.kind for rule in self.rules if not rule.recorded]

    def alarms(self, samples: Samples, now_s: float) -> list[Alarm]:
        """Everything that is wrong now. Of rules of one kind and subject the first one tells."""
        found: dict[tuple[Kind, str], Alarm] = {}
        since: dict[tuple[int, Labels], float] = {}
        for number, rule in enumerate(self.rules):
            if rule.recorded:
                continue
            for labels, value in rule.when.holds(samples, now_s).items():
                began = since[number, labels] = self._since.get((number, labels), now_s)
                if now_s - began >= rule.for_s:
                    subject = subject_of(rule, dict(labels))
                    found.setdefault(
                        (rule.kind, subject), Alarm(rule.kind, subject, rule.text.format(value=value))
                    )
        self._since = since
        return list(found.values())


def subject_of(rule: Rule, labels: dict[str, str]) -> str:
    """What a rule's event is about, from its labels: the same here and in what Alertmanager sends."""
    return " ".join(labels[name] for name in rule.by) or ALL_SUBJECTS


def histories(rules: Iterable[Rule] = RULES) -> dict[str, float]:
    """How long each counter's history must be kept for the rules, in seconds."""
    kept: dict[str, float] = {}
    for rule in rules:
        conditions = (
            (rule.when.first, *rule.when.also, *rule.when.unless)
            if isinstance(rule.when, All)
            else (rule.when,)
        )
        for increase in (one for condition in conditions for one in _increases(condition)):
            kept[increase.metric] = max(kept.get(increase.metric, 0.0), float(increase.over_s))
    return kept


def _increases(condition: Condition) -> tuple[Increase, ...]:
    expression = condition.expression
    if isinstance(expression, Share):
        return expression.part, expression.whole
    return (expression,) if isinstance(expression, Increase) else ()
