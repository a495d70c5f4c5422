"""Rule files with every kind of mistake while facts flow: refused by row and field, and the stream never notices.

    make drill-bad-rules SEED=7

5 000 stones a second flow through one worker. Meanwhile each bad file is sent to the API to be checked, and to be
published with an override, again and again in an order drawn by the seed. Each must be refused naming row and field; the
number must stay what it was; and the worker must never be further behind than it was without them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import urllib.error
import urllib.request
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from api.keys import Scope, create_key
from drills.process_kill import Flow
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import wait_idle

STONES: Final = 4_000
PAGES_PER_S: Final = 100
CALM_S: Final = 15.0
ROUNDS: Final = 2
MUCH: Final = 10 * 1024 * 1024
LAG_GOAL: Final = 100
"""Pages that may wait in the raw log: a second's."""
_LOOK_EVERY_S: Final = 0.2


class Bad(NamedTuple):
    """A file, and where and how its refusal must say that it is wrong."""

    name: str
    rules: dict[str, Any]
    fields: tuple[str, ...]
    words: str


def bad_files() -> list[Bad]:
    """One of each kind of mistake."""

    def row(**changes: Any) -> dict[str, Any]:
        return {"name": "r", "priority": 1, "when": {"shape": "ROUND"}, "margin_bps": 4_500, **changes}

    def one(name: str, changes: dict[str, Any], field: str, words: str) -> Bad:
        return Bad(name, {"rules": [row(name="fine", priority=0), row(**changes)]}, (field,), words)

    size = len(json.dumps(row()))
    many = [row(name=f"r{number}", priority=number) for number in range(MUCH // size)]
    return [
        one("unknown field", {"margin": 4_500}, "row 2.margin", "not permitted"),
        one("unknown attribute", {"when": {"sparkle": "high"}}, "row 2.when.sparkle", "no such attribute"),
        one("text for a boolean", {"when": {"lab_grown": "100%"}}, "row 2.when.lab_grown", "true or false"),
        one("min over max", {"when": {"carat": {"min": 2, "max": 1}}}, "row 2.when.carat", "greater than"),
        one("margin beyond the floor", {"margin_bps": -10_000}, "row 2.margin_bps", "greater than or equal"),
        one("a fraction of a basis point", {"margin_bps": 45.5}, "row 2.margin_bps", "integer"),
        one("duplicate priority", {"priority": 0}, "rules", "row 2: priority 0 is already that of row 1"),
        one(
            "floor over ceiling",
            {"floor_cents": 9, "ceiling_cents": 8},
            "row 2",
            "is greater than ceiling_cents",
        ),
        # A whole file is refused for its size, rows that come in a request for their number.
        Bad("10 MB of rows", {"rules": many}, ("file", "rules"), "at most"),
    ]


class _Watch:
    """The largest lag of the worker, and the longest time in which it did nothing, until stopped."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self.lag = 0
        self.still_s = 0.0

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen, moved_at = -1.0, time.monotonic()
        while not self._stop.wait(_LOOK_EVERY_S):
            items = self._stage.metric("process", "adamas_process_items_total")
            self.lag = max(self.lag, self._stage.lag("adamas-process"))
            now = time.monotonic()
            self.still_s = max(self.still_s, now - moved_at)
            if items != seen:
                seen, moved_at = items, now


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    print_environment("faust-streaming", "confluent-kafka", "pydantic")
    files = bad_files()
    with Stage() as stage:
        traffic = Traffic(stage.kafka, options.stones, seed=draw.randrange(1 << 30))
        members = ("sink", "api", "process")
        for name in members:
            stage.start(name)
        for name in members:
            stage.wait_ready(name)
        key = create_key(stage.dsn, "drill", [Scope.READ_RULES, Scope.WRITE_RULES], "drill")
        with Flow(traffic, PAGES_PER_S):
            time.sleep(CALM_S / 3)
            with _Watch(stage) as calm:
                time.sleep(CALM_S)
            with _Watch(stage) as stormy:
                sent = [
                    answer
                    for _ in range(ROUNDS)
                    for bad in draw.sample(files, len(files))
                    for answer in (
                        _refused(stage, key, bad, "/v1/rules/check", bad.rules),
                        _refused(
                            stage,
                            key,
                            bad,
                            "/v1/rules/publish",
                            {"rules": bad.rules, "reason": "drill", "override": "a drill"},
                        ),
                    )
                ]
        wait_idle(stage, traffic.log.written)
        number = stage.metric("process", "adamas_process_rules_version")
    finish(
        "drill-bad-rules",
        [
            Figure("files", len(sent), "files"),
            Figure("let_through", sum(not refused for refused in sent), "files", "== 0"),
            Figure("number", number, "number", "== 1"),
            Figure("lag_pages", stormy.lag, "pages", f"<= {max(LAG_GOAL, 2 * calm.lag)}"),
            Figure("lag_pages_without", calm.lag, "pages"),
            Figure("still_s", round(stormy.still_s, 2), "s", f"<= {max(2.0, 2 * calm.still_s):.2f}"),
            Figure("still_s_without", round(calm.still_s, 2), "s"),
        ],
    )


def _refused(stage: Stage, key: str, bad: Bad, path: str, body: dict[str, Any]) -> bool:
    """Whether a file is refused as it must be."""
    request = urllib.request.Request(
        stage._url("api", path),
        json.dumps(body).encode(),
        {"X-API-Key": key, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            print(f"{path} let {bad.name!r} through: {reply.read()[:300]!r}")
            return False
    except urllib.error.HTTPError as error:
        told = json.load(error)
    mistakes = told.get("mistakes", [])
    named = any(one["field"] in bad.fields and bad.words in one["rule"] for one in mistakes)
    if told.get("status") != 422 or not named:
        print(f"{path} says of {bad.name!r}: {json.dumps(told)[:600]}")
        return False
    return True


if __name__ == "__main__":
    main()
