"""Dead letters from the topic to rows, their states, the sandbox."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from connectors.postgres import events
from operating import letters
from operating.keeper import Keeper
from operating.letters import State
from operating.redrive import fact_of
from operating.sandbox import Sandbox, refusal
from runtime.kafka import producer
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from runtime.tracing import traceparent
from schemas.dead_letter import DeadLetter
from schemas.errors import Invalid
from schemas.headers import to_headers
from schemas.ruleset import PublishedRuleSet, RuleSet
from schemas.seq import make_seq
from schemas.topics import DEAD
from tests.conftest import TopicMaker
from tests.unit.streams.items import item

RULES = PublishedRuleSet(number=1, published_at=0, actor="test", reason="test", content=RuleSet())


def letter(offset: int, index: int = 0, **changes: object) -> DeadLetter:
    fields: dict[str, object] = {
        "topic": "diamonds.raw",
        "partition": 0,
        "offset": offset,
        "index": index,
        "stage": "normalise",
        "error": "unknown_shape",
        "field": "diamond.certificate.shape",
        "reason": "is not in the vendor's list of values: 'BLOB'",
        "feed": "nivoda-natural",
        "stone": f"nivoda-natural:{offset}",
        "seq": make_seq(1, offset + 1),
    }
    return DeadLetter(**{**fields, **changes})  # type: ignore[arg-type]


class Stage:
    def __init__(self, kafka: KafkaSettings, database: Database, topic: str) -> None:
        self.database = database
        self._kafka = kafka
        self._topic = topic
        self._written = 0

    def write(self, *found: DeadLetter, payload: bytes = b"{}") -> None:
        sender = producer(self._kafka)
        for one in found:
            headers = [(name, value) for name, value in to_headers(one)]
            sender.produce(self._topic, payload, b"key", 0, headers=headers)  # type: ignore[arg-type]
        assert sender.flush(20) == 0
        self._written += len(found)

    async def keep(self) -> None:
        """Run a keeper until everything written is in Postgres."""
        keeper = asyncio.create_task(Keeper(self._kafka, self.database, self._topic).serve())
        while await self._kept() < self._written:
            assert not keeper.done() or keeper.result() is None
            await asyncio.sleep(0.05)
        keeper.cancel()
        with suppress(asyncio.CancelledError):
            await keeper

    async def _kept(self) -> int:
        async with self.database.link() as link:
            return await link.fetchval("SELECT coalesce(max(kafka_offset) + 1, 0) FROM dead_letters")  # type: ignore[no-any-return]

    async def group(self) -> letters.Group:
        async with self.database.link() as link:
            (found,) = await letters.groups(link, every=True)
        return found


@pytest.fixture
async def stage(kafka_settings: KafkaSettings, database: str, make_topic: TopicMaker) -> AsyncIterator[Stage]:
    async with Database(database, "test") as opened:
        yield Stage(kafka_settings, opened, make_topic(DEAD, partitions=1).name)


async def test_letters_are_grouped_and_counted_once_however_often_they_are_read(stage: Stage) -> None:
    stage.write(letter(1), letter(1, 1), letter(2))
    await stage.keep()
    stage.write(letter(1), letter(3, error="too_long", field="diamond.certificate.comments"))
    await stage.keep()
    async with stage.database.link() as link:
        found = {group.error: group for group in await letters.groups(link)}
        assert (found["unknown_shape"].letters, found["too_long"].letters) == (3, 1)
        seen = [one.seen for one in await letters.waiting(link, found["unknown_shape"].fingerprint)]
        told = await events.list_events(link, only_open=True)
    assert seen == [2, 1, 1]
    assert {event.subject for event in told} == {group.fingerprint for group in found.values()}


async def test_a_redriven_letter_lands_or_comes_back_to_where_it_was(stage: Stage) -> None:
    stage.write(letter(1), letter(2))
    await stage.keep()
    name = (await stage.group()).fingerprint
    async with stage.database.link() as link:
        one, two = await letters.waiting(link, name)
        await letters.retry(link, [one.id, two.id], 7)
        assert [found.redrives for found in await letters.waiting(link, name, job=7)] == [1, 1]
        assert await letters.waiting(link, name) == []
    # The first page is read again by somebody (nothing new), and the second item came back from its redrive.
    stage.write(letter(1), letter(900, 0, origin=letter(2).place, redriven=1, seq=letter(2).seq))
    await stage.keep()
    async with stage.database.link() as link:
        await letters.settle(link, {"canonical": [one.id, two.id]}, "ann")
        states = {found.id: found for found in await letters.examples(link, name)}
    assert states[one.id].state is State.RESOLVED
    assert states[one.id].payload is None
    assert (states[two.id].state, states[two.id].returned) == (State.NEW, 1)
    assert (await stage.group()).returned == 1


async def test_a_resolved_letter_that_dies_again_has_returned(stage: Stage) -> None:
    stage.write(letter(1))
    await stage.keep()
    name = (await stage.group()).fingerprint
    async with stage.database.link() as link:
        (one,) = await letters.waiting(link, name)
        await letters.retry(link, [one.id], 7)
        await letters.settle(link, {"canonical": [one.id]}, "ann")
        await letters.close_if_done(link, name)
        assert await events.list_events(link, only_open=True) == []
    stage.write(letter(1))
    await stage.keep()
    assert ((await stage.group()).new, (await stage.group()).returned) == (1, 1)


async def test_what_is_given_up_stays_so_and_names_who_and_why(stage: Stage) -> None:
    stage.write(letter(1), letter(2))
    await stage.keep()
    name = (await stage.group()).fingerprint
    async with stage.database.transaction() as link:
        with pytest.raises(Invalid, match="reason"):
            await letters.drop(link, name, actor="ann", reason=" ")
        assert await letters.drop(link, name[:5], actor="ann", reason="test data") == 2
    stage.write(letter(1))
    await stage.keep()
    assert ((await stage.group()).discarded, (await stage.group()).new) == (2, 0)
    async with stage.database.link() as link:
        (action,) = await link.fetch("SELECT actor, action, details FROM actions")
    assert (action["actor"], action["action"]) == ("ann", "dead.drop")
    assert json.loads(action["details"]) == {"reason": "test data", "letters": 2}


CANDIDATE = """
from dataclasses import replace
from connectors.feeds.nivoda import mapping

