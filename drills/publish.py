"""Publishes while facts flow: v, another, back; two operators at once; a worker that dies; Kafka that stands still.

    make drill-publish SEED=7

5 000 stones a second flow through two workers. Numbers are published and rolled back meanwhile; at one publish, drawn
by the seed, a worker is killed, at another Kafka is stopped, and each time two operators publish from the same base. At
the end every record ever written must equal a recomputation under the number and the rate it names, no record may have
been priced by an old number 5 s after the next one was in Kafka, and topic, Postgres and API must agree on every stone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import Message

from api.keys import Scope, create_key
from drills.process_kill import Flow
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import wait_idle
from runtime.postgres import Database
from runtime.tail import Tail
from schemas.columns import epoch_s
from schemas.ruleset import PublishedRuleSet, Rate, RuleSet
from schemas.stone import Stone, decode_stone, is_position
from schemas.topics import CANONICAL, RULESETS
from streams.pricing.engine import PriceBook
from streams.pricing.guards import Guards
from streams.pricing.shelves import Shelves
from streams.rules import rates
from streams.rules import store as rules_store
from streams.rules.desk import Intent, RuleDesk
from streams.rules.store import Publication, StaleBase

STONES: Final = 4_000
PAGES_PER_S: Final = 100
PUBLISHES: Final = 8
LATE_S: Final = 5.0
_PAUSE_S: Final = 6.0
_CURRENCIES: Final = ("EUR", "USD")
_TIMEOUT_S: Final = 120.0


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--publishes", type=int, default=PUBLISHES)
    parser.add_argument("--stones", type=int, default=STONES)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    print_environment("faust-streaming", "confluent-kafka")
    with Stage(process=2) as stage:
        traffic = Traffic(stage.kafka, options.stones, seed=draw.randrange(1 << 30))
        members = ("sink", "api", "process", "process-2")
        for name in members:
            stage.start(name)
        for name in members:
            stage.wait_ready(name)
        key = create_key(stage.dsn, "drill", [Scope.READ_DIAMONDS], "drill")
        with Flow(traffic, PAGES_PER_S):
            conflicts = asyncio.run(_publish_all(stage, options.publishes, draw))
        wait_idle(stage, traffic.log.written)
        stage.wait_settled()
        stage.wait(lambda: stage.lag("adamas-sink") == 0, _TIMEOUT_S, "the sink", "sink")
        figures = _figures(stage, key, conflicts)
    finish("drill-publish", figures)


async def _publish_all(stage: Stage, publishes: int, draw: random.Random) -> int:
    """Publish again and again; how many of the second operators were told of a conflict."""
    killed, stopped = draw.sample(range(1, publishes), 2)
    conflicts = 0
    async with Database(stage.dsn, "drill") as database:
        desk = RuleDesk(database, stage.kafka, Guards(), Shelves(stage.kafka))
        async with database.link() as link:
            await rates.record(
                link, Rate(id="drill", currency="EUR", ppm=917_431, at=1, source="drill"), actor="drill"
            )
        await asyncio.sleep(3)
        for step in range(publishes):
            if step == killed:
                victim = draw.choice(["process", "process-2"])
                stage.children[victim].process.send_signal(signal.SIGKILL)
            if step == stopped:
                os.kill(stage.pids["kafka"], signal.SIGSTOP)
            try:
                conflicts += await _publish_twice(desk, step, draw)
            finally:
                os.kill(stage.pids["kafka"], signal.SIGCONT)
            await asyncio.sleep(draw.uniform(_PAUSE_S / 2, _PAUSE_S))
            if step == killed:
                stage.children[victim].process.wait()
                stage.start(victim)
        await desk.shelves.close()
    return conflicts


async def _publish_twice(desk: RuleDesk, step: int, draw: random.Random) -> int:
    present = await desk.head()

    async def one(operator: str) -> Publication | StaleBase:
        intent = Intent(operator, f"step {step}", present.number, override="a drill")
        try:
            if step % 2:
                return await desk.rollback(present.number - 1, intent)
            return await desk.publish(contents(step, draw, _CURRENCIES[step // 2 % 2]), intent)
        except StaleBase as error:
            return error

    results = await asyncio.gather(one("ann"), one("bo"))
    for made in results:
        if isinstance(made, Publication):
            print(f"step {step}: number {made.number} ({made.published.cause}), in Kafka: {made.delivered}")
    return sum(isinstance(made, StaleBase) for made in results)


def contents(step: int, draw: random.Random, currency: str) -> RuleSet:
    """A rule set that prices most stones anew."""
    row = {
        "name": f"rounds {step}", "priority": 1, "when": {"shape": "ROUND", "carat": {"min": 0.5}},
        "margin_bps": draw.randrange(3_000, 9_000), "rounding": {"to_cents": 100, "ending_cents": 99},
    }  # fmt: skip
    young = {
        "name": f"young {step}",
        "priority": 2,
        "when": {"age": {"max": 0}, "carat": {"below": 1}},
        "margin_bps": 2_500,
    }
    base = {"natural_bps": draw.randrange(3_000, 6_000), "lab_grown_bps": draw.randrange(6_000, 9_000)}
    return RuleSet.model_validate({"base": base, "rules": [row, young], "currency": currency})


def _figures(stage: Stage, key: str, conflicts: int) -> list[Figure]:
    in_kafka = {
        number: PublishedRuleSet.model_validate_json(value)
        for number, value in rules_store._read_topic(stage.kafka, RULESETS.name).items()
    }
    rows = asyncio.run(stage.fetch("SELECT number, delivered_at FROM rulesets"))
    in_kafka_at = {row["number"]: row["delivered_at"].timestamp() for row in rows if row["delivered_at"]}
    lost = set(in_kafka) ^ {row["number"] for row in rows}
    last, wrong, late = _records(stage, in_kafka, in_kafka_at)
    differing = _differing(stage, key, last)
    return [
        Figure("publishes", len(in_kafka) - 1, "numbers"),
        Figure("conflicts", conflicts, "refusals", f"== {len(in_kafka) - 1}"),
        Figure("lost", len(lost) + sum(row["delivered_at"] is None for row in rows), "numbers", "== 0"),
        Figure("wrong", wrong, "records", "== 0"),
        Figure("late", late, "records", "== 0"),
        Figure("differing", differing, "stones", "== 0"),
        Figure("stones", len(last), "stones", ">= 1"),
    ]


def _records(
    stage: Stage, in_kafka: Mapping[int, PublishedRuleSet], in_kafka_at: Mapping[int, float]
) -> tuple[dict[str, Stone], int, int]:
    """The last record of each stone; how many records are not what their number says, and how many came late."""
    books = {number: PriceBook(published) for number, published in in_kafka.items()}
    last: dict[str, Stone] = {}
    wrong = late = 0

    def look(messages: list[Message]) -> None:
        nonlocal wrong, late
        for message in messages:
            name, value = message.key() or b"", message.value()
            if value is None or is_position(name):
                continue
            stone = last[name.decode()] = decode_stone(value)
            published = in_kafka[stone.rules_version]
            rate = published.rate and published.rate.id
            book = books[stone.rules_version]
            priced = book.price(stone, book.age(epoch_s(stone.first_seen)))
            said = (stone.price_cents, stone.rule, stone.margin_bps, stone.currency, stone.rate_id)
            wrong += said != (*priced, published.content.currency, rate)
            newer = in_kafka_at.get(stone.rules_version + 1)
            late += newer is not None and message.timestamp()[1] / 1000 > newer + LATE_S

    tail = Tail(stage.kafka, CANONICAL.name, look)
    tail.start()
    if not tail.wait_caught_up(_TIMEOUT_S):
        raise TimeoutError("the canonical topic was not read") from tail.failure
    tail.stop()
    return last, wrong, late


def _differing(stage: Stage, key: str, last: Mapping[str, Stone]) -> int:
    """Stones of which topic, Postgres and API do not say the same price, rule and number."""
    wanted = {name: (s.price_cents, s.currency, s.rule, s.rules_version) for name, s in last.items()}
    rows = asyncio.run(
        stage.fetch(
            "SELECT id, price_cents, currency, rule, rules_version FROM diamonds WHERE retired_at IS NULL"
        )
    )
    stored = {row["id"]: tuple(row)[1:] for row in rows}
    served = _served(stage, key)
    for name, found in (("Postgres", stored), ("the API", served)):
        wrong = [stone for stone in wanted.keys() | found.keys() if wanted.get(stone) != found.get(stone)]
        if wrong:
            print(f"{name} differs: {[(stone, wanted.get(stone), found.get(stone)) for stone in wrong[:3]]}")
    return sum(
        not wanted.get(stone) == stored.get(stone) == served.get(stone)
        for stone in {*wanted, *stored, *served}
    )


def _served(stage: Stage, key: str) -> dict[str, tuple[Any, ...]]:
    found: dict[str, tuple[Any, ...]] = {}
    path = "/v1/diamonds?availability=available,on_hold,unavailable&limit=100"
    cursor = ""
    while True:
        page = stage.get_json("api", path + cursor, {"X-API-Key": key})
        for item in page["items"]:
            found[item["id"]] = tuple(
                item[name] for name in ("price_cents", "currency", "rule", "rules_version")
            )
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


if __name__ == "__main__":
    main()
