"""Writes facts to the raw log as ingest does, without a vendor to ask: lease, pages, completion."""

from __future__ import annotations

import time
from typing import Final, cast

from runtime.kafka import producer
from runtime.settings import KafkaSettings
from schemas.errors import Retriable
from schemas.facts import Complete, FactHeaders, Kind, Lease, RunKind, fact_key
from schemas.feeds import FEEDS
from schemas.headers import to_headers
from schemas.seq import make_seq
from schemas.stone import encode
from schemas.topics import RAW

EPOCH: Final = 1


class RawWriter:
    """Grants itself a `seq` a fact, in the order of writing.

    Attributes:
        written: facts written so far.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._producer = producer(kafka, compression_type="zstd", linger_ms=50)
        self.written = 0
        for feed in FEEDS:
            lease = Lease(epoch=EPOCH, holder="drill", granted_at=_now_ms())
            self._write(feed, Kind.LEASE, encode(lease))

    def page(self, feed: str, run: str, page: int, body: bytes) -> None:
        """Append one page."""
        self._write(feed, Kind.PAGE, body, run, page)

    def complete(self, feed: str, run: str, pages: int, rows: int) -> None:
        """Append the end of a run."""
        done = Complete(run=run, feed=feed, kind=RunKind.FULL, watermark=_now_ms(), pages=pages, rows=rows)
        self._write(feed, Kind.COMPLETE, encode(done), run)

    def flush(self) -> None:
        """Wait until everything written has been delivered.

        Raises:
            Retriable: something was not, within 30 s.
        """
        left = self._producer.flush(30)
        if left:
            raise Retriable(f"{left} facts were not delivered in 30 s")

    def _write(
        self, feed: str, kind: Kind, value: bytes, run: str | None = None, page: int | None = None
    ) -> None:
        partition = None if page is None else 0
        self.written += 1
        headers = FactHeaders(
            kind=kind,
            feed=feed,
            epoch=EPOCH,
            seq=make_seq(EPOCH, self.written),
            run=run,
            partition=partition,
            page=page,
        )
        self._producer.produce(
            RAW.name,
            key=fact_key(feed, run, partition),
            value=value,
            headers=cast(list[tuple[str, str | bytes | None]], to_headers(headers)),
            partition=FEEDS[feed].slot,
        )
        self._producer.poll(0)


def _now_ms() -> int:
    return int(time.time() * 1000)
