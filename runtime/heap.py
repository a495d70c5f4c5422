"""The memory of a process that loads much at once and then keeps little: what it let go is given back.

glibc gives every thread an arena of its own and keeps what was freed in it; loading a topic in a few threads leaves a
hundred megabytes and more that nobody uses. Where there is another allocator, nothing is done.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_ARENAS: Final = 2
_KEPT_BYTES: Final = 64 * 1024 * 1024
_MAPPED_BYTES: Final = 32 * 1024 * 1024
"""The largest that glibc takes."""


def limit_arenas() -> None:
    """Let threads share arenas. To be called before they start."""
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def keep_for_the_next_batch() -> None:
    """Let what a batch frees stay with the process, up to 64 MiB an arena, until `give_back`.

    Given back at once, the next batch has it cleared page by page: that was a third of the time of the sink's writer.
    Not for the API, which promises how much memory it takes.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def give_back() -> None:
    """Give what is free back to the system; takes some milliseconds, in which other Python threads run."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def spare_the_collector() -> None:
    """Leave what there is out of the search for cycles from now on, and search more rarely; when all is loaded.

    Records, batches and requests hold no cycles and die young: looking among them cost the sink a sixth of its time, and
    among the objects of all modules it holds up searches for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None
