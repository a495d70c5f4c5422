"""Stores that are lost, or come back older than they were: nothing counts backwards, and after one sweep all agree.

    make drill-restore SEED=7 ARGS='--stones 5000'

1. Postgres is made anew while Kafka is kept. 2. Postgres is restored from a copy taken before the last sweeps. 3. The
canonical topic is made anew while raw and Postgres are kept; `process`, `sink` and `api` leave by themselves and are
started again. After each: lease epochs and seqs go on above everything before, and after a sweep the topic, Postgres
and the API hold the same, field by field, and sell what the vendor sells, at its cost.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import asyncpg
from confluent_kafka.cimpl import NewTopic

from api.keys import ALL_SCOPES, ensure_key, new_key
from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage, Stock, alive
from drills.stage import Stage
from drills.vendor import DrillVendor
from migrations import runner
from runtime.kafka import admin
from schemas.feeds import STANDARD
from schemas.stone import PUBLIC_FIELDS, Availability, Stone
from schemas.topics import CANONICAL
from streams.rules.store import ensure_default

STONES: Final = 5_000
MEMBERS: Final = ("sink", "process", "api", "ingest")
READERS: Final = ("sink", "process", "api")
SEEN_ANEW: Final = ("seq", "run", "raw_offset", "cause", "previous_price_cents")
"""Provenance that a version with nothing new to say (`seen`) brings to the topic alone; and that of a store made anew."""
SETTINGS: Final = {"ADAMAS_INGEST_INCREMENTAL_EVERY_S": 3_600, "ADAMAS_INGEST_OVERLAP_S": 60}


def held(stock: Stock) -> dict[str, dict[str, Any]]:
    """The stones of a stock, without what a version that says nothing new changes and no row follows."""
    return {
        stone: {
            **{name: value for name, value in record.items() if name not in SEEN_ANEW},
            **moments(record),
        }
        for stone, record in stock.items()
        if record is not None
    }


def public(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a storefront sees of a stone."""
    return {name: record.get(name) for name in PUBLIC_FIELDS} | moments(record)


def moments(record: Mapping[str, Any]) -> dict[str, Any]:
    """Its times as such: in JSON they are texts."""
    found = {name: record[name] for name in ("first_seen", "updated_at")}
    return {name: datetime.fromisoformat(at) if isinstance(at, str) else at for name, at in found.items()}


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """Stones that are not the same in both; the first are printed."""
    differ = sorted(stone for stone in one.keys() | other.keys() if one.get(stone) != other.get(stone))
    for stone in differ[:3]:
        print(f"apart: {stone}: {one.get(stone)} and {other.get(stone)}")
    return len(differ)


