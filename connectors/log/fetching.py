"""Batches of a topic as its brokers hold them: the client that Faust uses too, asked for bytes instead of messages."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from aiokafka import errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from connectors.log.records import Batch, batches
from runtime.settings import KafkaSettings
from schemas.errors import Fatal, Retriable

LATEST: Final = -1
EARLIEST: Final = -2

_ANY_BROKER: Final = -1
_UNCOMMITTED_TOO: Final = 0
_REQUEST_TIMEOUT_MS: Final = 15_000
_PASSING: Final = (errors.UnknownError, errors.BrokerNotAvailableError, errors.ReplicaNotAvailableError)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch gave of one partition.

    Attributes:
        batches: from the one with the offset that was asked for on; none at the end of the log.
        end: the offset behind the partition's last record; None where the offset asked for is not in the log.
    """

    batches: list[Batch]
    end: int | None


class Log:
    """A topic's partitions, for one event loop.

    Args:
        kafka: where Kafka is.
        topic: the topic's name.
    """

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        self._topic = topic
        self._client: Any = AIOKafkaClient(  # type: ignore[no-untyped-call]
            bootstrap_servers=kafka.bootstrap.split(","), request_timeout_ms=_REQUEST_TIMEOUT_MS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.close()

    async def slots(self) -> frozenset[int]:
        """The topic's partitions.

        Raises:
            Retriable: Kafka is away, or the topic.
        """
        try:
            if not self._client.cluster.brokers():
                await self._client.bootstrap()
            await self._client.force_metadata_update()
        except (errors.KafkaError, OSError, TimeoutError) as error:
            raise Retriable(f"Kafka does not answer: {error}") from error
        found = self._client.cluster.partitions_for_topic(self._topic)
        if not found:
            raise Retriable(f"there is no topic {self._topic}")
        return frozenset(found)

    async def offsets(self, slots: frozenset[int], which: int) -> dict[int, int]:
        """The offsets of these partitions that are `EARLIEST` or `LATEST`. Raises as `fetch` does."""
        by_broker = self._by_broker(dict.fromkeys(slots, which))
        found = {}
        for broker, asked in by_broker.items():
            request = OffsetRequest(_ANY_BROKER, _UNCOMMITTED_TOO, [(self._topic, list(asked.items()))])
            for slot, code, _, offset in (await self._send(broker, request)).topics[0][1]:
                self._look_at(code)
                found[slot] = offset
        return found

    async def fetch(
        self, wanted: Mapping[int, int], *, most_bytes: int, least_bytes: int = 1, within_s: float = 0.0
    ) -> dict[int, Fetched]:
        """What partitions hold from these offsets on; of those that answer first, if they are with several brokers.

        Args:
            wanted: offset by partition.
            most_bytes: of one broker's answer; one batch comes whatever its size.
            least_bytes: what a broker waits for.
            within_s: how long it does.

        Raises:
            Retriable: Kafka is away.
            Fatal: it refuses to answer.
        """
        asked = [
            asyncio.create_task(
                self._fetch_from(broker, offsets, most_bytes, least_bytes, int(1000 * within_s))
            )
            for broker, offsets in self._by_broker(wanted).items()
        ]
        try:
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            return {slot: fetched for task in done for slot, fetched in task.result().items()}
        finally:
            for task in asked:
                task.cancel()

    async def _fetch_from(
        self, broker: int, offsets: Mapping[int, int], most_bytes: int, least_bytes: int, within_ms: int
    ) -> dict[int, Fetched]:
        places = [(slot, offset, most_bytes) for slot, offset in offsets.items()]
        request = FetchRequest(within_ms, least_bytes, most_bytes, _UNCOMMITTED_TOO, [(self._topic, places)])
        answer = await self._send(broker, request)
        found = {}
        for slot, code, end, *_, fetched in answer.topics[0][1] if answer.topics else ():
            if code == errors.OffsetOutOfRangeError.errno:
                found[slot] = Fetched([], None)
                continue
            self._look_at(code)
            found[slot] = Fetched(batches(slot, fetched or b""), end)
        return found

    def _by_broker(self, wanted: Mapping[int, int]) -> dict[int, dict[int, int]]:
        by_broker: dict[int, dict[int, int]] = defaultdict(dict)
        for slot, offset in wanted.items():
            broker = self._client.cluster.leader_for_partition(TopicPartition(self._topic, slot))
            if broker is None or broker < 0:
                self._client.force_metadata_update()
                raise Retriable(f"partition {slot} of {self._topic} has no leader")
            by_broker[broker][slot] = offset
        return by_broker

    async def _send(self, broker: int, request: Any) -> Any:
        try:
            return await self._client.send(broker, request)
        except (errors.KafkaError, OSError, TimeoutError) as error:
            raise Retriable(f"Kafka does not answer: {error}") from error

    def _look_at(self, code: int) -> None:
        """Raises what an error code says: `Retriable` or `Fatal`."""
        error = errors.for_code(code)
        if error is errors.NoError:
            return
        if error.retriable or error in _PASSING:
            self._client.force_metadata_update()
            raise Retriable(f"Kafka does not answer: {error.__name__}")
        raise Fatal(f"reading {self._topic}: {error.__name__}")


class Cursor:
    """Goes forwards through partitions of a log.

    Args:
        log: where they are.
        positions: by partition the first offset to read.

    Attributes:
        positions: by partition the next offset to read.
        ends: by partition the offset behind its last record, as last heard.
    """

    def __init__(self, log: Log, positions: Mapping[int, int]) -> None:
        self._log = log
        self.positions = dict(positions)
        self.ends: dict[int, int] = {}

    async def read_on(
        self, *, most_bytes: int, least_bytes: int = 1, within_s: float, without: Collection[int] = ()
    ) -> list[Batch]:
        """The next batches, each partition's in order; a partition whose offset is not in the log goes on at its beginning.

        Takes and raises what `Log.fetch` does; where it raises, no position has moved. Some partitions may be left out.
        """
        some, positions = list[Batch](), self.positions.copy()
        wanted = {slot: offset for slot, offset in positions.items() if slot not in without}
        fetched = await self._log.fetch(
            wanted, most_bytes=most_bytes, least_bytes=least_bytes, within_s=within_s
        )
        for slot, found in fetched.items():
            if not found.batches and found.end is not None and found.end > positions[slot]:
                # Others' batches left it no room in the answer; alone it has some, whatever their size.
                found = (await self._log.fetch({slot: positions[slot]}, most_bytes=most_bytes))[slot]
            if found.batches:
                some += found.batches
                positions[slot] = found.batches[-1].behind
            elif found.end is None:
                positions[slot] = (await self._log.offsets(frozenset([slot]), EARLIEST))[slot]
            else:
                # Compaction may have taken the last records before the end.
                positions[slot] = max(found.end, positions[slot])
            if found.end is not None:
                self.ends[slot] = found.end
        self.positions = positions
        return some
