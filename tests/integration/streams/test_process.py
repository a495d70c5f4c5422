"""What is acknowledged was delivered, whatever happens to the process; and poison passes by."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from runtime.kafka import consumer, ensure_topics, producer
from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.ruleset import BaseMargins, PublishedRuleSet, RuleSet
from schemas.stone import Stone, decode_position, decode_stone
from schemas.topics import CANONICAL, DEAD, RAW, RECEIPTS, RULESETS
from streams.delivery import TopicNames
from streams.process import EXIT_UNDELIVERED
from streams.worker import RawRecord
from tests.integration.streams.driver import topic_names
from tests.unit.streams.items import item
from tests.unit.streams.records import raw_complete, raw_page

PAGES, ITEMS = 60, 20
HUGE = "x" * 9_000
FOLDER = Path(__file__).resolve().parents[3]


@dataclass
class Stage:
    """Topics and a consumer group of one test's own, and the processes it started."""

    kafka: KafkaSettings
    suffix: str = field(default_factory=lambda: uuid4().hex[:8])
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def topics(self) -> TopicNames:
        return topic_names(self.suffix)

    @property
    def group(self) -> str:
        return f"process-{self.suffix}"

    def create(self, **canonical: str) -> None:
        topics = self.topics
        config = {**CANONICAL.config, **canonical}
        ensure_topics(
            self.kafka,
            [
                replace(RAW, name=topics.raw),
                replace(CANONICAL, name=topics.canonical, config=config),
                replace(DEAD, name=topics.dead),
                replace(RECEIPTS, name=topics.receipts),
                replace(RULESETS, name=topics.rulesets),
            ],
        )
        self.publish_rules(1, 4_000)

    def publish_rules(self, number: int, natural_bps: int) -> None:
        content = RuleSet(base=BaseMargins(natural_bps=natural_bps))
        rules = PublishedRuleSet(number=number, published_at=0, actor="test", reason="test", content=content)
        sender = producer(self.kafka)
        value = rules.model_dump_json(exclude_none=True).encode()
        sender.produce(self.topics.rulesets, value, str(number).encode())
        assert sender.flush(20) == 0

    def write(self, records: list[RawRecord]) -> None:
        sender = producer(self.kafka)
        for record in records:
            sender.produce(
                self.topics.raw,
                record.value,
                record.key,
                record.partition,
                headers=list(record.headers),
            )
        assert sender.flush(20) == 0

    def start(self, fault: str = "none") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.streams.driver"]
        process = subprocess.Popen(
            [*command, self.kafka.bootstrap, self.suffix, self.group, fault], cwd=FOLDER
        )
        self.processes.append(process)
        return process

    def read(self, topic: str) -> list[Message]:
        found: list[Message] = []
        tail = Tail(self.kafka, topic, found.extend)
        tail.start()
        assert tail.wait_caught_up(60)
        tail.stop()
        return found

    def stones(self) -> list[Stone]:
        """Every version in the log, in order."""
        values = (
            message.value() for message in self.read(self.topics.canonical) if message.headers() is None
        )
        return [decode_stone(value) for value in values if value is not None]

    def acknowledged(self) -> int:
        asker = consumer(self.kafka, self.group)
        try:
            (place,) = asker.committed([TopicPartition(self.topics.raw, 0)], timeout=20)
        except KafkaException as error:
            # A broker that has just started is nobody's coordinator for a moment.
            if error.args[0].code() != KafkaError.NOT_COORDINATOR:
                raise
            return 0
        finally:
            asker.close()
        return max(0, place.offset)

    def wait(self, condition: Callable[[], bool], timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.3)


@pytest.fixture
def stage(kafka_settings: KafkaSettings) -> Iterator[Stage]:
    made = Stage(kafka_settings)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


def pages(huge_from: int | None = None) -> list[RawRecord]:
    """Pages of different stones; from one page on, each page ends with a stone too large for the test's topic."""
    made = []
    for page in range(PAGES):
        items = [item(page * ITEMS + place) for place in range(ITEMS)]
        if huge_from is not None and page >= huge_from:
            items[-1] = item(page * ITEMS + ITEMS - 1, diamond__certificate__comments=HUGE)
        made.append(raw_page(*items, seq=page + 1, number=page, offset=page))
    return made


def stone_ids(page_numbers: range) -> set[str]:
    return {
        f"nivoda-natural:{item(page * ITEMS + place)['diamond']['id']}"
        for page in page_numbers
        for place in range(ITEMS)
    }