class Drill:
    """The steps, and what they found."""

    def __init__(self, runs: RunsStage, draw: random.Random) -> None:
        self.runs = runs
        self._draw = draw
        self._key = new_key()
        self.disagree = 0
        self.backwards = 0
        self._epoch = 0
        self._seq = 0

    def start(self) -> None:
        """All members, over whatever Postgres holds now."""
        stage = self.runs.stage
        ensure_key(stage.dsn, "drill", ALL_SCOPES, self._key)
        self.runs.start(*MEMBERS)
        stage.wait_ready("api", 120)

    def stop(self, *members: str) -> None:
        """Stop members."""
        for name in members:
            self.runs.stage.children.pop(name).stop(20)

    def sweep_and_judge(self, what: str) -> None:
        """Change something, sweep, and hold the four beside one another."""
        vendor, runs = self.runs.vendor, self.runs
        vendor.sell_off(0.02, self._draw.randrange(1 << 30))
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "sweeps")
        runs.wait(
            lambda: not runs.query("SELECT FROM runs WHERE state IN ('pending', 'running')"), "open runs"
        )
        runs.run("full")
        runs.run("incremental")
        runs.wait_idle()
        truth, topic = vendor.truth(), held(runs.stock())
        living = {stone: truth[stone]["cost_cents"] for stone in alive(truth)}
        selling = {
            stone: kept["cost_cents"] for stone, kept in topic.items() if kept["availability"] == "available"
        }
        off = {
            "topic and vendor": apart(selling, living),
            "postgres and topic": apart(self._from_postgres(topic), topic),
            "api and topic": apart(self._from_api(), {stone: public(kept) for stone, kept in topic.items()}),
        }
        self.disagree += sum(off.values())
        print(f"{what}: {len(living)} at the vendor, {len(topic)} held; apart: {off}")
        self._note_counters(what)

    def _note_counters(self, what: str) -> None:
        epoch = int(self.runs.query("SELECT max(epoch) AS epoch FROM leases")[0]["epoch"])
        seq = max(record["seq"] for record in self.runs.stock().values() if record is not None)
        self.backwards += (epoch < self._epoch) + (seq <= self._seq)
        self._epoch, self._seq = max(epoch, self._epoch), max(seq, self._seq)
        print(f"{what}: lease epoch {epoch}, highest seq {seq}")

    def _from_postgres(self, topic: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The rows that are not retired, in the topic's fields."""
        names = [name for name in Stone.__struct_fields__ if name not in SEEN_ANEW]
        rows = self.runs.query("SELECT * FROM diamonds WHERE retired_at IS NULL")
        return {row["id"]: {name: row[name] for name in names} for row in rows}

    def _from_api(self) -> dict[str, dict[str, Any]]:
        """Every item, whatever its availability."""
        found: dict[str, dict[str, Any]] = {}
        cursor = ""
        while True:
            path = f"/v1/diamonds?limit=250&availability={','.join(Availability)}{cursor}"
            page: Any = self.runs.stage.get_json("api", path, {"X-API-Key": self._key})
            found |= {item["id"]: public(item) for item in page["items"]}
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def database(self, statement: str) -> None:
        """Run a statement on a database beside the drill's own."""

        async def execute() -> None:
            link = await asyncpg.connect(f"{self.runs.stage.dsn.rpartition('/')[0]}/template1")
            try:
                await link.execute(statement)
            finally:
                await link.close()

        asyncio.run(execute())

    @property
    def name(self) -> str:
        """The drill's database."""
        return self.runs.stage.dsn.rpartition("/")[2]

    def new_postgres(self) -> None:
        """Step 1."""
        self.stop(*MEMBERS)
        self.database(f"DROP DATABASE {self.name} WITH (FORCE)")
        self.database(f"CREATE DATABASE {self.name}")
        runner.upgrade(self.runs.stage.dsn)
        asyncio.run(self._publish_rules())
        self.start()

    async def _publish_rules(self) -> None:
        link = await asyncpg.connect(self.runs.stage.dsn)
        try:
            await ensure_default(link, self.runs.stage.kafka)
        finally:
            await link.close()

    def older_postgres(self) -> None:
        """Step 2: a copy, two sweeps that it does not know, and back to the copy."""
        self.stop(*MEMBERS)
        self.database(f"CREATE DATABASE older TEMPLATE {self.name}")
        self.start()
        self.sweep_and_judge("after the copy")
        self.stop(*MEMBERS)
        self.database(f"DROP DATABASE {self.name} WITH (FORCE)")
        self.database(f"ALTER DATABASE older RENAME TO {self.name}")
        self.start()

    def new_canonical(self) -> None:
        """Step 3: under running members."""
        client = admin(self.runs.stage.kafka)
        for future in client.delete_topics([CANONICAL.name]).values():
            future.result(30)
        time.sleep(2)
        new = NewTopic(
            CANONICAL.name, CANONICAL.partitions, replication_factor=-1, config=dict(CANONICAL.config)
        )
        for future in client.create_topics([new]).values():
            future.result(30)
        children = self.runs.stage.children
        self.runs.wait(
            lambda: all(children[name].exit_code is not None for name in READERS), "the readers to leave", 120
        )
        print("left: " + "; ".join(children[name].ending() for name in READERS))
        self.runs.start(*READERS)
        self.runs.stage.wait_ready("api", 120)


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("faust-streaming", "confluent-kafka", "asyncpg")
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        drill = Drill(RunsStage(stage, vendor, SETTINGS), draw)
        drill.start()
        drill.sweep_and_judge("at first")
        drill.new_postgres()
        drill.sweep_and_judge("Postgres made anew")
        drill.older_postgres()
        drill.sweep_and_judge("Postgres restored from an older copy")
        drill.new_canonical()
        drill.sweep_and_judge("canonical topic made anew")
    finish(
        "drill-restore",
        [
            Figure("disagree", drill.disagree, "stones", "== 0"),
            Figure("backwards", drill.backwards, "counters", "== 0"),
        ],
    )


if __name__ == "__main__":
    main()
