"""What state the data is in, ready to be told with every answer: its version and its age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from api.index import as_of
from runtime.metrics import gauge

POSITION: Final = gauge("adamas_api_position_timestamp_seconds")

_VERSION_BYTES: Final = 9


class Freshness:
    """Version and age of what is searched. Changed by whoever applies batches, in the serving thread.

    Args:
        feeds: the feeds that must all have a position before the data has an age.

    Attributes:
        version: text that changes with every change that an answer could show; two replicas with the same version
            answer the same.
        as_of_ms: until when (epoch ms) all vendors' changes are in; None while a feed was never read through.
        as_of: the same, RFC 3339.
    """

    def __init__(self, feeds: Sequence[str]) -> None:
        self._feeds = tuple(feeds)
        self.version = "0"
        self.as_of_ms: int | None = None
        self.as_of: str | None = None
        self._positions: dict[str, int] = {}

    def note(self, version: str, positions: Mapping[str, int]) -> None:
        """Say which state the data is in from now on."""
        self.version = version
        if positions == self._positions:
            return
        self._positions = dict(positions)
        for feed, position_ms in positions.items():
            POSITION.labels(feed).set(position_ms / 1000)
        at_ms = as_of(positions, self._feeds)
        if at_ms != self.as_of_ms:
            self.as_of_ms, self.as_of = at_ms, None if at_ms is None else rfc3339(at_ms)


def version_of(*parts: object) -> str:
    """A short text for a state: equal parts, equal text."""
    return blake2b(repr(parts).encode(), digest_size=_VERSION_BYTES).hexdigest()


def rfc3339(epoch_ms: int) -> str:
    """A time with milliseconds, in UTC."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
