"""OK, WARN, STALLED and back, and when a reader will have caught up."""

import pytest

from monitor.lag import Group, Look, PartitionLag, Place
from monitor.movement import Movement, Movements, Status
from schemas.targets import Targets

TARGETS = Targets(lag_s=30, still_warn_s=15, still_stalled_s=40)
PLACE = Place("t", 0)


def look(
    at_s: float,
    committed: int | None,
    end: int,
    oldest_s: float | None = None,
    reported_s: float | None = None,
) -> Look:
    oldest_ms = None if oldest_s is None else int(oldest_s * 1000)
    part = PartitionLag(committed, 0, end, oldest_ms)
    reported_ms = None if reported_s is None else int(reported_s * 1000)
    return Look(int(at_s * 1000), {"g": Group("g", 1, {PLACE: part}, reported_ms)}, {PLACE: end})


def after(*looks: Look) -> Movement:
    movements = Movements(TARGETS)
    for one in looks:
        told = movements.see(one)["g"]
    return told


def test_without_lag_it_is_ok_however_long_nothing_moves() -> None:
    told = after(*(look(at, 10, 10) for at in range(200)))
    assert (told.status, told.still_s, told.catches_up_s) == (Status.OK, {}, 0.0)


@pytest.mark.parametrize(
    ("seconds", "status"), [(14, Status.OK), (15, Status.WARN), (39, Status.WARN), (40, Status.STALLED)]
)
def test_standing_still_before_waiting_records(seconds: int, status: Status) -> None:
    told = after(*(look(at, 5, 10 + at) for at in range(seconds + 1)))
    assert told.status is status
    assert told.still_s[PLACE] == seconds


def test_a_group_that_never_committed_stands_still_too() -> None:
    assert after(*(look(at, None, 10) for at in range(45))).status is Status.STALLED


def test_the_clock_begins_when_there_is_something_to_read() -> None:
    quiet = [look(at, 10, 10) for at in range(100)]
    assert after(*quiet, look(100, 10, 11)).status is Status.OK
    assert after(*quiet, look(100, 10, 11), look(110, 10, 11)).status is Status.OK


def test_moving_again_is_ok_again() -> None:
    stopped = [look(at, 5, 10 + at, oldest_s=0) for at in range(60)]
    assert after(*stopped).status is Status.STALLED
    assert after(*stopped, look(60, 70, 70)).status is Status.OK


def test_far_behind_and_coming_nearer_is_ok_and_falling_back_is_not() -> None:
    nearer = [look(at, 100 * at, 10_000, oldest_s=at - 90) for at in range(10)]
    assert after(*nearer).status is Status.OK
    falling = [look(at, 10 * at, 10_000 + 20 * at, oldest_s=at - 90) for at in range(10)]
    assert after(*falling).status is Status.WARN


def test_the_forecast_counts_what_is_written_meanwhile() -> None:
    told = after(*(look(at, 300 * at, 6000 + 100 * at) for at in range(11)))
    assert told.read_per_s == pytest.approx(300)
    assert told.written_per_s == pytest.approx(100)
    assert told.catches_up_s == pytest.approx((6000 - 200 * 10) / 200)


def test_a_stop_before_does_not_spoil_the_forecast() -> None:
    stopped = [look(at, 0, 100 * at) for at in range(60)]
    moving = [look(60 + at, 1000 * at, 6000 + 100 * at) for at in range(4)]
    told = after(*stopped, *moving)
    assert told.catches_up_s == pytest.approx((6000 - 900 * 3) / 900, rel=0.25)


def test_what_does_not_come_nearer_has_no_forecast() -> None:
    assert after(*(look(at, 10 * at, 1000 + 20 * at) for at in range(11))).catches_up_s is None


def test_a_reader_without_members_that_has_gone_is_gone_not_stalled() -> None:
    assert after(*(look(at, 5, 10 + at, reported_s=0) for at in range(61))).status is Status.GONE


def test_lag_in_seconds_is_never_negative_and_none_before_the_first_commit() -> None:
    assert PartitionLag(5, 0, 10, oldest_ms=2_000).lag_s(1_000) == 0.0
    assert PartitionLag(10, 0, 10).lag_s(1_000) == 0.0
    assert PartitionLag(None, 0, 10).lag_s(1_000) is None
    assert PartitionLag(12, 0, 10).lag == 0


def test_the_clock_begins_anew_when_a_member_comes_to_an_empty_group() -> None:
    def of(at_s: float, members: int) -> Look:
        group = Group("g", members, {PLACE: PartitionLag(5, 0, 10)})
        return Look(int(at_s * 1000), {"g": group}, {PLACE: 10})

    told = after(*(of(at, 0) for at in range(60)), of(60, 1), of(61, 1))
    assert told.status is Status.OK
