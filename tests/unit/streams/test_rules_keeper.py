"""When a head's content means something else than it was made with."""

from typing import Any

from schemas.ruleset import PublishedRuleSet, RuleSet
from streams.rules.keeper import _next_boundary
from tests.unit.streams.records import rules

DAY_MS = 86_400_000


def head(*rows: dict[str, Any], counted_at: int, **tables: Any) -> PublishedRuleSet:
    named = [
        {"name": f"row {place}", "priority": place, "margin_bps": 1, **row} for place, row in enumerate(rows)
    ]
    content = RuleSet.model_validate({"rules": named, **tables})
    return rules().model_copy(update={"content": content, "valid_at": counted_at})


def test_a_head_that_asks_for_an_age_means_something_else_every_midnight() -> None:
    old = {"when": {"any": [{"age": {"min": 30}}, {"shape": "OVAL"}]}}
    for counted_at in (20_000 * DAY_MS, 20_000 * DAY_MS + 1, 20_001 * DAY_MS - 1):
        assert _next_boundary(head(old, counted_at=counted_at))[0] == 20_001 * DAY_MS
    rated = {"rules": [{"name": "r", "priority": 1, "when": {"age": {"max": 3}}, "rating": 9}]}
    assert _next_boundary(head(counted_at=0, ratings=rated))[0] == DAY_MS


def test_a_date_before_midnight_comes_first() -> None:
    old = {"when": {"age": {"min": 30}}, "valid_from": "1970-01-01T06:00:00Z"}
    due_ms, reason = _next_boundary(head(old, counted_at=0))
    assert (due_ms, reason) == (6 * 3_600_000, "a row's validity began or ended")
    assert _next_boundary(head(old, counted_at=6 * 3_600_000))[0] == DAY_MS


def test_a_head_of_neither_stays_what_it_is() -> None:
    assert _next_boundary(head({"when": {"shape": "OVAL"}}, counted_at=0))[0] is None
    assert _next_boundary(None)[0] is None
