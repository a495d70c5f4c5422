"""What a running stack says about itself: figures from its processes' `/metrics`, and rates over the last seconds.

A figure is None while its process does not answer or does not know it yet.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from adamas.stack import Member

TIMEOUT_S: Final = 0.8
RATE_OVER_S: Final = 5.0

SWEPT: Final = "adamas_ingest_swept_stones"
EXPECTED: Final = "adamas_ingest_expected_stones"
FETCHED: Final = "adamas_ingest_stones_total"
BUDGET_USED: Final = "adamas_budget_used_ratio"
PRICED: Final = "adamas_process_known_stones"
SEARCHABLE: Final = "adamas_api_stones"
LAG: Final = "adamas_sink_lag_records"


@dataclass(frozen=True)
class Reading:
    """One moment of a stack.

    Attributes:
        fetched: stones of the last full sweep, never more than the vendor counted for it.
        expected: what the vendor counted; None until all sweeps under way have been counted.
        priced: stones in stock with a price, made now or before.
        searchable: stones the slowest API replica holds.
        lag: records of the canonical topic that are not in Postgres yet.
        budget_used: share of the vendor's budget in use, 0 to 1.
        fetched_per_s: items of pages of every kind of run, over the last seconds.
    """

    fetched: int | None
    expected: int | None
    priced: int | None
    searchable: int | None
    lag: int | None
    budget_used: float | None
    fetched_per_s: float | None

    @property
    def eta_s(self) -> float | None:
        """Seconds until everything expected is fetched; None when it is, nothing moves or nothing is known."""
        left = (self.expected or 0) - (self.fetched or 0)
        return left / self.fetched_per_s if left > 0 and self.fetched_per_s else None


class Gauges:
    """Reads the members of a stack; keeps the last seconds for rates."""

    def __init__(self, members: Iterable[Member], clock: Callable[[], float] = time.monotonic) -> None:
        self._members = list(members)
        self._client = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
        self._clock = clock
        self._history: deque[tuple[float, int]] = deque()

    def read(self) -> Reading:
        """Ask every member once, at most 0.8 s each."""
        samples = [(member.command, self._samples(member)) for member in self._members]
        swept, expected = _known(SWEPT, samples, "ingest"), _known(EXPECTED, samples, "ingest")
        searchable = _known(SEARCHABLE, samples, "api")
        return Reading(
            # While it is read the vendor's stock moves: a stone that came to a later page is swept twice.
            fetched=min([*swept, *expected]) if swept else None,
            expected=max(expected, default=None),
            # Every worker knows every stone, and tells once a second; what can be found already has its price.
            priced=max([*_known(PRICED, samples, "process"), *searchable], default=None),
            searchable=min(searchable, default=None),
            lag=max(_known(LAG, samples, "sink"), default=None),
            budget_used=next(
                (s[BUDGET_USED] for c, s in samples if c == "ingest" and BUDGET_USED in s), None
            ),
            fetched_per_s=self._rate(max(_known(FETCHED, samples, "ingest"), default=None)),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _samples(self, member: Member) -> Mapping[str, float]:
        try:
            reply = self._client.get(f"http://127.0.0.1:{member.port}/metrics")
        except httpx.HTTPError:
            return {}
        return parse(reply.text) if reply.status_code == httpx.codes.OK else {}

    def _rate(self, fetched: int | None) -> float | None:
        if fetched is None:
            return None
        now = self._clock()
        self._history.append((now, fetched))
        while now - self._history[0][0] > RATE_OVER_S:
            self._history.popleft()
        since, before = self._history[0]
        return (fetched - before) / (now - since) if now > since else None


def parse(text: str) -> dict[str, float]:
    """Prometheus text to sample name and value, summed over labels."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    return sums


def _known(name: str, samples: Iterable[tuple[str, Mapping[str, float]]], command: str) -> list[int]:
    """What those members say that run the command, know the figure and answer."""
    found = [values[name] for owner, values in samples if owner == command and name in values]
    return [int(value) for value in found if not math.isnan(value)]
