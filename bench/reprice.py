"""Re-pricing: a new rule set over the whole stock, while fresh stones keep coming.

    make bench-reprice           # STONES=1000000

Four figures, on one worker, one sink and one API, everything on this machine:

- `none_change_per_s`: a rule set that changes no price, from when the owner has it until it is through the stock, as its
  own log tells both. It reads its stock into columns while it has nothing else to do; that is waited for, as after any
  quiet minute.
- `all_change_per_s`: one that changes every price, until Postgres and the API have all of it.
- `fresh_p99_s`: while that runs, pages of new stones are written to the raw log; from a page's writing until its last
  stone is found in the API.
- `rollback_s`: the former rule set again under a new number, until the last of all stones is stored and searchable.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection
from threading import Event, Thread
from typing import Any, Final

import asyncpg
import numpy as np
import psutil

from api.keys import Scope, create_key
from bench.accounts import STAGES, Accounts, memory_of, print_account
from bench.options import read_options
from connectors.feeds.nivoda.form import NIVODA_FORM
from drills.raw_writer import RawWriter
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.stock import canonical_stock, fill
from drills.vendor_pages import page_bodies
from schemas.feeds import stone_id
from schemas.ruleset import BaseMargins, RuleSet
from schemas.topics import CANONICAL, SINK_GROUP
from streams.pages import PageReader
from streams.rules.store import publish

SEED: Final = 11
FRESH_SEED: Final = 12
FRESH_EVERY_S: Final = 0.25
FRESH_STONES: Final = 5_000
LOOK_EVERY_S: Final = 0.05
"""Asking the API costs it and us half a millisecond each, which what is measured then lacks."""
GOALS: Final = {"none": 1_000_000, "all": 30_000, "fresh": 2, "rollback": 45}
_LONG_S: Final = 900
_IS_JSON: Final = re.compile(r"\{.*\}$")


def main() -> None:
    """Run once and print the figures."""
    options = read_options(__doc__, stones=1_000_000, seed=SEED)
    print_environment("confluent-kafka", "asyncpg", "msgspec", "numpy")
    with Stage() as stage:
        stones = _fill(stage, options.stones, options.seed)
        print(f"{stones} stones in stock")
        fresh = _Fresh(stage, RawWriter(stage.kafka))
        changed_s = _accounted(stage, "all prices change", RuleSet(base=_margins(4_100)), stones, fresh)
        print(f"{len(fresh.taken_s)} fresh pages meanwhile")
        rollback_s = _accounted(stage, "rolled back", RuleSet(), stones + fresh.stones)
        _until_columns_are_read(stage)
        _published(stage, RuleSet(), 0)
        unchanged_s = _last_try_s(stage)
        print(f"nothing changes: {unchanged_s:.2f} s")
        wrong = asyncio.run(_wrong_prices(stage))
    finish(
        "bench-reprice",
        [
            Figure(
                "none_change_per_s",
                round((stones + fresh.stones) / unchanged_s),
                "stones/s",
                f">= {GOALS['none']}",
            ),
            Figure("all_change_per_s", round(stones / changed_s), "stones/s", f">= {GOALS['all']}"),
            Figure(
                "fresh_p99_s", round(float(np.percentile(fresh.taken_s, 99)), 2), "s", f"<= {GOALS['fresh']}"
            ),
            Figure("rollback_s", round(rollback_s, 1), "s", f"<= {GOALS['rollback']}"),
            Figure("fresh_p50_s", round(float(np.percentile(fresh.taken_s, 50)), 2), "s"),
            Figure("fresh_pages", len(fresh.taken_s), "pages", ">= 1"),
            Figure("wrong_prices", wrong, "stones", "== 0"),
            Figure("stones", stones, "stones"),
        ],
    )


def _margins(natural_bps: int) -> BaseMargins:
    return BaseMargins(natural_bps=natural_bps, lab_grown_bps=natural_bps + 3_900, fancy_bps=natural_bps)


def _fill(stage: Stage, stones: int, seed: int) -> int:
    """Let every member read a stock from the canonical topic; how many stones it came to."""
    fill(stage.kafka, canonical_stock(stones, seed))
    members = ("process", "sink", "api")
    for name in members:
        stage.start(name)
    for name in members:
        stage.wait_ready(name, _LONG_S)
    _until_read(stage)
    _until_columns_are_read(stage)
    return int(stage.metric("api", "adamas_api_stones"))


def _until_columns_are_read(stage: Stage) -> None:
    """Block until the owner has its stock in columns, which it brings up to date while it has nothing else to do."""
    time.sleep(3)
    stage.wait(
        lambda: stage.metric("process", "adamas_process_reprice_unread") == 0,
        _LONG_S,
        "the columns",
        "process",
    )


def _accounted(stage: Stage, what: str, content: RuleSet, stones: int, fresh: _Fresh | None = None) -> float:
    """Publish a rule set that changes so many stones, and say what they cost and whom the owner waited for."""
    held = _held_s(stage)
    with Accounts(lambda: stage.pids) as accounts:
        began_at, busy_s = time.time(), _busy_s()
        taken_s = _published(stage, content, stones, fresh)
        busy_s = _busy_s() - busy_s
    used = accounts.between(began_at, began_at + taken_s)
    ours_s = sum(used[name] for name in STAGES)
    waited = [f"{reader} {now_s - held[reader]:.1f} s" for reader, now_s in _held_s(stage).items()]
    print(
        f"{what}: {taken_s:.1f} s; cores busy: {ours_s / taken_s:.2f} with it, {(busy_s - ours_s) / taken_s:.2f} with"
        f" all else; the owner waited for {', '.join(waited)}"
    )
    print_account(used, stones, memory_of(stage.pids))
    return taken_s


def _busy_s() -> float:
    """Processor time of the whole machine so far."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait)


