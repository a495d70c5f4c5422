"""What differs between two rule sets, row by row and field by field. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.ruleset import PublishedRuleSet, RuleSet


def diff(before: PublishedRuleSet | None, after: PublishedRuleSet) -> list[dict[str, Any]]:
    """The changes that lead from one number to the next: what (`row X`, `base`, …), field, before and after."""
    if before is None:
        return [
            {"what": "rule set", "field": None, "before": None, "after": f"{len(after.content.rules)} rows"}
        ]
    changes = list(_content(before.content, after.content))
    for field in ("counted_at", "share_bps"):
        changes += _field("number", field, getattr(before, field), getattr(after, field))
    changes += _field("number", "rate", before.rate and before.rate.id, after.rate and after.rate.id)
    return changes


def _content(before: RuleSet, after: RuleSet) -> Iterator[dict[str, Any]]:
    yield from _fields("base", before.base.model_dump(), after.base.model_dump())
    yield from _field("rule set", "currency", before.currency, after.currency)
    yield from _field("ratings", "base", before.ratings.base, after.ratings.base)
    for table, olds, news in (
        ("row", before.rules, after.rules),
        ("rating row", before.ratings.rules, after.ratings.rules),
    ):
        old = {row.name: row.model_dump(mode="json", exclude_defaults=True) for row in olds}
        new = {row.name: row.model_dump(mode="json", exclude_defaults=True) for row in news}
        for name in old.keys() - new.keys():
            yield {"what": f"{table} {name}", "field": None, "before": old[name], "after": None}
        for name, row in new.items():
            if name not in old:
                yield {"what": f"{table} {name}", "field": None, "before": None, "after": row}
            else:
                yield from _fields(f"{table} {name}", old[name], row)


def _fields(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for field in dict.fromkeys((*before, *after)):
        yield from _field(what, field, before.get(field), after.get(field))


def _field(what: str, field: str, before: Any, after: Any) -> list[dict[str, Any]]:
    return [] if before == after else [{"what": what, "field": field, "before": before, "after": after}]
