"""The records as documents: JSON Schema files and the page of topics under `docs/`, generated, never edited.

A schema file carries its version in its name. `export` refuses to overwrite a version with something its readers or
its stored records would not survive; the version is raised instead (`schemas.compatibility`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from schemas import dead_letter, facts, receipt, ruleset, stone, vendor
from schemas.compatibility import incompatibilities
from schemas.errors import Invalid
from schemas.metrics import metrics_page
from schemas.topics import TOPICS

RECORDS: Final[dict[str, tuple[type[msgspec.Struct] | type[BaseModel], int]]] = {
    "vendor-item": (vendor.Item, vendor.VENDOR_ITEM_VERSION),
    "fact-headers": (facts.FactHeaders, facts.FACT_VERSION),
    "fact-lease": (facts.Lease, facts.FACT_VERSION),
    "fact-plan": (facts.Plan, facts.FACT_VERSION),
    "fact-split": (facts.Split, facts.FACT_VERSION),
    "fact-complete": (facts.Complete, facts.FACT_VERSION),
    "fact-cancel": (facts.Cancel, facts.FACT_VERSION),
    "fact-watermark": (facts.Watermark, facts.FACT_VERSION),
    "fact-retire": (facts.Retire, facts.FACT_VERSION),
    "fact-restore": (facts.Restore, facts.FACT_VERSION),
    "fact-withdraw": (facts.Withdraw, facts.FACT_VERSION),
    "stone": (stone.Stone, stone.STONE_VERSION),
    "position": (stone.Position, stone.POSITION_VERSION),
    "dead-letter-headers": (dead_letter.DeadLetter, dead_letter.DEAD_LETTER_VERSION),
    "receipt": (receipt.Receipt, receipt.RECEIPT_VERSION),
    "rule-set": (ruleset.PublishedRuleSet, ruleset.RULESET_VERSION),
}
"""Every record: its name in the docs, its type and its version."""


def json_schema(record: type[msgspec.Struct] | type[BaseModel]) -> dict[str, Any]:
    """A record's JSON Schema (draft 2020-12)."""
    if issubclass(record, BaseModel):
        return record.model_json_schema()
    return msgspec.json.schema(record)


def documents() -> dict[str, str]:
    """Every generated document: path below `docs/` and text."""
    files = {
        f"schemas/{name}.v{version}.json": json.dumps(json_schema(record), indent=2) + "\n"
        for name, (record, version) in RECORDS.items()
    }
    files["reference/topics.md"] = topics_page()
    files["reference/metrics.md"] = metrics_page()
    return files


def export(docs: Path, files: Mapping[str, str]) -> list[Path]:
    """Write the documents (path below `docs`: text) that differ from what is there; the paths written.

    Raises:
        Invalid: a record changed incompatibly under an unchanged version.
    """
    written = []
    for name, text in files.items():
        path = docs / name
        if path.exists():
            if path.read_text() == text:
                continue
            if path.suffix == ".json":
                refuse_incompatible(path.stem, json.loads(path.read_text()), json.loads(text))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written


def refuse_incompatible(name: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse a change that a reader of the former version would not survive.

    Raises:
        Invalid: names the fields and the rule; the remedy is a higher version in the record's module.
    """
    found = incompatibilities(before, after)
    if found:
        raise Invalid(
            name, f"{'; '.join(found)}: raise the version in its module", code="incompatible_schema"
        )


def topics_page() -> str:
    """The topic list as a Markdown page."""
    lines = [
        "# Topics",
        "",
        "Generated from `schemas/topics.py` by `make docs`.",
        "",
        "| topic | key | one record is | partitions | settings |",
        "|---|---|---|---|---|",
    ]
    for topic in TOPICS:
        settings = ", ".join(f"`{key}={value}`" for key, value in sorted(topic.config.items()))
        lines.append(f"| `{topic.name}` | {topic.key} | {topic.record} | {topic.partitions} | {settings} |")
    return "\n".join(lines) + "\n"
