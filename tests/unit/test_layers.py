"""Data flows one way through the folders, and so do imports: a folder knows only those under it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWS = {
    "schemas": set(),
    "migrations": {"schemas", "runtime"},
    "runtime": {"schemas"},
    "connectors": {"schemas", "runtime"},
    "streams": {"schemas", "runtime", "connectors"},
    "operating": {"schemas", "runtime", "connectors", "streams"},
    "api": {"schemas", "runtime", "connectors", "streams", "operating"},
    "monitor": {"schemas", "runtime", "connectors", "streams", "operating"},
    "adamas": {"schemas", "migrations", "runtime", "connectors", "streams", "operating", "api", "monitor"},
}
KNOWS["drills"] = {*KNOWS}
KNOWS["bench"] = {*KNOWS}


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_a_folder_imports_only_from_those_under_it() -> None:
    read = 0
    upwards = []
    for folder, knows in KNOWS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            read += 1
            wrong = (imported(path) & (KNOWS.keys() | {"tests"})) - knows - {folder}
            if wrong:
                upwards.append(f"{name} imports {', '.join(sorted(wrong))}")
    assert read > 300
    assert upwards == []
