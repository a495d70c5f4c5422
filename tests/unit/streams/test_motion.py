"""A worker is still when something waits and nothing moves."""

from streams.motion import Motion


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_only_what_waits_makes_a_worker_still() -> None:
    clock = Clock()
    motion = Motion(clock=clock)
    clock.now_s = 100
    motion.waits(0)
    assert motion.still_s == 0
    clock.now_s = 150
    motion.waits(7)
    assert motion.still_s == 50
    motion.moved()
    assert motion.still_s == 0
