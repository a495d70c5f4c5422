"""What is sold leaves the stock, what is not stays, and what is gone stays gone.

    make drill-retire SEED=7 ARGS='--stones 6000'

The vendor hides what is not available, so that only absence after a full sweep tells of a sale.

1. A sweep that could not read everything (pages refused, forced to its end) retires nothing.
2. Some are sold, and their retirement approved; the owner stands still for 30 s while the command waits in the log, and
   half of what was sold comes back, before the command or after it: what came back is there, the rest is gone.
3. 30 % are sold at once: the sweep waits, and retires after an approval.
4. The whole log is processed again, an old fact of retired stones is written again as a redrive does, and one granted
   31 days ago of stones nobody knows: none comes back.
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from confluent_kafka import Message, TopicPartition

from drills.report import Figure, finish, print_environment
from drills.runs_stage import RunsStage, alive, for_sale
from drills.stage import Stage
from drills.vendor import DrillVendor
from runtime.kafka import consumer, producer
from runtime.tail import Tail
from schemas.facts import FactHeaders, Kind, fact_key
from schemas.feeds import FEEDS, STANDARD
from schemas.headers import Headers, from_headers, to_headers
from schemas.topics import RAW
from streams.app import GROUP

STONES: Final = 6_000
DELAY_S: Final = 30.0
SETTINGS: Final = {"ADAMAS_INGEST_INCREMENTAL_EVERY_S": 3_600, "ADAMAS_INGEST_OVERLAP_S": 5}
OPERATIONS: Final = ["diamonds_by_query"]
OPEN: Final = "SELECT FROM runs WHERE state IN ('pending', 'running')"
OLD_MS: Final = 31 * 24 * 3_600_000


class Drill:
    """The steps, and what they found."""

    def __init__(self, runs: RunsStage, draw: random.Random, delay_s: float) -> None:
        self._runs = runs
        self._vendor = runs.vendor
        self._draw = draw
        self._delay_s = delay_s
        self.wrongly: set[str] = set()
        self.resurrected: set[str] = set()
        self.retired = 0
        self.left = 0

    def judge(self, what: str) -> None:
        """Hold the stock beside the vendor's."""
        self._runs.wait_idle()
        truth, stock = self._vendor.truth(), self._runs.stock()
        living, selling = alive(truth), for_sale(stock)
        gone = {stone for stone, record in stock.items() if record is None}
        self.wrongly |= living - selling
        self.retired = len(gone)
        print(
            f"{what}: {len(living)} at the vendor, {len(selling)} with us, {len(gone)} retired;"
            f" {len(living - selling)} wrongly gone, {len(selling - living)} still there"
        )
        self.left = len(selling - living)

    def half_a_sweep(self) -> None:
        """Step 1."""
        self._vendor.sell_off(0.02, self._draw.randrange(1 << 30))
        # Some pages come, and then no more.
        self._vendor.set_faults({"http_5xx": {"probability": 0.9, "operations": OPERATIONS}})
        full = self._runs.begin("full")
        planned = "SELECT FROM runs WHERE run = ANY($1) AND plan IS NULL"
        self._runs.wait(lambda: not self._runs.query(planned, list(full.values())), "plans")
        time.sleep(self._draw.uniform(0.2, 0.6))
        self._vendor.set_faults({"http_5xx": {"probability": 1, "operations": OPERATIONS}})
        for run in full.values():
            self._runs.adamas("runs", "force", run)
        self._vendor.set_faults({"http_5xx": None})
        self._runs.run("incremental")
        self._runs.wait_settled(full.values())
        self._runs.wait_decided(full)
        decisions = {
            row["retirement"]
            for row in self._runs.query(
                "SELECT retirement FROM runs WHERE run = ANY($1)", list(full.values())
            )
        }
        stock = self._runs.stock()
        self.wrongly |= {stone for stone, record in stock.items() if record is None}
        print(f"a sweep forced to its end: {', '.join(map(str, decisions))}")

    def delayed(self, *, command_first: bool) -> None:
        """Step 2: both orders of the command and the stones that come back."""
        self._vendor.sell_off(0.08, self._draw.randrange(1 << 30))
        full = self._runs.sweep()
        # Every sweep waits to be asked: so the owner is sure to stand still before it can meet the command.
        owner = self._runs.stage.children["process"].process
        owner.send_signal(signal.SIGSTOP)
        if command_first:
            self._approve(full)
        back = self._vendor.restock(0.5, self._draw.randrange(1 << 30))
        self._runs.begin("incremental")
        self._runs.wait(lambda: not self._runs.query(OPEN), "the runs")
        if not command_first:
            self._approve(full)
        time.sleep(self._delay_s)
        owner.send_signal(signal.SIGCONT)
        print(f"{back} stones came back {'after' if command_first else 'before'} the command, unprocessed")
        self.judge("after the delay")

    def _approve(self, full: Mapping[str, str]) -> None:
        for run in full.values():
            self._runs.adamas("runs", "approve", run)
        self._runs.wait_decided(full)

    def thirty_percent(self) -> None:
        """Step 3."""
        before = {stone for stone, record in self._runs.stock().items() if record is None}
        sold = self._vendor.sell_off(0.3, self._draw.randrange(1 << 30))
        full = self._runs.sweep()
        waiting = self._runs.query(
            "SELECT run FROM runs WHERE run = ANY($1) AND retirement = 'waiting'", list(full.values())
        )
        stock = self._runs.stock()
        unasked = {stone for stone, record in stock.items() if record is None} - before
        self.wrongly |= unasked
        print(
            f"{sold} sold at once: {len(waiting)} of {len(full)} sweeps wait, {len(unasked)} retired unasked"
        )
        if len(waiting) < len(full):
            self.wrongly.add("a sweep did not ask")
        self._approve(full)
        self.judge("approved")

    def again(self) -> None:
        """Step 4."""
        stage = self._runs.stage
        gone = {stone for stone, record in self._runs.stock().items() if record is None}
        stage.children["process"].stop(20)
        self._rewind()
        self._write_old_facts(gone)
        self._runs.start("process")
        stage.wait_ready("process")
        self._runs.wait_idle()
        stock, truth = self._runs.stock(), self._vendor.truth()
        back = {stone for stone in gone if stock.get(stone) is not None and not truth[stone]["available"]}
        unknown = {stone for stone, record in stock.items() if record is not None and stone not in truth}
        rows = self._runs.query(
            "SELECT id FROM diamonds WHERE retired_at IS NULL AND id = ANY($1)", sorted(gone)
        )
        self.resurrected = back | unknown | {row["id"] for row in rows if not truth[row["id"]]["available"]}
        print(f"{len(gone)} retired stones after a replay of everything: {len(self.resurrected)} came back")
        self.judge("after the replay")

    def _rewind(self) -> None:
        group = consumer(self._runs.stage.kafka, GROUP)
        places = [TopicPartition(RAW.name, feed.slot, 0) for feed in FEEDS.values()]
        deadline = time.monotonic() + 60
        while True:
            try:
                group.commit(offsets=places, asynchronous=False)
                break
            except Exception as error:
                # The stopped worker's membership has to run out first.
                if time.monotonic() > deadline:
                    raise TimeoutError("the group could not be set back") from error
                time.sleep(1)
        group.close()

    def _write_old_facts(self, gone: set[str]) -> None:
        """Pages of the first sweep once more: as redriven items, and of unknown stones, granted 31 days ago."""
        pages: list[tuple[FactHeaders, bytes]] = []

        def collect(messages: list[Message]) -> None:
            for message in messages:
                headers = from_headers(cast(Headers, message.headers()), FactHeaders)
                if headers.kind is Kind.PAGE and len(pages) < 100:
                    pages.append((headers, message.value() or b""))

        tail = Tail(self._runs.stage.kafka, RAW.name, collect)
        tail.start()
        tail.wait_caught_up(120)
        tail.stop()
        writer = producer(self._runs.stage.kafka)
        for headers, body in pages:
            item = msgspec.structs.replace(headers, kind=Kind.ITEM, run=None, partition=None, page=None)
            self._send(writer, item, body)
            old = msgspec.structs.replace(item, granted_at=int(time.time() * 1000) - OLD_MS)
            self._send(writer, old, _of_nobody(body))
        writer.flush(30)
        print(f"{len(pages)} old pages written again, {len(gone)} stones must stay gone")

    def _send(self, writer: Any, headers: FactHeaders, body: bytes) -> None:
        writer.produce(
            RAW.name,
            key=fact_key(headers.feed, None, None),
            value=body,
            headers=to_headers(headers),
            partition=FEEDS[headers.feed].slot,
        )
        writer.poll(0)


