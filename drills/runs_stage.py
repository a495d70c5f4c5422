"""What drills of runs share: waiting for runs, asking for them as an operator does, and holding the stock beside the truth."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Message

from drills.stage import Stage
from drills.vendor import DrillVendor
from runtime.tail import Tail
from schemas.feeds import STANDARD
from schemas.stone import is_position
from schemas.topics import CANONICAL

TIMEOUT_S: Final = 240.0
Stock = dict[str, dict[str, Any] | None]
"""Last record of each stone, none for a retired one."""


class RunsStage:
    """A stage whose `ingest` reads a simulated vendor.

    Args:
        stage: with Kafka and Postgres up.
        vendor: what is read.
        settings: of `ingest`, by variable.
    """

    def __init__(self, stage: Stage, vendor: DrillVendor, settings: Mapping[str, object]) -> None:
        self.stage = stage
        self.vendor = vendor
        self._settings = {name: str(value) for name, value in settings.items()}

    def start(self, *members: str) -> None:
        """Start members; `ingest` finds the vendor."""
        for name in members:
            own = {**self.vendor.environment, **self._settings} if name.startswith("ingest") else {}
            self.stage.start(name, own)

    def query(self, sql: str, *args: object) -> list[Any]:
        """Rows from Postgres."""
        return asyncio.run(self.stage.fetch(sql, *args))

    def adamas(self, *arguments: str) -> str:
        """An operator's command; its output.

        Raises:
            RuntimeError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "adamas.cli", *arguments],
            env={**_plain(), **self.stage.environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"adamas {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def last_run(self, feed: str, kind: str) -> str | None:
        """The newest run of a feed and kind."""
        rows = self.query(
            "SELECT run FROM runs WHERE feed = $1 AND kind = $2 ORDER BY requested_at DESC LIMIT 1",
            feed,
            kind,
        )
        return rows[0]["run"] if rows else None

    def begin(self, kind: str) -> dict[str, str]:
        """Ask for a run of every feed; their names by feed."""
        before = {feed: self.last_run(feed, kind) for feed in STANDARD}
        for feed in STANDARD:
            self.adamas("runs", "start", feed, kind)
        self.wait(
            lambda: all(self.last_run(feed, kind) != before[feed] for feed in STANDARD),
            f"{kind} runs to begin",
        )
        return {feed: str(self.last_run(feed, kind)) for feed in STANDARD}

    def run(self, kind: str) -> dict[str, str]:
        """Ask for a run of every feed and wait until they are complete and their ledgers settled."""
        runs = self.begin(kind)
        self.wait_settled(runs.values())
        return runs

    def wait_settled(self, runs: Any, timeout_s: float = TIMEOUT_S) -> None:
        """Block until these runs have a ledger."""
        names = list(runs)
        self.wait(
            lambda: not self.query("SELECT FROM runs WHERE run = ANY($1) AND ledger IS NULL", names),
            f"the ledgers of {names}",
            timeout_s,
        )

    def sweep(self) -> dict[str, str]:
        """A full run of every feed and the incremental one that covers it; until something was decided on retiring."""
        full = self.run("full")
        self.run("incremental")
        self.wait_decided(full)
        return full

    def wait_decided(self, full: Mapping[str, str]) -> None:
        """Block until each sweep's retirement is decided, and commanded where it is to be."""
        self.wait(
            lambda: (
                not self.query(
                    """SELECT FROM runs WHERE run = ANY($1)
                   AND (retirement IS NULL OR retirement = 'approved')""",
                    list(full.values()),
                )
            ),
            "the sweeps' retirement",
        )

    def wait_idle(self) -> None:
        """Block until everything in the log is processed and in Postgres."""
        for group in ("adamas-process", "adamas-sink"):
            self.wait(lambda group=group: self.stage.lag(group) == 0, f"{group} to catch up")

    def wait(self, until: Any, what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Block until it holds, while `ingest` lives."""
        self.stage.wait(until, timeout_s, what, "ingest" if "ingest" in self.stage.children else None)

    def stock(self) -> Stock:
        """A fresh reader's view of the canonical topic."""
        found: dict[str, bytes | None] = {}

        def fold(messages: list[Message]) -> None:
            for message in messages:
                key = message.key()
                if key is not None and not is_position(key):
                    found[key.decode()] = message.value()

        tail = Tail(self.stage.kafka, CANONICAL.name, fold)
        tail.start()
        try:
            if not tail.wait_caught_up(120):
                raise TimeoutError("the canonical topic was not read in 120 s") from tail.failure
        finally:
            tail.stop()
        return {stone: None if value is None else json.loads(value) for stone, value in found.items()}


def alive(truth: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Stones that the vendor sells and whose item can be understood."""
    return {stone for stone, real in truth.items() if real["available"] and real["fault"] is None}


def for_sale(stock: Stock) -> set[str]:
    """Stones that we sell."""
    return {
        stone
        for stone, record in stock.items()
        if record is not None and record["availability"] == "available"
    }


def _plain() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("ADAMAS_")}