MAPPER_VERSION = 99
MAPPING = tuple(
    replace(row, parser=replace(row.parser, table={**row.parser.table, "BLOB": "ROUND"})) if row.field == "shape" else row
    for row in mapping.MAPPING
)
"""


async def test_the_sandbox_tells_what_the_installed_code_and_a_candidate_would_do(
    stage: Stage, tmp_path: Path
) -> None:
    blob = json.dumps(item(1, diamond__certificate__shape="BLOB")).encode()
    stage.write(letter(1), payload=blob)
    stage.write(letter(2), payload=json.dumps(item(2)).encode())
    stage.write(letter(3), payload=json.dumps(item(3, diamond__certificate=None)).encode())
    await stage.keep()
    async with stage.database.link() as link:
        found = await letters.waiting(link, (await stage.group()).fingerprint)
    with Sandbox(RULES) as installed:
        causes = [failure and failure.error for failure in await installed.attempt(found)]
    assert causes == ["unknown_shape", None, "null_certificate"]
    candidate = tmp_path / "candidate.py"
    candidate.write_text(CANDIDATE)
    with Sandbox(RULES, candidate) as changed:
        assert await changed.version() == 99
        causes = [failure and failure.error for failure in await changed.attempt(found)]
    assert causes == [None, None, "null_certificate"]


@pytest.mark.parametrize(
    "code", ["raise SystemExit(3)", "MAPPING = 3", "import os; os._exit(1)", "not python"]
)
async def test_a_bad_candidate_is_refused_and_harms_nobody(tmp_path: Path, code: str) -> None:
    candidate = tmp_path / "bad.py"
    candidate.write_text(code)
    with Sandbox(RULES, candidate) as sandbox, pytest.raises(Invalid, match="mapper"):
        await sandbox.version()


async def test_only_what_can_be_put_in_order_is_redriven(stage: Stage) -> None:
    stage.write(letter(1), letter(2, seq=None), letter(3, size=5_000_000), letter(4, stage="write"))
    await stage.keep()
    async with stage.database.link() as link:
        ids = [
            row["fingerprint"] for row in await link.fetch("SELECT DISTINCT fingerprint FROM dead_letters")
        ]
        found = sorted(
            [one for name in ids for one in await letters.waiting(link, name)], key=lambda one: one.id
        )
    reasons = [refusal(one) for one in found]
    assert reasons[0] is None
    assert [
        ("order" in (r or ""), "head was kept" in (r or ""), "sink" in (r or "")) for r in reasons[1:]
    ] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    headers, value = fact_of(found[0])
    assert (headers.seq, headers.run, headers.origin, headers.redriven) == (
        make_seq(1, 2),
        None,
        found[0].place,
        1,
    )
    assert value == b'{"data":{"diamonds_by_query":{"items":[{}]}}}'


async def test_a_redriven_item_goes_on_in_the_trace_of_its_page(stage: Stage) -> None:
    told = "00-11111111111111111111111111111111-2222222222222222-01"
    stage.write(letter(1, traceparent=told))
    await stage.keep()
    async with stage.database.link() as link:
        (found,) = await letters.waiting(link, letter(1).fingerprint)
    headers, _ = fact_of(found)
    assert traceparent(to_headers(headers)) == told.encode()
