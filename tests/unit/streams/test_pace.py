"""Background work goes as fast as the slowest living reader; the dead and the idle hold up nobody."""

from prometheus_client import REGISTRY

from runtime.settings import KafkaSettings
from streams.pace import FLOOR, LIVING_S, Pace, Readers


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def follow(readers: Readers, clock: Clock, reader: str, rate: int, seconds: float, start: int = 0) -> int:
    at = start
    for _ in range(int(seconds * 10)):
        readers.note(reader, {0: at})
        clock.now_s += 0.1
        at += rate // 10
    readers.note(reader, {0: at})
    return at


def test_nobody_who_reads_nobody_who_waits() -> None:
    assert not Readers().slowest({0: 10**6})


def test_a_living_reader_may_be_behind_by_what_was_written_half_a_second_before_it_told() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    at = follow(readers, clock, "sink", 20_000, 2)
    assert not readers.slowest({0: at + 9_000})
    for step in range(1, 5):
        clock.now_s += 0.1
        readers.note("sink", {0: at + 100 * step})
        assert not readers.slowest({0: at + 9_000})
    clock.now_s += 0.11
    readers.note("sink", {0: at + 600})
    assert readers.slowest({0: at + 9_000}) == "sink"
    readers.note("sink", {0: at + 4_000})
    assert not readers.slowest({0: at + 9_000})


def test_nobody_is_given_much_more_than_it_has_shown_to_manage() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    at = follow(readers, clock, "sink", 20_000, 2)
    assert not readers.slowest({0: at + 20_000})
    assert readers.slowest({0: at + 20_001})


def test_a_slow_reader_is_given_a_floor() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    at = follow(readers, clock, "slow", 100, 2)
    assert not readers.slowest({0: at + FLOOR})
    assert readers.slowest({0: at + FLOOR + 1})


def test_the_slowest_counts() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    for _ in range(20):
        readers.note("fast", {0: int(clock.now_s * 50_000)})
        readers.note("slow", {0: int(clock.now_s * 50_000) - 30_000})
        clock.now_s += 0.1
    assert readers.slowest({0: int((clock.now_s - 0.1) * 50_000) + 21_000}) == "slow"


def test_a_reader_that_stands_still_is_forgotten_after_five_seconds() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    at = follow(readers, clock, "sink", 20_000, 2)
    for _ in range(int(LIVING_S * 10) - 2):
        clock.now_s += 0.1
        readers.note("sink", {0: at})
    assert readers.slowest({0: at + 50_000})
    for _ in range(3):
        clock.now_s += 0.1
        readers.note("sink", {0: at})
    assert not readers.slowest({0: at + 50_000})


def test_partitions_a_reader_never_told_of_are_not_its_business() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    follow(readers, clock, "sink", 20_000, 1)
    assert not readers.slowest({7: 10**6})


def test_who_neither_moved_between_two_listings_nor_read_everything_is_not_followed() -> None:
    readers = Readers()
    readers.slowest({0: 1_000})
    before = {"moves": {0: 500}, "dead": {0: 500}, "reads all": {0: 1_000}}
    now = {"moves": {0: 600}, "dead": {0: 500}, "reads all": {0: 1_000}, "new": {0: 0}}
    assert readers.worth_following(before, now) == ["moves", "reads all", "new"]


def test_a_reader_that_is_asked_no_more_holds_up_nobody() -> None:
    clock = Clock()
    readers = Readers(clock=clock)
    at = follow(readers, clock, "gone", 20_000, 2)
    assert readers.slowest({0: at + 50_000}) == "gone"
    clock.now_s += LIVING_S + 0.1
    assert not readers.slowest({0: at + 50_000})


def test_one_look_comes_first_and_what_was_waited_for_is_told_by_reader() -> None:
    clock = Clock()
    pace = Pace(KafkaSettings(bootstrap="none:1"), "canonical", clock=clock)

    def held_s() -> float | None:
        return REGISTRY.get_sample_value(
            "adamas_process_background_held_seconds_total", {"reader": "slow sink"}
        )

    assert not pace.may_write({0: 0})
    pace._note({"slow sink": {0: 0}})
    assert pace.may_write({0: 0})
    pace._note({"slow sink": {0: 1}})
    assert not pace.may_write({0: 2 + FLOOR})
    assert held_s() is None
    clock.now_s += 0.25
    pace._note({"slow sink": {0: 2}})
    assert pace.may_write({0: 2 + FLOOR})
    clock.now_s += 0.5
    assert pace.may_write({0: 2 + FLOOR})
    assert held_s() == 0.25
    # Nobody has asked for a while, so nobody has looked.
    clock.now_s += 2
    assert not pace.may_write({0: 2 + FLOOR})
