"""What a feed's part of the raw log says, as records in memory."""

from __future__ import annotations

import msgspec
from confluent_kafka import Message

from connectors.ingest.history import interpret
from connectors.ingest.schedule import next_full_sweep
from schemas.facts import FactHeaders, Kind, Plan, PlanPartition, RunKind
from schemas.headers import to_headers
from schemas.seq import make_seq

FEED = "nivoda-natural"


def fact(
    kind: Kind, epoch: int, run: str | None = None, page: int | None = None, value: bytes = b""
) -> Message:
    headers = FactHeaders(
        kind=kind, feed=FEED, epoch=epoch, seq=make_seq(epoch, 1), run=run, partition=0, page=page, rows=50
    )
    return Message(value=value, headers=[*to_headers(headers)], offset=0)


def plan(epoch: int, run: str) -> Message:
    partition = PlanPartition(number=0, dollars_per_carat_from=0, dollars_per_carat_to=9, estimate=100)
    struct = Plan(
        run=run,
        feed=FEED,
        kind=RunKind.FULL,
        watermark=0,
        page_size=50,
        counted=100,
        partitions=(partition,),
    )
    return fact(Kind.PLAN, epoch, run, value=msgspec.json.encode(struct))


def test_an_empty_log_has_no_run() -> None:
    history = interpret([])
    assert (history.highest_epoch, history.plan, history.complete) == (0, None, False)


def test_the_last_plan_and_what_follows_it_is_the_run() -> None:
    history = interpret(
        [
            plan(1, "old"),
            fact(Kind.PAGE, 1, "old", 0),
            fact(Kind.COMPLETE, 1, "old"),
            fact(Kind.LEASE, 2),
            plan(2, "new"),
            fact(Kind.PAGE, 2, "new", 0),
            fact(Kind.PAGE, 2, "old", 1),
        ]
    )
    assert history.plan is not None
    assert history.plan.run == "new"
    assert [(f.kind, f.page) for f in history.facts] == [(Kind.PAGE, 0)]
    assert (history.complete, history.highest_epoch) == (False, 2)


def test_a_complete_fact_ends_the_run() -> None:
    assert interpret([plan(1, "run"), fact(Kind.PAGE, 1, "run", 0), fact(Kind.COMPLETE, 1, "run")]).complete


def test_pages_of_a_writer_that_lost_the_lease_do_not_count() -> None:
    history = interpret(
        [
            plan(1, "run"),
            fact(Kind.PAGE, 1, "run", 0),
            fact(Kind.LEASE, 2),
            fact(Kind.PAGE, 1, "run", 1),
            fact(Kind.PAGE, 2, "run", 2),
        ]
    )
    assert [f.page for f in history.facts if f.kind is Kind.PAGE] == [0, 2]


def test_a_record_without_readable_headers_is_passed_over() -> None:
    junk = Message(value=b"", headers=[("kind", b"page")], offset=0)
    assert interpret([junk, plan(1, "run")]).plan is not None


def test_the_next_sweep_is_the_first_two_oclock_after_the_last_one_began() -> None:
    at = 1_746_093_600_000  # 2025-05-01T10:00Z
    assert next_full_sweep(at).isoformat() == "2025-05-02T02:00:00+00:00"
    assert next_full_sweep(at - 9 * 3_600_000).isoformat() == "2025-05-01T02:00:00+00:00"
