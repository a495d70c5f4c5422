"""Snapshots of the index, so that a start needs seconds: the arrays, the records' files, and the offsets they stand for.

A snapshot is a folder with the index's own files and a manifest that is written last. The records' files are shared:
they only grow, so the manifest just says how far each one counts. It is a cache of the canonical topic and never more:
whatever is not right about one, it is refused, and the topic is read from its beginning.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from api.index import Index
from schemas.errors import Invalid
from schemas.stone import STONE_VERSION

log = structlog.stdlib.get_logger(__name__)

MAX_AGE_DAYS: Final = 14
"""A null outlives what could bring its stone back by far (`schemas.topics`); an older snapshot could miss one."""

LAYOUT: Final = 2
"""To be raised with every change to what a manifest or a records' file says."""

_DAY_MS: Final = 86_400_000
_MANIFEST: Final = "manifest.json"
_KEPT: Final = "snapshot"
_NEW: Final = "snapshot-new"
_OLD: Final = "snapshot-old"
_CHUNK: Final = 1 << 22


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot stands for.

    Attributes:
        layout: `LAYOUT` and the stone's version when it was written.
        topic_id: the id Kafka gave the topic.
        taken_at_ms: epoch ms.
        offsets: the next offset to read, by partition.
        changed: the offset of the last record that changed what an answer could show, by partition.
        stones: how many there are.
        records: name and size of the records' files.
        checksums: CRC-32 of the index's own files.
    """

    layout: tuple[int, int]
    topic_id: str
    taken_at_ms: int
    offsets: dict[int, int]
    changed: dict[int, int]
    stones: int
    records: dict[str, int]
    checksums: dict[str, int]


class Snapshots:
    """The snapshot in a folder of one process's own.

    Args:
        folder: where it is, beside the records' files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(
        self, index: Index, topic_id: str, ends: Mapping[int, int], now_ms: int | None = None
    ) -> Manifest | None:
        """Fill the index from the snapshot, if there is one to be trusted; what it stands for.

        Args:
            index: an empty one.
            topic_id: the id of the topic as it is now.
            ends: the topic's end offsets by partition.
            now_ms: epoch ms; the present without it.
        """
        try:
            manifest = self._read()
            if manifest is None:
                return None
            _check(manifest, topic_id, ends, int(time.time() * 1000) if now_ms is None else now_ms)
            _check_files(self._folder / _KEPT, manifest)
            index.load(self._folder / _KEPT, manifest.records)
        except (Invalid, OSError, ValueError, msgspec.MsgspecError) as error:
            log.warning("api.snapshot_refused", error=str(error))
            return None
        log.info("api.snapshot_loaded", stones=manifest.stones, taken_at_ms=manifest.taken_at_ms)
        return manifest

    def write(
        self, index: Index, topic_id: str, offsets: Mapping[int, int], changed: Mapping[int, int]
    ) -> Manifest:
        """Write what the index holds beside the snapshot there is. Nobody may apply a batch meanwhile.

        Raises:
            OSError: the disk is full.
        """
        folder = self._folder / _NEW
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        index.save(folder)
        manifest = Manifest(
            layout=(LAYOUT, STONE_VERSION),
            topic_id=topic_id,
            taken_at_ms=int(time.time() * 1000),
            offsets=dict(offsets),
            changed=dict(changed),
            stones=len(index),
            records=index.fragments.manifest(),
            checksums={path.name: _checksum(path) for path in sorted(folder.iterdir())},
        )
        (folder / _MANIFEST).write_bytes(msgspec.json.encode(manifest))
        return manifest

    def publish(self, index: Index) -> None:
        """Bring what was written to the disk and put it in the place of the one before. Batches may be applied.

        Raises:
            OSError: the disk is full.
        """
        index.fragments.sync()
        new, kept, old = (self._folder / name for name in (_NEW, _KEPT, _OLD))
        for path in (*new.iterdir(), new):
            _sync(path)
        shutil.rmtree(old, ignore_errors=True)
        if kept.exists():
            kept.rename(old)
        new.rename(kept)
        _sync(self._folder)
        shutil.rmtree(old, ignore_errors=True)
        index.fragments.tidy()

    def _read(self) -> Manifest | None:
        path = self._folder / _KEPT / _MANIFEST
        # Killed between the two renames: the one before is whole.
        if not path.exists() and (self._folder / _OLD / _MANIFEST).exists():
            (self._folder / _OLD).rename(self._folder / _KEPT)
        return msgspec.json.decode(path.read_bytes(), type=Manifest) if path.exists() else None


def _check(manifest: Manifest, topic_id: str, ends: Mapping[int, int], now_ms: int) -> None:
    if manifest.layout != (LAYOUT, STONE_VERSION):
        raise Invalid("layout", f"is {manifest.layout}, must be {(LAYOUT, STONE_VERSION)}", "other_layout")
    if manifest.topic_id != topic_id:
        raise Invalid("topic_id", f"is of the topic {manifest.topic_id}, not of {topic_id}", "other_topic")
    age_ms = now_ms - manifest.taken_at_ms
    if age_ms > MAX_AGE_DAYS * _DAY_MS:
        raise Invalid("taken_at_ms", f"is more than {MAX_AGE_DAYS} days ago", "too_old")
    for slot, offset in manifest.offsets.items():
        if offset > ends.get(slot, 0):
            raise Invalid("offsets", f"{slot} is read to {offset}, and the topic ends before", "beyond_end")


def _check_files(folder: Path, manifest: Manifest) -> None:
    for name, checksum in manifest.checksums.items():
        if _checksum(folder / name) != checksum:
            raise Invalid("checksums", f"{name} is not as it was written", "damaged")


def _checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def own_folder(folder: Path) -> bool:
    """Make a folder this process's own until it ends; false when another one has it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    return True