def assert_nothing_acknowledged_is_missing(stage: Stage) -> int:
    """Pages acknowledged, every stone of which is in the log."""
    acknowledged = min(stage.acknowledged(), PAGES)
    delivered = {stone.id for stone in stage.stones()}
    missing = stone_ids(range(acknowledged)) - delivered
    assert not missing, f"{len(missing)} of the first {acknowledged} pages' stones were never delivered"
    return acknowledged


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [("raise", EXIT_UNDELIVERED), ("cancel", None), ("sigterm", 0), ("kill", -signal.SIGKILL)],
)
def test_an_accident_in_mid_batch_loses_nothing(stage: Stage, fault: str, exit_code: int | None) -> None:
    stage.create()
    stage.write(pages())
    struck = stage.start(fault)
    if exit_code is None:
        # A cancelled task ends no process by itself: whatever Faust makes of it, give it time to acknowledge.
        time.sleep(12)
        struck.terminate()
        struck.wait(120)
    else:
        assert struck.wait(120) == exit_code
    assert_nothing_acknowledged_is_missing(stage)
    again = stage.start()
    stage.write([raw_page(seq=PAGES + 1, number=PAGES)])
    stage.wait(lambda: stage.acknowledged() == PAGES + 1)
    again.terminate()
    assert again.wait(60) == 0
    assert stone_ids(range(PAGES)) == {stone.id for stone in stage.stones()}
    # The second process read what the first had written before it took a page: nothing is written twice.
    written = Counter((stone.id, stone.seq, stone.rules_version) for stone in stage.stones())
    assert max(written.values()) == 1
    assert len(written) == PAGES * ITEMS


def test_a_failed_delivery_is_not_acknowledged(stage: Stage) -> None:
    stage.create(**{"max.message.bytes": "6000", "compression.type": "uncompressed"})
    stage.write(pages(huge_from=30))
    struck = stage.start()
    assert struck.wait(120) == EXIT_UNDELIVERED
    assert assert_nothing_acknowledged_is_missing(stage) <= 30


def test_poison_passes_by_and_the_rest_arrives(stage: Stage) -> None:
    stage.create()
    good = [item(number) for number in range(1, 40)]
    poison = [
        raw_page(seq=1, value=b"<html>Forbidden</html>", rows=b"50"),
        raw_page(*good[:10], seq=2, kind=b"nonsense"),
        raw_page(seq=3, value=b'{"data":{"x":' + b"[" * 200_000),
        raw_page(good[0], None, item(100, diamond__certificate=None), seq=4),
        raw_page(item(101, diamond__certificate__comments="x" * 2_000_000), good[1], seq=5),
        raw_page(item(102, price=None), item(103, diamond__certificate__shape="BLOB"), seq=6),
        RawRecord(0, 0, b"", b"", [], 0),
        raw_page(*good, seq=7, number=1),
        raw_complete(8, watermark=1234),
    ]
    stage.write(poison)
    process = stage.start()
    stage.wait(lambda: stage.acknowledged() == len(poison))
    process.terminate()
    assert process.wait(60) == 0
    assert {stone.id.partition(":")[2] for stone in stage.stones()} == {
        made["diamond"]["id"] for made in good
    }
    letters = stage.read(stage.topics.dead)
    causes = Counter(str(dict(letter.headers() or [])["error"], "ascii") for letter in letters)  # type: ignore[arg-type]
    assert causes == {
        "not_json": 2,
        "bad_headers": 2,
        "null_item": 1,
        "null_certificate": 1,
        "too_long": 1,
        "null_cost_cents": 1,
        "unknown_shape": 1,
    }
    # The position comes behind everything that came before it in the raw log.
    last = stage.read(stage.topics.canonical)[-1]
    assert last.key() == b"nivoda-natural:"
    assert decode_position(last.value() or b"").as_of == 1234


def test_new_rules_reach_every_stone_fresh_or_old(stage: Stage) -> None:
    stage.create()
    stage.write(pages())
    process = stage.start()
    stage.wait(lambda: stage.acknowledged() == PAGES)
    stage.publish_rules(2, 5_000)
    stage.wait(lambda: sum(stone.rules_version == 2 for stone in stage.stones()) == PAGES * ITEMS)
    stage.write([raw_page(item(1, price=200), seq=PAGES + 1, run="run-2")])
    stage.wait(lambda: stage.acknowledged() == PAGES + 1)
    process.terminate()
    assert process.wait(60) == 0
    last = {stone.id: stone for stone in stage.stones()}
    for stone in last.values():
        assert (stone.rules_version, stone.margin_bps) == (2, 5_000)
        assert stone.price_cents == (stone.cost_cents * 15_000 + 5_000) // 10_000


def test_a_restarted_worker_prices_anew_although_no_fresh_fact_comes(stage: Stage) -> None:
    stage.create()
    stage.write(pages())
    process = stage.start()
    stage.wait(lambda: stage.acknowledged() == PAGES)
    process.terminate()
    assert process.wait(60) == 0
    stage.publish_rules(2, 5_000)
    stage.start()
    stage.wait(lambda: sum(stone.rules_version == 2 for stone in stage.stones()) == PAGES * ITEMS)
