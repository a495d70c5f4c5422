"""The rules as Prometheus' rule file, and how Prometheus finds us."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import yaml

from monitor.rules import RULES, Rule
from schemas.events import KINDS

HEAD: Final = "# Generated from monitor/rules.py and schemas/targets.py by `make docs`.\n"
RUNBOOKS: Final = "docs/runbooks"


def rules_file(rules: Iterable[Rule] = RULES) -> str:
    """The rule file."""
    groups = [{"name": "adamas", "rules": [_rule(rule) for rule in rules]}]
    return HEAD + yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000, allow_unicode=True)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "alert": rule.name or rule.kind.value,
        "expr": rule.when.promql(),
        **({"for": f"{rule.for_s}s"} if rule.for_s else {}),
        "labels": {"severity": rule.severity.value, "kind": rule.kind.value},
        "annotations": {
            "summary": KINDS[rule.kind].meaning,
            "subject": " ".join(f"{{{{ $labels.{name} }}}}" for name in rule.by) or "all",
            "description": _description(rule),
            "runbook": runbook(rule.kind.value),
        },
    }


def runbook(kind: str) -> str:
    """The page of a kind, from the top of the repository."""
    return f"{RUNBOOKS}/{kind}.md"


def _description(rule: Rule) -> str:
    text = rule.text
    for ours, theirs in (
        ("{value:.0f}", '{{ $value | printf "%.0f" }}'),
        ("{value:.2%}", "{{ $value | humanizePercentage }}"),
    ):
        text = text.replace(ours, theirs)
    return text
