from __future__ import annotations

import random

import msgspec
import pytest

from connectors.ingest.progress import RunProgress
from schemas.facts import FactHeaders, Kind, Plan, PlanPartition, RunKind

SIZE = 50


def progress(*estimates: int) -> RunProgress:
    partitions = tuple(
        PlanPartition(number=n, dollars_per_carat_from=n, dollars_per_carat_to=n, estimate=estimate)
        for n, estimate in enumerate(estimates)
    )
    return RunProgress(
        Plan(
            run="run",
            feed="nivoda-natural",
            kind=RunKind.FULL,
            watermark=0,
            page_size=SIZE,
            counted=sum(estimates),
            partitions=partitions,
        )
    )


def page_fact(page: int, rows: int, reread: int = 0, kind: Kind = Kind.PAGE, run: str = "run") -> FactHeaders:
    return FactHeaders(
        kind=kind,
        feed="nivoda-natural",
        epoch=1,
        seq=1,
        run=run,
        partition=0,
        page=page,
        rows=rows,
        reread=reread,
    )


def read_all(run: RunProgress, *answers: dict[int, list[int]]) -> list[list[tuple[int, int]]]:
    """Read to the end; `answers` gives, per partition and page, the rows of each read. Returns the reads made."""
    made: list[list[tuple[int, int]]] = [[] for _ in answers]
    while (read := run.next_read()) is not None:
        rows = answers[read.partition].get(read.page, [0])
        earlier = sum(1 for page, _ in made[read.partition] if page == read.page)
        made[read.partition].append((read.page, read.reread))
        count = rows[min(earlier, len(rows) - 1)]
        run.partitions[read.partition].done(read.page, count, [f"{read.page}.{n}" for n in range(count)])
    assert all(partition.ended for partition in run.partitions.values())
    return made


def test_full_pages_are_read_once_and_the_end_is_confirmed() -> None:
    (made,) = read_all(progress(100), {0: [50], 1: [50]})
    assert made == [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1)]


def test_a_short_last_page_and_what_follows_it_are_read_again() -> None:
    (made,) = read_all(progress(70), {0: [50], 1: [20]})
    assert made == [(0, 0), (1, 0), (2, 0), (3, 0), (1, 1), (2, 1)]


def test_a_short_page_in_mid_stream_and_its_successor_are_read_again() -> None:
    run = progress(200)
    (made,) = read_all(run, {0: [50], 1: [35, 50], 2: [50], 3: [50]})
    assert made.count((1, 1)) == made.count((2, 1)) == 1
    assert (3, 1) not in made
    assert run.rows == 200


def test_a_page_that_loses_other_stones_each_time_is_read_until_nothing_new_comes() -> None:
    run = progress(100)
    partition, reads = run.partitions[0], 0
    losses = iter([range(5), range(3, 8), range(20, 25), range(30, 35)])
    while (read := run.next_read()) is not None:
        kept = set(range(SIZE)) - set(next(losses)) if read.page == 0 else set(range(SIZE))
        stones = [] if read.page > 1 else [f"{read.page}.{n}" for n in sorted(kept)]
        reads += read.page == 0
        partition.done(read.page, len(stones), stones)
    # The second read brought 0 to 2, the third 3 and 4, the fourth nothing new.
    assert reads == 4


def test_an_empty_second_read_confirms_no_short_page() -> None:
    run = progress(100)
    read_all(run, {0: [45, 0, 50], 1: [50]})
    assert run.rows == 100


def test_an_item_without_an_id_makes_a_page_short() -> None:
    run = progress(50)
    partition = run.partitions[0]
    for _ in range(3):
        read = run.next_read()
        assert read is not None
        stones = [*(f"{n}" for n in range(49)), None] if read.page == 0 else []
        partition.done(read.page, len(stones), stones)
    read = run.next_read()
    assert read is not None
    assert (read.page, read.reread) == (0, 1)


def test_an_empty_page_with_more_behind_it_is_no_end() -> None:
    run = progress(150)
    read_all(run, {0: [50], 1: [0, 50], 2: [50]})
    assert run.rows == 150
    run = progress(100)
    read_all(run, {0: [50], 1: [50], 2: [0, 40]})
    assert run.rows == 140


def test_a_count_that_is_far_too_low_or_too_high_ends_nothing() -> None:
    run = progress(10)
    read_all(run, {page: [50] for page in range(9)} | {9: [3]})
    assert run.rows == 453
    run = progress(450)
    read_all(run, {0: [50], 1: [2]})
    assert run.rows == 52


def test_an_empty_partition_is_looked_at() -> None:
    run = progress(0)
    (made,) = read_all(run, {})
    assert made == [(0, 0), (1, 0), (0, 1)]


def test_pages_are_handed_out_side_by_side_and_doubtful_ones_only_when_none_is_under_way() -> None:
    run = progress(150)
    reads = [run.next_read() for _ in range(4)]
    assert [read.page if read else None for read in reads] == [0, 1, 2, None]
    partition = run.partitions[0]
    partition.done(0, 30)
    partition.done(1, 50)
    assert run.next_read() is not None  # page 3: one behind the last with items
    assert not partition.ended


def test_a_resumed_run_reads_only_what_is_missing() -> None:
    run = progress(200)
    run.replay(
        [
            page_fact(0, 50),
            page_fact(2, 50),
            page_fact(2, 50),
            page_fact(3, 20),
            page_fact(9, 50, run="other"),
        ]
    )
    (made,) = read_all(run, {1: [50], 3: [20], 4: [0]})
    # Which stones its short page brought is not known any more: two reads must agree.
    assert made == [(1, 0), (4, 0), (5, 0), (3, 1), (3, 2), (4, 1)]
    assert run.rows == 170


def test_an_end_in_the_log_closes_a_partition() -> None:
    run = progress(50)
    run.replay([page_fact(0, 50), page_fact(1, 0, kind=Kind.EMPTY)])
    assert run.complete
    assert run.next_read() is None


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_vendor_does_once_every_page_comes_whole(seed: int) -> None:
    chance = random.Random(seed)
    stones = chance.randrange(0, 900)
    pages = -(-stones // SIZE)
    run = progress(int(stones * chance.uniform(0.5, 1.5)))
    true = {page: min(SIZE, stones - page * SIZE) for page in range(pages)}
    # Each page fails at most at its first read. A false end is caught by the end's own second read.
    answers = {page: [chance.choice([rows, rows, 0, max(0, rows - 5)]), rows] for page, rows in true.items()}
    read_all(run, answers)
    assert run.rows == stones


def test_a_page_found_in_parts_is_one_read() -> None:
    run = progress(100)
    run.replay(
        [page_fact(0, 20), page_fact(0, 30, reread=100), page_fact(0, 30, reread=100), page_fact(1, 50)]
    )
    assert (run.rows, run.pages, run.rereads) == (100, 2, set())
    run.replay([page_fact(1, 20, reread=1), page_fact(1, 10, reread=101)])
    assert (run.rows, run.rereads) == (100, {(0, 1, 1)})


def test_a_page_in_the_log_with_items_of_no_stone_is_read_again() -> None:
    run = progress(100)
    facts = [page_fact(0, SIZE), page_fact(1, SIZE)]
    run.replay([facts[0], msgspec.structs.replace(facts[1], nameless=3)])
    (made,) = read_all(run, {0: [50], 1: [50]})
    assert (1, 1) in made
    assert (0, 1) not in made


def test_a_page_read_again_is_only_what_it_has_more() -> None:
    part = progress(100).partitions[0]
    assert [part.done(0, rows) for rows in (40, 40, 50, 30)] == [40, 0, 10, 0]
