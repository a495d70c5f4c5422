"""Generated documents are current, and an incompatible record needs a new version."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from migrations.page import sql_page
from schemas.compatibility import incompatibilities
from schemas.errors import Invalid
from schemas.export import documents, export, json_schema
from schemas.facts import RunKind
from schemas.stone import Stone

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", documents())
def test_a_generated_document_is_current(name: str) -> None:
    assert (DOCS / name).read_text() == documents()[name], "run `make docs` and commit what it writes"


def test_the_page_of_the_sql_schema_is_current() -> None:
    assert (DOCS / "reference/sql.md").read_text() == sql_page(), "run `make docs` and commit what it writes"


def _stone_schema() -> dict[str, Any]:
    return copy.deepcopy(json_schema(Stone))


def _remove(schema: dict[str, Any]) -> None:
    del schema["$defs"]["Stone"]["properties"]["shape"]


def _retype(schema: dict[str, Any]) -> None:
    schema["$defs"]["Stone"]["properties"]["shape"] = {"type": "integer"}


def _require(schema: dict[str, Any]) -> None:
    schema["$defs"]["Stone"]["required"].append("color")


def _add_required(schema: dict[str, Any]) -> None:
    schema["$defs"]["Stone"]["properties"]["sparkle"] = {"type": "string"}
    schema["$defs"]["Stone"]["required"].append("sparkle")


def _narrow_enum(schema: dict[str, Any]) -> None:
    schema["$defs"]["Cause"]["enum"].remove("new")


@pytest.mark.parametrize("change", [_remove, _retype, _require, _add_required, _narrow_enum])
def test_an_incompatible_change_is_named(change: Any) -> None:
    after = _stone_schema()
    change(after)
    assert incompatibilities(_stone_schema(), after)


def test_an_optional_field_may_be_added() -> None:
    after = _stone_schema()
    after["$defs"]["Stone"]["properties"]["sparkle"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert incompatibilities(_stone_schema(), after) == []


def test_export_refuses_to_overwrite_a_version_incompatibly(tmp_path: Path) -> None:
    export(tmp_path, documents())
    path = next((tmp_path / "schemas").glob("stone.v*.json"))
    before = json.loads(path.read_text())
    before["$defs"]["Stone"]["properties"]["sparkle"] = {"type": "string"}
    path.write_text(json.dumps(before))
    with pytest.raises(Invalid, match="sparkle was removed"):
        export(tmp_path, documents())


def test_run_kinds_are_documented() -> None:
    plan = json.loads(documents()["schemas/fact-plan.v2.json"])
    assert set(plan["$defs"]["RunKind"]["enum"]) == {kind.value for kind in RunKind}
