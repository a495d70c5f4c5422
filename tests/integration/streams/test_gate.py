"""A worker that leaves a feed unread, leaves its group, and reads a range again, all because somebody wants it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connectors.postgres import events, pauses
from operating.groups import Groups
from runtime import jobs
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from streams.limits import IN_A_ROW
from streams.rereading import KIND as REREAD
from tests.integration.streams.test_process import PAGES, Stage, pages, stone_ids
from tests.unit.streams.items import item
from tests.unit.streams.records import raw_page

FEED = "nivoda-natural"


@pytest.fixture
def stage(kafka_settings: KafkaSettings, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv("DRIVER_DSN", database)
    made = Stage(kafka_settings)
    yield made
    for process in made.processes:
        process.kill()
        process.wait()


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    async with Database(database, "test") as opened:
        yield opened


def poison(seq: int) -> list[object]:
    return [item(10_000 + 50 * seq + place, diamond__certificate__shape="BLOB") for place in range(50)]


async def test_a_hundred_refusals_in_a_row_stop_the_feed_until_somebody_lets_it_go_on(
    stage: Stage, db: Database
) -> None:
    stage.create()
    records = [*pages(), *(raw_page(*poison(seq), seq=PAGES + seq) for seq in range(1, 6))]
    stage.write(records)
    stage.start()
    stopped_at = PAGES + IN_A_ROW // 50
    stage.wait(lambda: stage.acknowledged() == stopped_at)
    async with db.link() as link:
        while not (found := await pauses.listed(link)):
            pass
        (pause,) = found
        assert (pause.subject, pause.raw_offset) == (FEED, stopped_at)
        assert [event.subject for event in await events.list_events(link, only_open=True)] == [FEED]
    assert stage.acknowledged() == stopped_at
    stage.write([raw_page(item(9_000), seq=PAGES + 9)])
    async with db.transaction() as link:
        await pauses.resume_feed(link, FEED, actor="ann", waive_to=PAGES + 5)
        assert await events.list_events(link, only_open=True) == []
    stage.wait(lambda: stage.acknowledged() == PAGES + 6)
    assert {f"{FEED}:{item(9_000)['diamond']['id']}"} | stone_ids(range(PAGES)) == {
        stone.id for stone in stage.stones()
    }


async def test_a_paused_worker_leaves_its_group_and_comes_back(
    stage: Stage, db: Database, kafka_settings: KafkaSettings
) -> None:
    stage.create()
    stage.write(pages())
    stage.start()
    stage.wait(lambda: stage.acknowledged() == PAGES)
    groups = Groups(kafka_settings)
    assert groups.members(stage.group)
    async with db.link() as link:
        await pauses.pause_group(link, stage.group, "to look at it", actor="ann")
    assert groups.wait_empty(stage.group, 20)
    groups.move(stage.group, stage.topics.raw, {0: PAGES - 10})
    assert stage.acknowledged() == PAGES - 10
    async with db.link() as link:
        await pauses.resume_group(link, stage.group, actor="ann")
    stage.wait(lambda: stage.acknowledged() == PAGES)
    assert len(stage.stones()) == len(stone_ids(range(PAGES)))


async def test_an_owner_reads_a_range_again_behind_fresh_facts(stage: Stage, db: Database) -> None:
    stage.create()
    stage.write(pages())
    stage.start()
    stage.wait(lambda: stage.acknowledged() == PAGES)
    async with db.link() as link:
        job = await jobs.submit(
            link, REREAD, FEED, {"from": 10, "to": 30}, actor="ann", unit="records", total=20
        )
        while not (job := await jobs.get(link, job.id)).state.final:
            pass
    assert job.state is jobs.State.DONE
    assert job.result is not None
    assert (job.done, job.result["records"]) == (20, 20)
    assert job.result["outcomes"] == {"canonical": len(stone_ids(range(10, 30)))}
    # Nothing was different, so nothing was written.
    assert len(stage.stones()) == len(stone_ids(range(PAGES)))
