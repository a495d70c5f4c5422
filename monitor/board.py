"""The board's figures as JSON-ready data: what `monitor.watch` knows now, arranged for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from monitor.lag import METHOD, Group
from monitor.movement import Movement, Standing, Status
from monitor.samples import Labels
from monitor.watch import Watch
from schemas.targets import TARGETS

RATE_OVER_S: Final = 10.0
TREND_POINTS: Final = 60
_ORDER: Final = {Status.STALLED: 0, Status.WARN: 1, Status.OK: 2, Status.GONE: 3}


def board(watch: Watch, cluster: str, feeds: Sequence[str]) -> dict[str, Any]:
    """Everything the page shows. A figure that is not known is null."""
    now_s = time.time()
    return {
        "at": datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds"),
        "looked_at_ms": watch.look.at_ms if watch.look else None,
        "cluster": cluster,
        "away": {"kafka": watch.kafka_error, "postgres": watch.postgres_error},
        "stock": _stock(watch),
        "feeds": [_feed(watch, feed, now_s) for feed in feeds],
        "throughput": {
            "fetched_per_s": watch.samples.rate("adamas_ingest_stones_total", RATE_OVER_S, now_s),
            "priced_per_s": watch.samples.rate("adamas_process_items_total", RATE_OVER_S, now_s),
            "written_per_s": watch.samples.rate("adamas_sink_rows_total", RATE_OVER_S, now_s),
            "answered_per_s": watch.samples.rate("adamas_http_requests_total", RATE_OVER_S, now_s),
        },
        "budget": _budget(watch),
        "groups": _groups(watch),
        "dead": {"counts": watch.dead, "groups": [_plain(group) for group in watch.dead_groups]},
        "runs": [_plain(run) for run in watch.runs],
        "events": [_event(event, watch.told_of.get(event.id, {})) for event in watch.events[:12]],
        "members": _members(watch),
        "targets": {"lag_s": TARGETS.lag_s, "fresh_s": TARGETS.fresh_s},
        "lag_method": METHOD,
    }


def lag_table(watch_look: Any, told: dict[str, Movement]) -> list[dict[str, Any]]:
    """The groups of a look alone, worst first; what `adamas lag --json` prints."""
    groups = [
        _group(group, told.get(group.name), watch_look.at_ms, ()) for group in watch_look.groups.values()
    ]
    return sorted(groups, key=lambda group: (_ORDER[Status(group["status"])], group["name"]))


def _groups(watch: Watch) -> list[dict[str, Any]]:
    if watch.look is None:
        return []
    groups = [
        _group(group, watch.told.get(group.name), watch.look.at_ms, watch.movements.history(group.name))
        for group in watch.look.groups.values()
    ]
    shown = [group for group in groups if group["status"] != Status.GONE]
    return sorted(shown, key=lambda group: (_ORDER[Status(group["status"])], group["name"]))


def _group(
    group: Group, movement: Movement | None, at_ms: int, history: tuple[Standing, ...] | Any
) -> dict[str, Any]:
    return {
        "name": group.name,
        "status": movement.status if movement else Status.OK,
        "reason": movement.reason if movement else "",
        "members": group.members if group.reported_ms is None else None,
        "lag": group.sum_lag,
        "lag_s": _rounded(group.max_lag_s(at_ms)),
        "read_per_s": _rounded(movement.read_per_s if movement else None),
        "written_per_s": _rounded(movement.written_per_s if movement else None),
        "catches_up_s": _rounded(movement.catches_up_s if movement else None),
        "trend": _thinned([standing.lag for standing in history]),
        "partitions": [
            {
                "topic": place.topic,
                "partition": place.partition,
                "committed": part.committed,
                "end": part.end,
                "lag": part.lag,
                "lag_s": _rounded(part.lag_s(at_ms)),
                "still_s": _rounded(movement.still_s.get(place, 0.0) if movement else 0.0),
            }
            for place, part in sorted(group.partitions.items())
        ],
    }


def _stock(watch: Watch) -> dict[str, Any]:
    searchable = watch.samples.latest("adamas_api_stones").values()
    known = watch.samples.latest("adamas_process_known_stones").values()
    return {"searchable": min(searchable, default=None), "known": max(known, default=None)}


def _feed(watch: Watch, feed: str, now_s: float) -> dict[str, Any]:
    positions = _of(watch, "adamas_api_position_timestamp_seconds", feed)
    fetched = _of(watch, "adamas_ingest_swept_stones", feed)
    expected = _of(watch, "adamas_ingest_expected_stones", feed)
    active = _of(watch, "adamas_ingest_run_active", feed)
    return {
        "name": feed,
        # The slowest replica's: a storefront may be asking that one.
        "age_s": _rounded(max(0.0, now_s - min(positions))) if positions else None,
        "fetched": sum(fetched) if fetched else None,
        "expected": max(expected, default=None),
        "running": bool(max(active)) if active else None,
    }


def _of(watch: Watch, name: str, feed: str) -> list[float]:
    return [value for labels, value in watch.samples.latest(name).items() if ("feed", feed) in labels]


def _budget(watch: Watch) -> dict[str, Any]:
    used: dict[str, float] = {}
    for labels, value in watch.samples.latest("adamas_budget_used_ratio").items():
        name = _label(labels, "priority") or "all"
        used[name] = used.get(name, 0.0) + value
    waiting: dict[str, float] = {}
    for labels, value in watch.samples.latest("adamas_budget_waiting").items():
        name = _label(labels, "priority") or "all"
        waiting[name] = waiting.get(name, 0.0) + value
    breaker = [
        _label(labels, "state")
        for labels, value in watch.samples.latest("adamas_budget_breaker").items()
        if value
    ]
    return {
        "used": sum(used.values()) if used else None,
        "classes": [
            {"name": name, "used": share, "waiting": waiting.get(name, 0)} for name, share in used.items()
        ],
        "breaker": breaker[0] if breaker else None,
    }


def _members(watch: Watch) -> list[dict[str, Any]]:
    now = time.monotonic()
    return [
        {"name": name, "silent_s": None if at is None else _rounded(now - at)}
        for name, at in sorted(watch.answered_at.items())
    ]


def _event(event: Any, told: dict[str, bool]) -> dict[str, Any]:
    return {
        "id": event.id,
        "at": event.at.isoformat(timespec="seconds"),
        "severity": event.severity,
        "kind": event.kind,
        "subject": event.subject,
        "text": event.text,
        "count": event.count,
        "open": event.open,
        "reached": [channel for channel, delivered in told.items() if delivered],
        "not_reached": [channel for channel, delivered in told.items() if not delivered],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in row.items()
    }


def _label(labels: Labels, name: str) -> str | None:
    return dict(labels).get(name)


def _thinned(values: list[int]) -> list[int]:
    step = max(1, -(-len(values) // TREND_POINTS))
    return values[-1::-step][::-1]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
