"""Ten thousand items nobody can use, in five kinds, among a quarter of a million: grouped, fixed, redriven, gone.

    make drill-poison SEED=7        # python -m drills.poison --seed 7 --poison 10000 --share 0.04

The poison is below 5 % and interleaved by the seed, so no feed stops. Each kind must be one group; every item must be a
stone or a letter; a first alert must be out within a minute. Then a mapper that understands one kind is tried on its
group, deployed and the group redriven: each stone lands once, and reading everything again brings none of them back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import Message

from drills.commands import adamas, adamas_json, write_mapper
from drills.raw_writer import RawWriter
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.undisturbed import wait_idle
from drills.vendor_pages import page_bodies
from operating.groups import Groups
from runtime.tail import Tail
from schemas.feeds import FEEDS, stone_id
from schemas.stone import is_position
from schemas.topics import CANONICAL, RAW

Item = dict[str, Any]


def _certificate(item: Item, **values: Any) -> None:
    item["diamond"]["certificate"].update(values)


KINDS: Final[tuple[tuple[str, str, Callable[[Item], None]], ...]] = (
    ("unknown_shape", "diamond.certificate.shape", lambda item: _certificate(item, shape="BLOB")),
    ("null_cost_cents", "price", lambda item: item.update(price=None)),
    ("too_long", "diamond.certificate.comments", lambda item: _certificate(item, comments="x" * 10_001)),
    (
        "control_character",
        "diamond.certificate.keyToSymbols",
        lambda item: _certificate(item, keyToSymbols="Cloud\u0001"),
    ),
    ("null_certificate", "diamond.certificate", lambda item: item["diamond"].update(certificate=None)),
)
"""Error, field, and how an item is spoiled; the first kind is the one that gets fixed."""

FIX: Final = """(
    replace(row, parser=replace(row.parser, table={**row.parser.table, "BLOB": "ROUND"})) if row.field == "shape" else row
)"""


def poisoned_pages(
    poison: int, share: float, seed: int, spoiled: dict[str, str], whole: set[str]
) -> Iterator[tuple[str, bytes]]:
    """A stock's pages with items spoiled in them; which (stone to kind) is added to the two collections."""
    stones = round(poison / share)
    draw = random.Random(seed)
    chosen = Counter(draw.sample(range(stones), poison))
    number = 0
    for feed, body in page_bodies(stones, seed, bad_share=0.0):
        page = json.loads(body)
        for item in page["data"]["diamonds_by_query"]["items"]:
            stone = stone_id(feed, item["diamond"]["id"])
            if number in chosen:
                kind = len(spoiled) % len(KINDS)
                KINDS[kind][2](item)
                spoiled[stone] = KINDS[kind][0]
            else:
                whole.add(stone)
            number += 1
        yield feed, json.dumps(page).encode()


def versions(stage: Stage) -> Counter[str]:
    """How many records each stone has in the canonical topic."""
    found: Counter[str] = Counter()

    def count(messages: list[Message]) -> None:
        found.update(key.decode() for message in messages if (key := message.key()) and not is_position(key))

    tail = Tail(stage.kafka, CANONICAL.name, count)
    tail.start()
    tail.wait_caught_up(120)
    tail.stop()
    return found


def kept(stage: Stage) -> dict[tuple[str, str], Any]:
    """The groups in Postgres by error and field."""
    rows = asyncio.run(stage.fetch("SELECT * FROM dead_letter_groups"))
    return {(row["error"], row["field"]): row for row in rows}


def total(stage: Stage) -> int:
    """Letters in Postgres."""
    return sum(row["letters"] for row in kept(stage).values())


def alert_after_s(stage: Stage) -> float:
    """Seconds from the first letter to the first alert, by Postgres' clock and Kafka's record time."""
    (row,) = asyncio.run(
        stage.fetch(
            "SELECT extract(epoch FROM (SELECT min(at) FROM events WHERE kind = 'DeadLetters')"
            " - (SELECT min(first_at) FROM dead_letters)) AS s"
        )
    )
    return float(row["s"])


def reread_everything(stage: Stage) -> None:
    """Have the owners read all of the raw log again."""
    groups = Groups(stage.kafka)
    for feed in FEEDS.values():
        _, end = groups.bounds(RAW.name, [feed.slot])[feed.slot]
        arguments = ("--feed", feed.name, "--from", "0", "--to", str(end), "--by", "background", "--yes")
        adamas(stage, "replay", "raw", *arguments)


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--poison", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.04)
    options = parser.parse_args()
    print_environment("faust-streaming", "confluent-kafka")
    spoiled: dict[str, str] = {}
    whole: set[str] = set()
    with Stage() as stage:
        log = RawWriter(stage.kafka)
        numbers = dict.fromkeys(FEEDS, 0)
        for feed, body in poisoned_pages(options.poison, options.share, options.seed, spoiled, whole):
            log.page(feed, "poison", numbers[feed], body)
            numbers[feed] += 1
        log.flush()
        print(f"{len(whole)} items and {len(spoiled)} spoiled ones in {sum(numbers.values())} pages")
        for name in ("sink", "monitor", "process"):
            stage.start(name)
        wait_idle(stage, log.written, timeout_s=600)
        stage.wait(lambda: total(stage) >= len(spoiled), 120, "the letters to be kept", "monitor")
        groups = kept(stage)
        for (error, field), row in sorted(groups.items()):
            print(f"  {row['fingerprint']}  {error:20} {field:36} {row['letters']} letters")
        alert_s = alert_after_s(stage)
        written = versions(stage)
        lost = len(whole - written.keys()) + abs(total(stage) - len(spoiled))

        fixed = {stone for stone, kind in spoiled.items() if kind == KINDS[0][0]}
        group = groups[KINDS[0][:2]]
        mapper = write_mapper(stage.folder / "fixed_mapping.py", 2, FIX)
        print(adamas(stage, "dead", "fix", group["fingerprint"], "--mapper", str(mapper)).strip())
        stage.children["process"].stop(30)
        stage.start("process", {"DRILL_MAPPER": str(mapper)}, module="drills.changed_mapper")
        stage.wait_ready("process", 120)
        started = time.monotonic()
        result = adamas_json(stage, "dead", "redrive", group["fingerprint"], mapper=mapper)
        print(f"redriven in {time.monotonic() - started:.1f} s: {json.dumps(result)}")
        once = versions(stage)
        reread_everything(stage)
        wait_idle(stage, log.written, timeout_s=600)
        time.sleep(3)
        after = kept(stage)[KINDS[0][:2]]
    print(
        f"the fixed group afterwards: {after['resolved']} resolved, {after['new']} new, {after['returned']} returned"
    )
    lost += sum(1 for stone in fixed if once[stone] == 0)
    finish(
        "drill-poison",
        [
            Figure("groups", len(groups), "groups", f"== {len(KINDS)}"),
            Figure("lost", lost, "items", "== 0"),
            Figure("returned", after["returned"] + after["new"] + after["retrying"], "letters", "== 0"),
            Figure("landed", after["resolved"], "letters", f"== {len(fixed)}"),
            Figure("landed_twice", sum(once[stone] > 1 for stone in fixed), "stones", "== 0"),
            Figure("alert_s", round(alert_s, 2), "s", "<= 60"),
            Figure("poison", len(spoiled), "items"),
            Figure("items", len(spoiled) + len(whole), "items"),
        ],
    )


if __name__ == "__main__":
    main()
