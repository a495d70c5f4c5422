"""A simulated vendor beside a stage: the witness of what was sent, and the switches of its faults."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from adamas.children import Child, launch
from adamas.ports import free_ports
from adamas.stack import VENDOR_PASSWORD, VENDOR_PATH, VENDOR_USERNAME

_START_S: Final = 60.0


@dataclass(frozen=True)
class Witness:
    """What the vendor saw since its figures were last set to nothing."""

    requests: int
    most_in_a_second: int
    violations: int
    operations: Mapping[str, int]


class DrillVendor:
    """A simulator process of the drill's own; use it as a context.

    Args:
        folder: for its log.
        stones: over both Nivoda feeds.
        seed: what they are made from.
        settings: further `ADAMAS_SIM_*`, by their last part.
    """

    def __init__(self, folder: Path, stones: int, seed: int, **settings: object) -> None:
        self._log = folder / "simulator.log"
        port = free_ports(1)[0]
        self.base = f"http://127.0.0.1:{port}"
        named = {"stones": stones, "seed": seed, "port": port, **settings}
        self._environment = {f"ADAMAS_SIM_{name.upper()}": str(value) for name, value in named.items()} | {
            "ADAMAS_SIM_USERNAME": VENDOR_USERNAME,
            "ADAMAS_SIM_PASSWORD": VENDOR_PASSWORD,
        }
        self._http = httpx.Client(base_url=self.base, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "adamas.cli", "simulate"]
        self._child: Child = launch("simulator", command, self._log, environment=self._environment)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            self._child.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the simulator was not ready in {_START_S:g} s")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._child.stop(5)

    @property
    def environment(self) -> dict[str, str]:
        """How a member finds this vendor."""
        return {"ADAMAS_VENDOR_URL": f"{self.base}{VENDOR_PATH}"}

    def witness(self) -> Witness:
        """What it saw."""
        stats = self._http.get("/_sim/stats").raise_for_status().json()
        return Witness(stats["requests"], stats["most_in_a_second"], stats["violations"], stats["operations"])

    def reset(self) -> None:
        """Begin to count anew."""
        self._http.post("/_sim/reset_stats").raise_for_status()

    def set_faults(self, faults: Mapping[str, Any]) -> None:
        """Set switches; null turns one off."""
        self._http.post("/_sim/faults", json=faults).raise_for_status()

    def set_life(self, **rates: float) -> None:
        """Changes a second; nothing given lets everything rest."""
        self._http.post("/_sim/life", json=rates).raise_for_status()

    def sell_off(self, share: float, seed: int) -> int:
        """Sell a share of what is available at once; how many stones."""
        reply = self._http.post("/_sim/sell-off", json={"share": share, "seed": seed}).raise_for_status()
        return int(reply.json()["sold"])

    def restock(self, share: float, seed: int) -> int:
        """Bring a share of what was sold back at once; how many stones."""
        reply = self._http.post("/_sim/restock", json={"share": share, "seed": seed}).raise_for_status()
        return int(reply.json()["back"])

    def set_clock(self, offset_s: float) -> None:
        """How far the vendor's clock is from ours."""
        self._http.post("/_sim/clock", json={"offset_s": offset_s}).raise_for_status()

    def some(self, feed: str, limit: int) -> list[dict[str, Any]]:
        """The first stones of a feed as they really are, in the vendor's order."""
        reply = self._http.get("/_sim/stones", params={"feed": feed, "limit": limit}).raise_for_status()
        return [json.loads(line) for line in reply.text.splitlines()]

    def truth(self) -> dict[str, dict[str, Any]]:
        """Every stone of the Nivoda feeds as it really is, by our id."""
        lines = self._http.get("/_sim/stones").raise_for_status().text.splitlines()
        return {f"{stone['feed']}:{stone['id']}": stone for stone in map(json.loads, lines)}

    def available(self, feed: str, limit: int) -> list[str]:
        """Ids of stones of a feed that can be had, at most so many."""
        lines = self._http.get("/_sim/stones", params={"feed": feed, "limit": limit}).raise_for_status().text
        stones = [json.loads(line) for line in lines.splitlines()]
        return [stone["id"] for stone in stones if stone["available"] and stone["fault"] is None]

    def _answers(self) -> bool:
        try:
            return bool(self.witness())
        except httpx.HTTPError:
            return False
