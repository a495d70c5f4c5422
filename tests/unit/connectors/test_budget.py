from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from connectors.budget import (
    MARGIN_S,
    MAX_GRANT_AGE_S,
    Budget,
    Grant,
    Priority,
    StaleGrant,
    TooLate,
)
from connectors.budget.breaker import FAILURES
from connectors.budget.clock import sleep_until
from connectors.budget.metrics import BudgetMetrics
from schemas.events import Kind
from schemas.seq import counter_of, epoch_of
from tests.unit.connectors.clocks import FakeClock, settle

LIMIT = 25


def most_in_a_second(times: Sequence[float]) -> int:
    ordered = sorted(times)
    return max(
        (sum(1 for at in ordered if start <= at < start + 1) for start in ordered),
        default=0,
    )


async def spend(
    budget: Budget, clock: FakeClock, sent: list[float], priority: Priority = Priority.FULL
) -> None:
    while True:
        with await budget.grant(priority) as grant:
            await grant.writing()
            grant.written()
            sent.append(clock.time())


async def stop(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_while_work_waits_it_is_used_to_the_full() -> None:
    clock, sent = FakeClock(), list[float]()
    budget = Budget(1, clock=clock)
    tasks = [asyncio.create_task(spend(budget, clock, sent)) for _ in range(3)]
    await clock.advance(60)
    await stop(*tasks)
    assert most_in_a_second(sent) == LIMIT
    assert len(sent) / 60 >= 0.98 * LIMIT
    assert budget.use >= 0.98


async def test_an_early_reply_frees_its_place_a_second_after_itself() -> None:
    clock, sent = FakeClock(), list[float]()
    budget = Budget(1, 1, clock)
    with await budget.grant(Priority.FULL) as grant:
        await grant.writing()
        grant.written()
        await clock.advance(0.004)
        grant.answered()
    task = asyncio.create_task(spend(budget, clock, sent))
    began = clock.time() - 0.004
    await clock.advance(1.2)
    await stop(task)
    assert began + 1.004 < sent[0] < began + 1 + MARGIN_S


@settings(max_examples=60, deadline=None)
@given(
    delays_ms=st.lists(
        st.tuples(
            st.integers(0, 400),  # from the grant to the write
            st.integers(0, int(MARGIN_S * 1000)),  # from the write to the arrival
            st.integers(0, 2000),  # from the arrival to the reply
            st.sampled_from([*Priority, None]),  # none: never written
        ),
        min_size=30,
        max_size=120,
    )
)
def test_no_sliding_second_carries_more_than_the_limit(
    delays_ms: list[tuple[int, int, int, Priority | None]],
) -> None:
    asyncio.run(_no_sliding_second_carries_more(delays_ms))


async def _no_sliding_second_carries_more(delays_ms: list[tuple[int, int, int, Priority | None]]) -> None:
    clock, arrivals, done = FakeClock(), list[float](), list[int]()
    budget = Budget(1, clock=clock)

    async def wait(milliseconds: int) -> None:
        due = asyncio.Event()
        clock.call_later(milliseconds / 1000, due.set)
        await due.wait()

    async def request(write_ms: int, way_ms: int, reply_ms: int, priority: Priority | None) -> None:
        with await budget.grant(priority if priority is not None else Priority.FULL) as grant:
            await wait(write_ms)
            if priority is not None:
                await grant.writing()
                grant.written()
                await wait(way_ms)
                arrivals.append(clock.time())
                await wait(reply_ms)
                grant.answered()
        done.append(1)

    tasks = [asyncio.create_task(request(*delays)) for delays in delays_ms]
    while len(done) < len(tasks):
        await clock.advance(1)
    await asyncio.gather(*tasks)
    assert most_in_a_second(arrivals) <= LIMIT


async def granted(budget: Budget, priority: Priority, order: list[str], name: str) -> None:
    with await budget.grant(priority) as grant:
        grant.written()
        order.append(name)


async def test_first_in_first_out_within_a_class_and_urgent_ones_first() -> None:
    clock, order = FakeClock(), list[str]()
    budget = Budget(1, 1, clock)
    await granted(budget, Priority.FULL, order, "first")
    asked = [(Priority.FULL, "full 1"), (Priority.FULL, "full 2"), (Priority.INCREMENTAL, "incremental")]
    asked += [(Priority.LIVE, "live 1"), (Priority.LIVE, "live 2")]
    tasks = []
    for priority, name in asked:
        tasks.append(asyncio.create_task(granted(budget, priority, order, name)))
        await settle()
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert order == ["first", "live 1", "live 2", "incremental", "full 1", "full 2"]


async def test_an_urgent_request_waits_one_step_while_a_sweep_saturates_the_budget() -> None:
    clock, sent, waits = FakeClock(), list[float](), list[float]()
    budget = Budget(1, clock=clock)
    sweeps = [asyncio.create_task(spend(budget, clock, sent)) for _ in range(30)]
    for _ in range(40):
        await clock.advance(0.137)
        asked_at = clock.time()
        urgent = asyncio.create_task(granted(budget, Priority.LIVE, [], ""))
        while not urgent.done():
            await clock.advance(0.001)
        waits.append(clock.time() - asked_at)
    await stop(*sweeps)
    assert max(waits) < 0.2


async def test_seqs_follow_the_order_of_the_grants() -> None:
    clock, budget_seqs = FakeClock(), list[int]()
    budget = Budget(7, clock=clock)
    for _ in range(3):
        task = asyncio.create_task(budget.grant(Priority.FULL))
        await clock.advance(1)
        budget_seqs.append((await task).seq)
    assert [(epoch_of(seq), counter_of(seq)) for seq in budget_seqs] == [(7, 1), (7, 2), (7, 3)]
    assert budget.last_seq == budget_seqs[-1]


async def test_an_unwritten_grant_keeps_its_place_until_it_is_given_back() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    held = await budget.grant(Priority.FULL)
    second = asyncio.create_task(budget.grant(Priority.FULL))
    await clock.advance(30)
    assert not second.done()
    held.close()
    await settle()
    assert second.done()


async def test_a_grant_too_old_to_be_written_is_refused() -> None:
    clock = FakeClock()
    budget = Budget(1, clock=clock)
    with await budget.grant(Priority.FULL) as grant:
        await clock.advance(MAX_GRANT_AGE_S + 0.1)
        with pytest.raises(StaleGrant):
            await grant.writing()
    assert budget.use == 0


async def test_a_request_that_failed_after_its_first_byte_counts() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    with await budget.grant(Priority.FULL) as grant:
        await grant.writing()
        began = clock.time()
    second = asyncio.create_task(budget.grant(Priority.FULL))
    await clock.advance(2)
    assert second.result().not_before == pytest.approx(began + 1 + MARGIN_S)


async def test_a_throttled_class_waits_and_the_others_go_on() -> None:
    clock = FakeClock()
    budget = Budget(1, clock=clock)
    with await budget.grant(Priority.FULL) as grant:
        await grant.writing()
        assert grant.throttled(5, "the vendor answers 429") == 5
    assert budget.throttles[Priority.FULL] == 1
    full = asyncio.create_task(budget.grant(Priority.FULL))
    live = asyncio.create_task(budget.grant(Priority.LIVE))
    await clock.advance(4)
    assert not full.done()
    assert live.done()
    left = budget.paused()
    assert left is not None
    assert left[1] == "the vendor answers 429"
    await clock.advance(1.1)
    assert full.done()
    assert budget.paused() is None


async def test_whoever_waits_for_their_turn_is_held_back_only_while_grants_are_given_out() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    assert budget.holds_back() is None
    with await budget.grant(Priority.LIVE) as grant:
        waiting = asyncio.create_task(budget.grant(Priority.FULL))
        await settle()
        assert budget.holds_back() == "1 requests wait for their turn"
        # Nobody writes, nobody is granted anything: that is no reason.
        await clock.advance(5)
        assert budget.holds_back() is None
        grant.close()
    await stop(waiting)


async def test_whoever_gives_up_waiting_leaves_no_gap() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    held = await budget.grant(Priority.FULL)
    tasks = [asyncio.create_task(budget.grant(Priority.FULL)) for _ in range(3)]
    await clock.advance(1)
    tasks[0].cancel()
    await settle()
    held.close()
    # Its grant is on the way in this very moment.
    tasks[1].cancel()
    await clock.advance(1)
    assert tasks[1].cancelled()
    assert counter_of(tasks[2].result().seq) == 3
    assert budget.waiting == 0


async def test_a_request_is_granted_ahead_and_written_at_its_moment() -> None:
    clock, written = FakeClock(), list[float]()
    budget = Budget(1, 1, clock)

    async def write() -> None:
        with await budget.grant(Priority.FULL) as grant:
            await grant.writing()
            grant.written()
            written.append(clock.time())

    began = clock.time()
    tasks = [asyncio.create_task(write()) for _ in range(3)]
    await clock.advance(3)
    await asyncio.gather(*tasks)
    assert written == pytest.approx([began, began + 1 + MARGIN_S, began + 2 + 2 * MARGIN_S])


async def test_what_a_grant_needs_to_reach_the_socket_is_not_lost() -> None:
    clock, sent = FakeClock(), list[float]()
    budget = Budget(1, clock=clock)

    async def slowly() -> None:
        while True:
            with await budget.grant(Priority.FULL) as grant:
                await sleep_until(clock, clock.time() + 0.012)
                await grant.writing()
                grant.written()
                sent.append(clock.time())

    tasks = [asyncio.create_task(slowly()) for _ in range(30)]
    await clock.advance(60)
    await stop(*tasks)
    assert most_in_a_second(sent) == LIMIT
    assert len(sent) / 60 >= 0.985 * LIMIT


async def test_nothing_is_written_without_a_proven_lease() -> None:
    budget = Budget(1, clock=FakeClock(), lease_holds=lambda: False)
    with await budget.grant(Priority.LIVE) as grant, pytest.raises(StaleGrant, match="lease"):
        await grant.writing()
    assert budget.use == 0


async def test_whoever_would_wait_too_long_is_refused_at_entry_and_told_when_to_come_back() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    waiting = [asyncio.create_task(budget.grant(Priority.LIVE)) for _ in range(11)]
    await settle()
    with pytest.raises(TooLate, match="10 requests wait before it") as refused:
        await budget.grant(Priority.LIVE, within_s=5)
    assert 4 <= refused.value.after_s <= 7
    patient = asyncio.create_task(budget.grant(Priority.LIVE, within_s=15))
    await settle()
    assert not patient.done()
    await stop(patient, *waiting)
    assert budget.waiting == 0


async def test_a_pause_refuses_at_once_whoever_would_wait_in_vain() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    with await budget.grant(Priority.LIVE) as grant:
        await grant.writing()
        short = asyncio.create_task(budget.grant(Priority.LIVE, within_s=10))
        patient = asyncio.create_task(budget.grant(Priority.LIVE))
        await settle()
        grant.throttled(60, "the vendor answers 429")
    await settle()
    with pytest.raises(TooLate, match="429"):
        short.result()
    assert not patient.done()
    await stop(patient)


async def test_a_run_of_failures_stops_everybody_and_one_probe_ends_it() -> None:
    clock, alerts = FakeClock(), AlertsSeen()
    budget = Budget(1, clock=clock, alerts=alerts)
    for _ in range(FAILURES):
        with await asyncio.wait_for(_after(clock, budget), 5) as grant:
            grant.failed("the vendor answers 503")
    assert budget.breaker.state.value == "open"
    assert alerts.open == {(Kind.VENDOR_DOWN, "vendor")}
    full = asyncio.create_task(budget.grant(Priority.FULL))
    live = asyncio.create_task(budget.grant(Priority.LIVE))
    await clock.advance(0.5)
    assert not live.done()
    await clock.advance(0.6)
    assert live.done(), "one request tries"
    await clock.advance(30)
    assert not full.done(), "and only one"
    live.result().succeeded()
    await clock.advance(0.1)
    assert full.done()
    assert budget.breaker.state.value == "closed"
    assert not alerts.open


async def _after(clock: FakeClock, budget: Budget) -> Grant:
    task = asyncio.create_task(budget.grant(Priority.FULL))
    await clock.advance(0.1)
    return await task


async def test_a_ban_stops_all_classes_for_longer_each_time_its_probe_is_turned_away() -> None:
    clock, alerts, pauses = FakeClock(), AlertsSeen(), list[float]()
    budget = Budget(1, clock=clock, alerts=alerts)
    first, on_its_way = await _after(clock, budget), await _after(clock, budget)
    pauses.append(first.banned("the firewall answers 403"))
    on_its_way.banned("the firewall answers 403")
    on_its_way.succeeded()
    for _ in range(2):
        waiting = {priority: asyncio.create_task(budget.grant(priority)) for priority in Priority}
        await clock.advance(pauses[-1] - 0.1)
        assert not any(task.done() for task in waiting.values())
        await clock.advance(0.2)
        assert [priority for priority, task in waiting.items() if task.done()] == [Priority.LIVE]
        pauses.append(waiting[Priority.LIVE].result().banned("the firewall answers 403"))
        await stop(*list(waiting.values())[1:])
    assert pauses == pytest.approx([5, 10, 20])
    assert alerts.open == {(Kind.VENDOR_STOPPED, "vendor")}


async def test_the_first_answer_ends_the_outage_that_a_former_process_told_of() -> None:
    clock, alerts = FakeClock(), AlertsSeen()
    budget = Budget(1, clock=clock, alerts=alerts)
    for kind in (Kind.VENDOR_DOWN, Kind.VENDOR_STOPPED):
        alerts.raised(kind, "vendor", "told by a former process")
    (await _after(clock, budget)).failed("the vendor answers 503")
    assert len(alerts.open) == 2
    (await _after(clock, budget)).succeeded()
    assert not alerts.open


async def test_a_probe_that_is_not_sent_leaves_its_turn_to_the_next() -> None:
    clock = FakeClock()
    budget = Budget(1, clock=clock)
    (await _after(clock, budget)).banned("the firewall answers 403")
    await clock.advance(6)
    (await _after(clock, budget)).close()
    assert (await _after(clock, budget)) is not None


async def test_depth_waits_use_and_breaker_are_metrics() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock, account="test")
    registry = CollectorRegistry()
    registry.register(BudgetMetrics([budget]))
    tasks = [asyncio.create_task(spend(budget, clock, [], priority)) for priority in Priority]
    await clock.advance(10)
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }
    await stop(*tasks)
    assert values["adamas_budget_used_ratio", "test", "live"] == pytest.approx(0.95, abs=0.06)
    assert values["adamas_budget_waiting", "test", "full"] == 1
    assert values["adamas_budget_wait_seconds", "test", "live", "0.99"] == pytest.approx(1.01, abs=0.02)
    assert values["adamas_budget_throttled_total", "test", "full"] == 0
    assert values["adamas_budget_breaker", "test", "closed"] == 1


class AlertsSeen:
    def __init__(self) -> None:
        self.open: set[tuple[Kind, str]] = set()
        self.texts: list[str] = []

    def raised(self, kind: Kind, subject: str, text: str) -> None:
        assert text
        self.texts.append(text)
        self.open.add((kind, subject))

    def resolved(self, kind: Kind, subject: str) -> None:
        self.open.discard((kind, subject))
