"""Every kind of event has somebody who records it."""

import ast
from collections.abc import Iterator
from pathlib import Path

from monitor.rules import RULES
from schemas.events import Kind

ROOT = Path(__file__).parents[3]
FOLDERS = ("connectors", "streams", "operating", "api", "monitor", "runtime")
_RECORD = {"record", "raised", "_opened"}
"""Calls that record the kind they are given."""


def test_every_kind_is_recorded_by_somebody() -> None:
    by_monitor = {rule.kind for rule in RULES if not rule.recorded}
    recorded = {
        kind for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") for kind in _recorded(path)
    }
    assert set(Kind) - by_monitor - recorded == set(), "nothing records these kinds: no alert will ever fire"


def _recorded(path: Path) -> Iterator[Kind]:
    """Kinds that a file gives to a call that records, by name or in a variable of the same function."""
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and _name(call.func) in _RECORD:
                for given in call.args:
                    value = assigned.get(given.id, given) if isinstance(given, ast.Name) else given
                    yield from _kinds(value)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _kinds(value: ast.expr) -> Iterator[Kind]:
    for node in ast.walk(value):
        if isinstance(node, ast.Attribute) and _name(node.value) in ("Kind", "EventKind"):
            kind = Kind.__members__.get(node.attr)
            if kind is not None:
                yield kind