def _of_nobody(body: bytes) -> bytes:
    """The page with every stone's id turned into one that never was."""
    page = msgspec.json.decode(body)
    for item in page["data"]["diamonds_by_query"]["items"]:
        if item and item.get("diamond"):
            item["diamond"]["id"] = str(item["diamond"]["id"])[::-1]
    return msgspec.json.encode(page)


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--delay", type=float, default=DELAY_S, help="seconds that the owner stands still")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    print_environment("faust-streaming", "confluent-kafka")
    with Stage() as stage, DrillVendor(stage.folder, arguments.stones, draw.randrange(1 << 30)) as vendor:
        vendor.set_faults({"gone_hidden": {"probability": 1}})
        runs = RunsStage(stage, vendor, SETTINGS)
        runs.start("sink", "process", "ingest")
        runs.wait(lambda: all(runs.last_run(feed, "full") for feed in STANDARD), "first sweeps")
        runs.wait_settled([str(runs.last_run(feed, "full")) for feed in STANDARD])
        drill = Drill(runs, draw, arguments.delay)
        drill.judge("at first")
        drill.half_a_sweep()
        drill.delayed(command_first=True)
        drill.delayed(command_first=False)
        drill.thirty_percent()
        drill.again()
    finish(
        "drill-retire",
        [
            Figure("wrongly_retired", len(drill.wrongly), "stones", "== 0"),
            Figure("resurrected", len(drill.resurrected), "stones", "== 0"),
            Figure("retired", drill.retired, "stones", ">= 1"),
            Figure("left_for_sale", drill.left, "stones", "== 0"),
        ],
    )


if __name__ == "__main__":
    main()
