"""Why this price, at any past time: what the history answers equals what the raw log gives when it is read again.

    make drill-time-travel SEED=7

Facts flow for a while, prices of the vendor move, and numbers are published and rolled back meanwhile. Then 1 000 stones
and moments, drawn by the seed, are asked for as `adamas price STONE --at …` asks. Each answer must be what the raw log's
fact of that `seq` and the named number come to, of a fact that was in the log by then; and nothing that was in the log
five seconds before that moment may be missing in it. Where the answer shows a page, it must be the log's, byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from bisect import bisect_right
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from confluent_kafka import Message

from drills.process_kill import Flow
from drills.publish import contents
from drills.report import Figure, finish, print_environment
from drills.stage import Stage
from drills.traffic import Traffic
from drills.undisturbed import wait_idle
from operating.archive import Folder
from operating.price import Explanation, Price, explain
from runtime.postgres import Database
from runtime.tail import Tail
from schemas.columns import epoch_s
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS
from schemas.headers import from_headers
from schemas.ruleset import PublishedRuleSet
from schemas.stone import Content
from schemas.topics import RAW, RULESETS
from streams.normalise import normalisers
from streams.pricing.engine import PriceBook
from streams.pricing.guards import Guards
from streams.pricing.shelves import Shelves
from streams.rules import store as rules_store
from streams.rules.desk import Intent, RuleDesk

STONES: Final = 4_000
PAGES_PER_S: Final = 40
PUBLISHES: Final = 4
PAIRS: Final = 1_000
LATE_S: Final = 5.0
GOAL_MS: Final = 200
_PAUSE_S: Final = (5.0, 9.0)
_TIMEOUT_S: Final = 120.0


class Fact(NamedTuple):
    """What the log says of a stone; time in ms since 1970, place in its partition."""

    at_ms: int
    seq: int
    offset: int
    content: Content


class Rebuilt:
    """The raw log and the numbers, read again."""

    def __init__(self, stage: Stage) -> None:
        self.facts: dict[str, list[Fact]] = {}
        self.pages: dict[tuple[int, int], str] = {}
        self._normalisers = normalisers()
        tail = Tail(stage.kafka, RAW.name, self._note)
        tail.start()
        if not tail.wait_caught_up(_TIMEOUT_S):
            raise TimeoutError("the raw log was not read") from tail.failure
        tail.stop()
        self.numbers = {
            number: PublishedRuleSet.model_validate_json(value)
            for number, value in rules_store._read_topic(stage.kafka, RULESETS.name).items()
        }
        self.books = {number: PriceBook(published) for number, published in self.numbers.items()}

    def _note(self, messages: list[Message]) -> None:
        for message in messages:
            headers: Any = message.headers()
            fact = from_headers(headers, FactHeaders)
            if fact.kind is not Kind.PAGE:
                continue
            slot, offset, value = message.partition() or 0, message.offset() or 0, message.value() or b""
            self.pages[slot, offset] = sha256(value).hexdigest()
            normaliser = self._normalisers[fact.feed]
            for item in normaliser.pages.decode(value):
                try:
                    content = normaliser.content(item)
                except (Invalid, AttributeError):
                    continue
                known = self.facts.setdefault(content.id, [])
                known.append(Fact(message.timestamp()[1], fact.seq, offset, content))

    def faults(self, stone: str, at_ms: int, price: Price | None) -> list[str]:
        """What is wrong with an answer; nothing where it equals the log."""
        facts = self.facts[stone]
        due = bisect_right(facts, at_ms - LATE_S * 1000, key=lambda fact: fact.at_ms)
        if price is None:
            return ["missing"] if due else []
        fact = next((fact for fact in facts if fact.seq == price.seq), None)
        if fact is None:
            return ["unknown fact"]
        number, book = self.numbers[price.rules_version], self.books[price.rules_version]
        said = (
            price.price_cents,
            price.rule,
            price.margin_bps,
            price.cost_cents,
            price.currency,
            price.rate_id,
        )
        rate = number.rate and number.rate.id
        # Nothing is retired here: a stone is as old as its first fact.
        first_seen_s = facts[0].at_ms // 1000
        wanted = (
            *book.price(fact.content, book.age(first_seen_s)),
            fact.content.cost_cents,
            number.content.currency,
            rate,
        )
        found = [] if said == wanted else ["differs"]
        if fact.at_ms > at_ms or number.published_at > at_ms:
            found.append("early")
        if any(
            later.content.cost_cents != price.cost_cents for later in facts[:due] if later.seq > price.seq
        ):
            found.append("late fact")
        if epoch_s(price.first_seen) != first_seen_s:
            found.append("first seen")
        if not self._named_or_alike(fact.content, first_seen_s, at_ms, price):
            found.append("late number")
        return found

    def _named_or_alike(self, content: Content, first_seen_s: int, at_ms: int, price: Price) -> bool:
        """Whether the number named was still in force, or one that was gives the same."""
        known = [number for number, made in self.numbers.items() if made.published_at <= at_ms]
        due = [number for number in known if self.numbers[number].published_at <= at_ms - LATE_S * 1000]
        in_force = [number for number in known if not due or number >= max(due)]
        return price.rules_version in in_force or any(
            book.price(content, book.age(first_seen_s)).price_cents == price.price_cents
            and self.numbers[book.number].content.currency == price.currency
            for book in map(self.books.__getitem__, in_force)
        )


def main() -> None:
    """Run the drill and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--stones", type=int, default=STONES)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    print_environment("faust-streaming", "confluent-kafka", "asyncpg")
    with Stage() as stage:
        traffic = Traffic(stage.kafka, options.stones, seed=draw.randrange(1 << 30))
        for name in ("sink", "process"):
            stage.start(name)
        for name in ("sink", "process"):
            stage.wait_ready(name)
        began_ms = int(time.time() * 1000)
        with Flow(traffic, PAGES_PER_S):
            asyncio.run(_publish(stage, draw))
        wait_idle(stage, traffic.log.written)
        stage.wait_settled()
        stage.wait(lambda: stage.lag("adamas-sink") == 0, _TIMEOUT_S, "the sink", "sink")
        ended_ms = int(time.time() * 1000)
        rebuilt = Rebuilt(stage)
        stones = sorted(rebuilt.facts)
        pairs = [(draw.choice(stones), draw.randrange(began_ms, ended_ms)) for _ in range(options.pairs)]
        figures = asyncio.run(_figures(stage, rebuilt, pairs))
    finish("drill-time-travel", figures)


