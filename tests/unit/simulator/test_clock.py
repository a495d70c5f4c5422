from connectors.simulator.clock import Clock


class Wall:
    now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_the_clock_follows_the_wall_until_told_otherwise() -> None:
    wall = Wall()
    clock = Clock(wall)
    wall.now_s += 5
    assert (clock.now_s(), clock.elapsed_s()) == (1_000_005.0, 5.0)


def test_an_offset_moves_the_time_but_nothing_lives_through_it() -> None:
    wall = Wall()
    clock = Clock(wall)
    clock.adjust(offset_s=-1200)
    wall.now_s += 1
    assert clock.now_s() == 1_000_001.0 - 1200
    assert clock.elapsed_s() == 1.0


def test_rate_and_freeze_count_from_when_they_are_set() -> None:
    wall = Wall()
    clock = Clock(wall)
    wall.now_s += 10
    clock.adjust(rate=60)
    wall.now_s += 1
    assert clock.elapsed_s() == 70
    clock.adjust(freeze=True)
    wall.now_s += 100
    assert clock.elapsed_s() == 70
    clock.adjust(freeze=False, rate=1)
    wall.now_s += 2
    assert clock.now_s() == 1_000_072
