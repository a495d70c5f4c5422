"""The data folder of a stack: one owner at a time, room on the disk, forgotten when asked."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from adamas.stack import UpFailed

LOCK: Final = "up.lock"
NEEDED_MIB: Final = 1500
"""Kafka's and Postgres' data of 20 000 stones and their logs take 200 MiB; a disk must not be filled by a demo."""


@contextmanager
def owned(folder: Path) -> Iterator[bool]:
    """Own the folder while the block runs; true when its former owner was killed and may have left processes behind.

    Raises:
        UpFailed: another `up` owns it, it cannot be written, or the disk is nearly full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UpFailed(
            f"Cannot write to {folder} ({error.strerror}). Choose another folder: make up DATA=dir."
        ) from error
    try:
        was_killed = _lock(handle, folder)
        _check_room(folder)
        yield was_killed
        os.ftruncate(handle, 0)
    finally:
        # Closing lets the lock go. The file stays: removing it would let two owners lock two files.
        os.close(handle)


def _lock(handle: int, folder: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UpFailed(
            f"Another `make up` (process {os.read(handle, 20).decode()}) uses {folder}. Stop it, or give this one its own data and ports:"
            " make up DATA=.adamas-2 PORT_BASE=3100."
        ) from error
    was_killed = os.fstat(handle).st_size > 0
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return was_killed


def free_mib(folder: Path) -> int:
    """What is free on the disk of a folder."""
    return shutil.disk_usage(folder).free // 2**20


def _check_room(folder: Path) -> None:
    free = free_mib(folder)
    if free < NEEDED_MIB:
        raise UpFailed(
            f"Only {free} MiB are free on the disk of {folder.absolute()}, and {NEEDED_MIB} are needed."
            " Free some (make clean forgets kept data) or choose another disk: make up DATA=dir."
        )


def forget(folder: Path) -> None:
    """Remove everything kept, except the lock that says whose the folder is."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            _remove(entry)


def _remove(entry: Path) -> None:
    try:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise UpFailed(
                f"Cannot remove {entry} ({error.strerror}); remove it by hand and try again."
            ) from error
