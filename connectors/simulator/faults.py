"""Fault switches: each has a probability, a seed, sometimes a window of time and parameters, and is set while running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .clock import Clock
from .hashing import shares
from .inventory import Rows


@dataclass(frozen=True)
class Kind:
    """What a switch does, and the parameters it takes with their defaults."""

    does: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    on_by_default: bool = False


KINDS: Final[dict[str, Kind]] = {
    "short_page": Kind(
        "a page lacks some of its items, as if they were filtered after slicing", {"missing": 5}
    ),
    "empty_then_more": Kind("a page in mid-stream is empty although more follow"),
    "count_drift": Kind("a count is wrong by up to a share, either way", {"share": 0.05}),
    "inverted_range": Kind("a range with from > to gives about 30 arbitrary stones", {}, on_by_default=True),
    "null_certificate": Kind("stones without certificate; a stone is affected as long as the switch is on"),
    "null_image": Kind("stones without any image; affected as long as the switch is on"),
    "null_video": Kind("stones without any video; affected as long as the switch is on"),
    "labgrown_wrong": Kind(
        "certificates that claim the opposite of the truth; affected as long as the switch is on"
    ),
    "dirty_enums": Kind(
        "clarity, floInt, floCol and labgrown_type are null with an entry in `errors`, by stone"
    ),
    "null_items": Kind("a page has null members in `items`"),
    "partial_data_with_errors": Kind("some members of a page are null, with entries in `errors`"),
    "latency": Kind(
        "answers take time: log-normal, with a tail",
        {"median_ms": 300, "sigma": 0.5, "tail_probability": 0.01, "tail_ms": 8_000},
    ),
    "http_5xx": Kind("a server error with a body that is not JSON", {"status": 503}),
    "html_body": Kind("status 200 with a page of HTML"),
    "http_429": Kind("too many requests; `retry_after_s` above 0 adds the header", {"retry_after_s": 0}),
    "http_403_html": Kind("the firewall's page of HTML with status 403"),
    "timeout_after_mutation": Kind("a hold or order takes effect and is never answered", {"hang_s": 60}),
    "hang": Kind("no answer before `hang_s`, then 504", {"hang_s": 60}),
    "token_revoked": Kind("the token of the request stops working before its time"),
    "auth_401": Kind("authentication failures have status 401 instead of 200 with errors"),
    "outage": Kind("everything answers 503; give it a window", {}),
    "hold_denied": Kind("a hold is refused with denied: true"),
    "hold_taken": Kind("another buyer takes the stone between search and hold"),
    "limit_error": Kind("a limit above 50 is an error instead of being cut to 50"),
    "offset_uncapped": Kind("offsets above 50 000 are served"),
    "gone_hidden": Kind("a search for what is not available finds nothing: sales never show in increments"),
    "labgrown_omitted_both": Kind("labgrown left out means both feeds, not natural only"),
    "demo_drift": Kind("the demo vendor renames `purity` to `clarity` and sends `weight_ct` as an object"),
    "money_in_cents": Kind("money ranges are read as dollars × 100"),
    "money_ranges_exact": Kind(
        "money ranges compare to the cent: 199.50 is in neither [100, 199] nor [200, 299]"
    ),
}


class FaultSetting(BaseModel):
    """How a switch is set. Parameters beyond these depend on the switch (`GET /_sim/faults` lists them)."""

    model_config = ConfigDict(extra="allow")

    probability: float = Field(default=1.0, ge=0, le=1)
    seed: int = 0
    start_in_s: float = Field(default=0, ge=0)
    """Seconds from now until the switch begins to work."""
    duration_s: float | None = Field(default=None, ge=0)
    """Seconds for which it works; for ever when left out."""
    operations: list[str] | None = None
    """Root fields it applies to (`diamonds_by_query`, ...); all when left out."""


class UnknownSetting(ValueError):
    """A name that is not known; the message lists those that are."""


class _Switch:
    def __init__(self, kind: Kind, setting: FaultSetting, now_s: float) -> None:
        self.setting = setting
        self.parameters = {**kind.parameters, **(setting.model_extra or {})}
        self.random = Random(setting.seed)
        self._start_s = now_s + setting.start_in_s
        self._end_s = self._start_s + setting.duration_s if setting.duration_s is not None else float("inf")
        self.hits = 0

    def works(self, now_s: float, operations: frozenset[str]) -> bool:
        asked = self.setting.operations
        concerned = asked is None or not operations.isdisjoint(asked)
        return concerned and self.setting.probability > 0 and self._start_s <= now_s < self._end_s


class Faults:
    """The switches of one simulator. Windows are in seconds of its clock's elapsed time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._switches: dict[str, _Switch] = {}
        self.operations: frozenset[str] = frozenset()
        """Root fields of the request being answered."""
        for name, kind in KINDS.items():
            if kind.on_by_default:
                self._switches[name] = _Switch(kind, FaultSetting(), clock.elapsed_s())

    def set(self, settings: Mapping[str, Any]) -> None:
        """Set switches by name; null turns one off, the others stay.

        Raises:
            UnknownSetting: for a switch or parameter nobody knows; nothing is changed then.
            pydantic.ValidationError: for a value out of range; nothing is changed then.
        """
        checked = {
            name: _checked(name, {"probability": 0} if value is None else value)
            for name, value in settings.items()
        }
        for name, setting in checked.items():
            self._switches[name] = _Switch(KINDS[name], setting, self._clock.elapsed_s())

    def on(self, name: str) -> bool:
        """Whether a switch could work now."""
        switch = self._switches.get(name)
        return switch is not None and switch.works(self._clock.elapsed_s(), self.operations)

    def hits(self, name: str) -> bool:
        """Throw the coin of a switch."""
        if not self.on(name):
            return False
        switch = self._switches[name]
        hit = switch.random.random() < switch.setting.probability
        switch.hits += hit
        return hit

    def affects(self, name: str, rows: Rows) -> NDArray[np.bool_]:
        """Which stones a switch works on: always the same ones for the same seed."""
        if not self.on(name):
            return np.zeros(len(rows), dtype=np.bool_)
        setting = self._switches[name].setting
        return shares(rows, setting.seed + 77_000) < setting.probability

    def parameter(self, name: str, parameter: str) -> float:
        """A parameter of a switch that works."""
        return float(self._switches[name].parameters[parameter])

    def random(self, name: str) -> Random:
        """The randomness of a switch that works."""
        return self._switches[name].random

    def listed(self) -> dict[str, dict[str, Any]]:
        """Every switch, what it does, how it is set and how often it hit."""
        return {name: self._listed(name, kind) for name, kind in KINDS.items()}

    def _listed(self, name: str, kind: Kind) -> dict[str, Any]:
        switch = self._switches.get(name)
        return {
            "does": kind.does,
            "parameters": dict(kind.parameters),
            "active": self.on(name),
            "setting": switch.setting.model_dump() if switch else None,
            "hits": switch.hits if switch else 0,
        }


def _checked(name: str, value: Any) -> FaultSetting:
    if name not in KINDS:
        raise UnknownSetting(f"unknown fault {name!r}; known: {', '.join(sorted(KINDS))}")
    setting = FaultSetting.model_validate(value)
    for parameter, given in (setting.model_extra or {}).items():
        if parameter not in KINDS[name].parameters:
            known = sorted([*FaultSetting.model_fields, *KINDS[name].parameters])
            raise UnknownSetting(
                f"unknown parameter {parameter!r} of fault {name!r}; known: {', '.join(known)}"
            )
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise UnknownSetting(f"parameter {parameter!r} of fault {name!r} must be a number")
    return setting
