"""The monitor's figures at `/metrics`: lag under the names that dashboards know, and what it thinks of each reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from monitor.lag import Group, Look
from monitor.movement import Movement, Status
from runtime.metrics import gauge_family

_LEVELS = {Status.OK: 0, Status.WARN: 1, Status.STALLED: 2}


class LagCollector(Collector):
    """Tells the last look at each scrape; nothing before the first one.

    Args:
        cluster: value of the label `cluster_name`.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._look: Look | None = None
        self._movements: Mapping[str, Movement] = {}

    def show(self, look: Look | None, movements: Mapping[str, Movement]) -> None:
        """Tell this from now on; nothing when Kafka is away, because an old lag is no lag."""
        self._look, self._movements = look, movements

    def collect(self) -> Iterable[Metric]:
        """Every series of the last look. A reader that is gone has none."""
        look = self._look
        if look is None:
            return []
        present = [group for group in look.groups.values() if not group.gone(look.at_ms)]
        return [*self._by_partition(look, present), *self._by_group(look, present), self._ends(look)]

    def _by_partition(self, look: Look, groups: Iterable[Group]) -> Iterable[Metric]:
        offset = gauge_family("kafka_consumergroup_group_offset")
        lag = gauge_family("kafka_consumergroup_group_lag")
        lag_s = gauge_family("kafka_consumergroup_group_lag_seconds")
        uncommitted = gauge_family("adamas_monitor_uncommitted_records")
        still = gauge_family("adamas_monitor_still_seconds")
        for group in groups:
            movement = self._movements.get(group.name)
            for place, part in group.partitions.items():
                labels = (self._cluster, group.name, place.topic, str(place.partition))
                still_s = movement.still_s.get(place, 0.0) if movement else 0.0
                still.add_metric(labels, still_s)
                if part.committed is None:
                    uncommitted.add_metric(labels, part.unread)
                    continue
                offset.add_metric(labels, part.committed)
                lag.add_metric(labels, part.lag or 0)
                if (seconds := part.lag_s(look.at_ms)) is not None:
                    lag_s.add_metric(labels, seconds)
        return (offset, lag, lag_s, uncommitted, still)

    def _by_group(self, look: Look, groups: Iterable[Group]) -> Iterable[Metric]:
        max_lag = gauge_family("kafka_consumergroup_group_max_lag")
        max_lag_s = gauge_family("kafka_consumergroup_group_max_lag_seconds")
        sum_lag = gauge_family("kafka_consumergroup_group_sum_lag")
        members = gauge_family("adamas_monitor_group_members")
        status = gauge_family("adamas_monitor_group_status")
        catches_up = gauge_family("adamas_monitor_group_catches_up_seconds")
        for group in groups:
            labels = (self._cluster, group.name)
            max_lag.add_metric(labels, group.max_lag)
            sum_lag.add_metric(labels, group.sum_lag)
            if (seconds := group.max_lag_s(look.at_ms)) is not None:
                max_lag_s.add_metric(labels, seconds)
            if group.reported_ms is None:
                members.add_metric(labels, group.members)
            if movement := self._movements.get(group.name):
                status.add_metric(labels, _LEVELS.get(movement.status, 0))
                if movement.catches_up_s is not None:
                    catches_up.add_metric(labels, movement.catches_up_s)
        return (max_lag, max_lag_s, sum_lag, members, status, catches_up)

    def _ends(self, look: Look) -> Metric:
        ends = gauge_family("kafka_partition_latest_offset")
        for place, end in look.ends.items():
            ends.add_metric((self._cluster, place.topic, str(place.partition)), end)
        return ends
