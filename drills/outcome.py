"""What a pipeline left behind, in a form that two runs can be compared by."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, cast

import asyncpg
from confluent_kafka import Message

from runtime.settings import KafkaSettings
from runtime.tail import Tail
from schemas.dead_letter import DeadLetter
from schemas.headers import Headers, from_headers
from schemas.stone import decode_version, is_position
from schemas.topics import CANONICAL, DEAD

CLOCKS: Final = ("first_seen", "updated_at")
"""Fields that say when we worked, not what we found out; two runs differ in them."""


@dataclass(frozen=True)
class Outcome:
    """The end state of a pipeline.

    Attributes:
        stones: last value in the canonical topic by stone, clocks left out.
        rows: the same as Postgres has it, `cost_cents` to `availability` and price.
        history: price-history rows by (stone, seq, rule number), with their number.
        dead: dead letters by place in raw and index.
    """

    stones: dict[str, dict[str, Any]]
    rows: dict[str, dict[str, Any]]
    history: Counter[tuple[str, int, int]]
    dead: set[tuple[int, int, int | None]]


def last_values(kafka: KafkaSettings) -> dict[str, dict[str, Any]]:
    """A fresh reader's view of the canonical topic: the last record of each stone."""
    found: dict[str, bytes | None] = {}

    def fold(messages: list[Message]) -> None:
        for message in messages:
            key = message.key()
            if key is not None and not is_position(key):
                found[key.decode()] = message.value()

    _read(kafka, CANONICAL.name, fold)
    return {stone: _plain(json.loads(value)) for stone, value in found.items() if value is not None}


def late_records(kafka: KafkaSettings) -> int:
    """Records of the canonical topic that carry a lower version than one before them: what a woken worker wrote."""
    highest: dict[str, tuple[int, int, int]] = {}
    late = 0

    def compare(messages: list[Message]) -> None:
        nonlocal late
        for message in messages:
            key, value = message.key(), message.value()
            if key is None or value is None or is_position(key):
                continue
            stone = decode_version(value)
            version = (stone.seq, stone.mapper_version, stone.rules_version)
            late += version < highest.get(key.decode(), version)
            highest[key.decode()] = max(version, highest.get(key.decode(), version))

    _read(kafka, CANONICAL.name, compare)
    return late


def dead_letters(kafka: KafkaSettings) -> set[tuple[int, int, int | None]]:
    """Places of the refused items: partition, offset, index."""
    found: set[tuple[int, int, int | None]] = set()

    def collect(messages: list[Message]) -> None:
        for message in messages:
            letter = from_headers(cast(Headers, message.headers()), DeadLetter)
            found.add((letter.partition, letter.offset, letter.index))

    _read(kafka, DEAD.name, collect)
    return found


async def outcome(kafka: KafkaSettings, dsn: str) -> Outcome:
    """Collect the end state; the pipeline must be idle."""
    stones = last_values(kafka)
    names = next(iter(stones.values())).keys() if stones else ()
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT * FROM diamonds WHERE retired_at IS NULL")
        history = await connection.fetch("SELECT stone_id, seq, rules_version FROM price_history")
    finally:
        await connection.close()
    return Outcome(
        stones=stones,
        rows={row["id"]: {name: row[name] for name in names} for row in rows},
        history=Counter((row["stone_id"], row["seq"], row["rules_version"]) for row in history),
        dead=dead_letters(kafka),
    )


def _plain(stone: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stone.items() if name not in CLOCKS}


def _read(kafka: KafkaSettings, topic: str, apply: Any) -> None:
    tail = Tail(kafka, topic, apply)
    tail.start()
    try:
        if not tail.wait_caught_up(120):
            raise TimeoutError(f"{topic} was not read in 120 s") from tail.failure
    finally:
        tail.stop()
