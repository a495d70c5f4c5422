from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from connectors.simulator import vocabulary as words
from connectors.simulator.clock import Clock
from connectors.simulator.faults import UnknownSetting
from connectors.simulator.scenarios import Player, UnknownScenario, load, names
from connectors.simulator.settings import SimulatorSettings
from connectors.simulator.vendor import Vendor


class Wall:
    now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_five_scenarios_load() -> None:
    assert names() == ["bad-night", "calm", "flaky-auth", "living", "sell-off"]
    for name in names():
        assert load(name).shows


def test_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(UnknownScenario, match="bad-night, calm"):
        load("worse-night")


def test_a_scenario_of_ones_own_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("shows: x\nsteps: [{at_s: 1, faults: {nonsense: {}}}]")
    with pytest.raises(UnknownSetting, match="nonsense"):
        load(str(file))
    file.write_text("shows: x\nsteps: [{at_s: -1}]")
    with pytest.raises(ValidationError, match="at_s"):
        load(str(file))


def test_steps_are_played_when_they_are_due() -> None:
    wall = Wall()
    vendor = Vendor(SimulatorSettings(stones=1_000), Clock(wall))
    wall.now_s += 100
    player = Player(vendor, load("sell-off"))
    for seconds, price_moves, sold in ((0, 5, 0), (59, 5, 0), (61, 5, 300)):
        wall.now_s = 1_800_000_100 + seconds
        player.play()
        assert vendor.life.rates.price_moves == price_moves
        assert np.count_nonzero(vendor.inventory["availability"] == words.SOLD) == sold


def test_the_bad_night_ends() -> None:
    wall = Wall()
    vendor = Vendor(SimulatorSettings(stones=10), Clock(wall))
    player = Player(vendor, load("bad-night"))
    player.play()
    assert vendor.faults.on("short_page")
    wall.now_s += 130
    player.play()
    assert vendor.faults.on("outage")
    wall.now_s += 300
    player.play()
    still_on = [name for name, shown in vendor.faults.listed().items() if shown["active"]]
    assert still_on == ["inverted_range"]
