"""TCP ports: whether one is free, and free ones for tests."""

import socket
from itertools import islice
from random import SystemRandom
from typing import Final

_TRIED: Final = range(10_000, 32_768)
"""Below what systems hand out for outgoing connections, one of which would soon take a port that only looks free."""


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # Servers set this too: a connection of a minute ago that still lingers does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """As many different ports, free at this moment; at random, so that two programs that ask at once get others."""
    # Not the common generator: a test may have seeded it, and then so in every process.
    return list(islice(filter(is_free, SystemRandom().sample(_TRIED, len(_TRIED))), count))


def free_block(count: int) -> int:
    """The first of as many successive ports, all free at this moment; at random too."""
    starts = range(_TRIED.start, _TRIED.stop - count, count)
    tried = SystemRandom().sample(starts, len(starts))
    return next(start for start in tried if all(map(is_free, range(start, start + count))))