def _held_s(stage: Stage) -> dict[str, float]:
    """Seconds for which the owner's background work has waited so far, by the reader it waited for."""
    metric = "adamas_process_background_held_seconds_total"
    sink = stage.metric("process", metric, reader=SINK_GROUP)
    return {"sink": sink, "api": stage.metric("process", metric) - sink}


def _published(stage: Stage, content: RuleSet, changes: int, fresh: _Fresh | None = None) -> float:
    """Publish a rule set; seconds until it is applied everywhere."""
    before = stage.metric("process", "adamas_process_repriced_total")
    number = asyncio.run(_publish(stage, content))
    started = time.monotonic()
    if fresh is not None:
        fresh.start()

    def through() -> bool:
        return (
            # Each is a question of its own: the one that is answered with no for longest comes first.
            stage.metric("process", "adamas_process_reprice_left") == 0
            and stage.metric("process", "adamas_process_rules_version") == number
            and stage.metric("process", "adamas_process_repriced_total") - before >= changes
        )

    stage.wait(through, _LONG_S, f"rule set {number} to be applied", "process")
    if changes:
        _until_read(stage)
    taken_s = time.monotonic() - started
    if fresh is not None:
        fresh.stop()
    return taken_s


def _last_try_s(stage: Stage) -> float:
    """From when the owner had the newest number until it was through its stock, by its own log."""
    lines = (stage.folder / "logs" / "process.log").read_text().splitlines()
    at = {line["action"]: line["at"] for line in map(json.loads, filter(_IS_JSON.match, lines))}
    begun, ended = (datetime.fromisoformat(at[action]) for action in ("rules.head", "process.rules_tried"))
    return (ended - begun).total_seconds()


async def _publish(stage: Stage, content: RuleSet) -> int:
    link = await asyncpg.connect(stage.dsn)
    try:
        made = await publish(link, stage.kafka, content, actor="bench", reason="measured")
    finally:
        await link.close()
    return made.number


def _until_read(stage: Stage) -> None:
    """Block until the sink has stored and the API applied what is in the canonical topic now."""
    ends = stage.ends(CANONICAL.name)

    def read() -> bool:
        stored = stage.committed(SINK_GROUP)
        applied = {
            int(slot): offset
            for slot, offset in stage.get_json("api", "/health/ready")["checks"]["canonical"]["detail"][
                "positions"
            ].items()
        }
        return all(
            stored.get(slot, 0) >= end and applied.get(slot, 0) >= end for slot, end in ends.items() if end
        )

    stage.wait(read, _LONG_S, "sink and API")


class _Fresh:
    """Pages of stones nobody has seen yet, one every quarter of a second, and how long each took to be searchable."""

    def __init__(self, stage: Stage, log: RawWriter) -> None:
        self.taken_s: list[float] = []
        self.stones = 0
        self._log = log
        self._api = HTTPConnection("127.0.0.1", stage.ports["api"], timeout=30)
        self._key = create_key(stage.dsn, "bench", [Scope.READ_DIAMONDS], "bench")
        reader = PageReader(NIVODA_FORM)
        self._pages = [
            (feed, body, stone_id(feed, reader.decode(body)[-1].diamond.id))
            for feed, body in page_bodies(FRESH_STONES, FRESH_SEED, bad_share=0)
        ]
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to write pages."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more; the last page has been found when this returns."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for number, (feed, body, last) in enumerate(self._pages):
            if self._stop.wait(FRESH_EVERY_S):
                return
            started = time.monotonic()
            self._log.page(feed, "fresh", number, body)
            self._log.flush()
            while not self._found(last):
                time.sleep(LOOK_EVERY_S)
            self.taken_s.append(time.monotonic() - started)
            self.stones += body.count(b'"certificate":')

    def _found(self, stone: str) -> bool:
        self._api.request("GET", f"/v1/diamonds/{stone}", headers={"X-API-Key": self._key})
        with self._api.getresponse() as reply:
            reply.read()
        if reply.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            raise RuntimeError(f"{stone}: the API answers {reply.status}")
        return reply.status == HTTPStatus.OK


async def _wrong_prices(stage: Stage) -> int:
    """Stones in Postgres whose price is not what the last rule set gives."""
    base = BaseMargins()
    rows: list[Any] = await stage.fetch(
        "SELECT count(*) AS wrong FROM diamonds WHERE price_cents <> floor((cost_cents * (10000 + CASE rule"
        " WHEN 'base:natural' THEN $1::bigint WHEN 'base:lab_grown' THEN $2::bigint WHEN 'base:fancy' THEN $3::bigint END)::numeric"
        " + 5000) / 10000)",
        *(base.natural_bps, base.lab_grown_bps, base.fancy_bps),
    )
    return int(rows[0]["wrong"])


if __name__ == "__main__":
    main()
