"""The raw log beyond its fourteen days: its records in compressed files, in order, and back into the log.

A file holds some hundred records of one partition: `diamonds.raw/<topic id>/<partition>/<first offset>-<end>.zst`, so
that one record is found by its name's offsets and costs one file to read. Where files are kept is `Storage`: a folder
now, an object store when somebody needs one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, cast

import msgspec
from confluent_kafka import Message
from cramjam import zstd

from operating.groups import Groups
from operating.raw_log import Place, append
from runtime.kafka import admin, topic_id
from runtime.settings import KafkaSettings
from schemas.errors import Invalid
from schemas.facts import FactHeaders, Kind
from schemas.feeds import FEEDS, SLOTS
from schemas.headers import from_headers
from schemas.topics import RAW
from streams.ranges import Range

_AT_ONCE: Final = 500
_RESTORED: Final = (Kind.PAGE, Kind.ITEM)
"""Facts about stones. Those about leases and runs have had their effect, and would have it again."""


Pairs = list[tuple[str, bytes | None]]


class Storage(Protocol):
    """Where files are kept by name; names are paths with slashes."""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in order; folders among them. None where there is no such folder."""
        ...

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Keep a file: whole or not at all."""
        ...


class Folder:
    """A folder of this machine as a `Storage`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        place = self._root / folder
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return (self._root / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        """See `Storage`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.replace(path)


class Archived(msgspec.Struct, array_like=True, frozen=True):
    """A record of the raw log as it was; time in milliseconds since 1970."""

    offset: int
    written_ms: int
    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes

    @property
    def fact(self) -> FactHeaders:
        """What the headers say. Raises `Invalid` where they are not ours."""
        return from_headers(self.headers, FactHeaders)


class Kept(NamedTuple):
    """What archiving a partition did: the offsets that are archived now, and how many records were gone before."""

    slot: int
    begin: int
    end: int
    missed: int


_decode: Final = msgspec.msgpack.Decoder(list[Archived]).decode
_SUFFIX: Final = ".zst"


def archive(kafka: KafkaSettings, storage: Storage, topic: str = RAW.name) -> Iterator[Kept]:
    """Archive what the log holds and the storage does not, partition by partition. Blocks.

    Raises:
        Retriable: Kafka does not answer; what was archived stays.
    """
    bounds = Groups(kafka).bounds(topic, list(range(SLOTS)) if topic == RAW.name else [0])
    # The id is base64, whose slash would be a folder.
    root = f"{topic}/{topic_id(admin(kafka), topic).replace('/', '_')}"
    for slot, (low, high) in bounds.items():
        last = max((end for _, end, _ in _files(storage, f"{root}/{slot}")), default=None)
        begin = low if last is None else max(low, last)
        with Range(kafka, topic, slot, begin, high) as raw:
            first = begin
            while records := _some(raw):
                _keep(storage, f"{root}/{slot}", first, raw.position, records)
                first = raw.position
        yield Kept(slot, begin, high, 0 if last is None else max(0, low - last))


def find(storage: Storage, slot: int, offset: int, seq: int, topic: str = RAW.name) -> Archived | None:
    """The record at a place of the log; null where it is not archived.

    Args:
        storage: where to look.
        slot: its partition.
        offset: its offset there, in whichever topic of the name.
        seq: of the fact: offsets of a topic that was created anew begin again.
        topic: the topic's name.
    """
    for made in storage.names(topic):
        for record in _between(storage, f"{topic}/{made}/{slot}", offset, offset + 1):
            if record.fact.seq == seq:
                return record
    return None


def restore(
    kafka: KafkaSettings, storage: Storage, feed: str, start: int, end: int, topic: str = RAW.name
) -> Sequence[Place]:
    """Append a feed's archived pages and items again, from offset `start` up to, not including, `end`; where they stand now.

    They are old facts, which change nothing by themselves: for a replay with a newer mapper, or to be looked at. Each
    tells when it was granted, so that no stone comes back that is gone for a month.

    Raises:
        Invalid: nothing of the kind is archived there.
        Retriable: Kafka did not take all of them.
    """
    if feed not in FEEDS:
        raise Invalid("feed", f"there is no feed {feed!r}", "unknown")
    slot, facts = FEEDS[feed].slot, []
    for made in storage.names(topic):
        for record in _between(storage, f"{topic}/{made}/{slot}", start, end):
            fact = record.fact
            if fact.kind in _RESTORED and fact.feed == feed:
                granted_at = fact.granted_at or record.written_ms
                facts.append((msgspec.structs.replace(fact, granted_at=granted_at), record.value))
    if not facts:
        raise Invalid("from", f"no page of {feed} is archived from {start} to {end}", "unknown")
    return append(kafka, facts, topic)


def _some(raw: Range) -> list[Message]:
    found: list[Message] = []
    while len(found) < _AT_ONCE and (more := raw.next(_AT_ONCE - len(found))):
        found += more
    return found


def _keep(storage: Storage, folder: str, begin: int, end: int, messages: list[Message]) -> None:
    records = [
        Archived(
            message.offset() or 0,
            message.timestamp()[1],
            message.key() or b"",
            [(name, value or b"") for name, value in cast(Pairs, message.headers() or [])],
            message.value() or b"",
        )
        for message in messages
    ]
    packed = bytes(zstd.compress(msgspec.msgpack.encode(records)))
    storage.write(f"{folder}/{begin:020d}-{end:020d}{_SUFFIX}", packed)


def _files(storage: Storage, folder: str) -> list[tuple[int, int, str]]:
    """First and end offset of each file, and its name."""
    names = [name for name in storage.names(folder) if name.endswith(_SUFFIX)]
    spans = [name.removesuffix(_SUFFIX).split("-") for name in names]
    return [(int(first), int(end), name) for (first, end), name in zip(spans, names, strict=True)]


def _between(storage: Storage, folder: str, start: int, end: int) -> Iterator[Archived]:
    for first, last, name in _files(storage, folder):
        if first < end and last > start:
            for record in _decode(bytes(zstd.decompress(storage.read(f"{folder}/{name}")))):
                if start <= record.offset < end:
                    yield record
