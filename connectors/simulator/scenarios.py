"""Scenarios: named lists of faults, life and clock changes over time, replayed while the simulator runs.

A scenario is a YAML file with a sentence on what it shows and steps; each step has a time in seconds since it began
and what changes then, in the words of `/_sim/faults`, `/_sim/life` and `/_sim/clock`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field

from .clock import Clock
from .faults import Faults
from .life import LifeRates
from .vendor import Vendor

FOLDER: Final = Path(__file__).parent / "scenarios"


class ClockSetting(BaseModel):
    """How the vendor's clock is to go; what is left out stays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    offset_s: float | None = None
    rate: float | None = Field(default=None, gt=0, le=1000)
    freeze: bool | None = None


class SellOff(BaseModel):
    """Many stones sold at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float = Field(gt=0, le=1)
    seed: int = 0


class Step(BaseModel):
    """What changes at one moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_s: float = Field(ge=0)
    faults: dict[str, Any] | None = None
    life: LifeRates | None = None
    clock: ClockSetting | None = None
    sell_off: SellOff | None = None


class Scenario(BaseModel):
    """A scenario as its file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shows: str
    steps: list[Step]


class UnknownScenario(ValueError):
    """No scenario of that name; the message lists those that are."""


def names() -> list[str]:
    """The scenarios that come with the simulator."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load(name: str) -> Scenario:
    """A scenario by name, or from the path of a YAML file.

    Raises:
        UnknownScenario: there is none.
        pydantic.ValidationError, UnknownSetting: the file is wrong; names the field.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not file.is_file():
        raise UnknownScenario(f"no scenario {name!r}; known: {', '.join(names())}")
    scenario = Scenario.model_validate(yaml.safe_load(file.read_text()))
    for step in scenario.steps:
        Faults(Clock()).set(step.faults or {})
    return scenario


class Player:
    """Plays a scenario on a vendor from now on, step by step, whenever somebody looks."""

    def __init__(self, vendor: Vendor, scenario: Scenario) -> None:
        self._vendor = vendor
        self._start_s = vendor.clock.elapsed_s()
        self._steps = sorted(scenario.steps, key=lambda step: step.at_s, reverse=True)

    def play(self) -> None:
        """Do every step that is due."""
        played_s = self._vendor.clock.elapsed_s() - self._start_s
        while self._steps and self._steps[-1].at_s <= played_s:
            self._do(self._steps.pop())

    def _do(self, step: Step) -> None:
        vendor = self._vendor
        if step.clock:
            vendor.clock.adjust(step.clock.offset_s, step.clock.rate, step.clock.freeze)
        if step.faults:
            vendor.faults.set(step.faults)
        if step.life:
            vendor.life.set(step.life)
        if step.sell_off:
            vendor.life.sell_share(step.sell_off.share, step.sell_off.seed, vendor.clock.now_ms())