async def _publish(stage: Stage, draw: random.Random) -> None:
    """Another rule set, and back, again and again."""
    async with Database(stage.dsn, "drill") as database:
        desk = RuleDesk(database, stage.kafka, Guards(), Shelves(stage.kafka))
        await asyncio.sleep(draw.uniform(*_PAUSE_S))
        for step in range(PUBLISHES):
            intent = Intent("drill", f"step {step}", override="a drill")
            if step % 2:
                await desk.rollback((await desk.head()).number - 1, intent)
            else:
                await desk.publish(contents(step, draw, "USD"), intent)
            await asyncio.sleep(draw.uniform(*_PAUSE_S))
        await desk.shelves.close()


async def _figures(stage: Stage, rebuilt: Rebuilt, pairs: list[tuple[str, int]]) -> list[Figure]:
    wrong: list[str] = []
    took_ms, unpriced, shown, torn = list[float](), 0, 0, 0
    archive = Folder(stage.folder / "archive")
    async with Database(stage.dsn, "drill") as database:
        for stone, at_ms in pairs:
            at, began = datetime.fromtimestamp(at_ms / 1000, UTC), time.perf_counter()
            found: Explanation | None
            try:
                found = await explain(database, stage.kafka, archive, stone, at)
            except Invalid:
                found = None
                unpriced += 1
            took_ms.append((time.perf_counter() - began) * 1000)
            faults = rebuilt.faults(stone, at_ms, None if found is None else found.price)
            if faults and len(wrong) < 5:
                print(f"{stone} at {at}: {', '.join(faults)}: {found and found.price}")
            wrong += faults
            if found is not None and found.source.sha256 is not None:
                shown += 1
                place = (FEEDS[stone.partition(":")[0]].slot, found.source.offset or 0)
                torn += rebuilt.pages[place] != found.source.sha256
    return [
        Figure("pairs", len(pairs), "pairs"),
        Figure("differing", len(wrong), "faults", "== 0"),
        Figure("pages_shown", shown, "pages", ">= 1"),
        Figure("pages_differing", torn, "pages", "== 0"),
        Figure("before_the_first_price", unpriced, "pairs"),
        Figure("numbers", len(rebuilt.numbers), "numbers", f">= {PUBLISHES}"),
        Figure("explain_p50_ms", round(float(np.percentile(took_ms, 50)), 1), "ms", f"<= {GOAL_MS}"),
        Figure("explain_p99_ms", round(float(np.percentile(took_ms, 99)), 1), "ms"),
    ]


if __name__ == "__main__":
    main()
