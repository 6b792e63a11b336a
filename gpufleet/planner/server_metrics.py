"""What a server says of its own load, and how it appears in CloudWatch: the names that alarms and policies may use.

Owns the table. Instances publish it once a minute (templates/metrics.sh.j2): namespace `plan.scaling.metric_namespace`,
one dimension, `AutoScalingGroupName` (`naming.GROUP_DIMENSION`), and one value for each replica. Over a group the
statistic Average is therefore that of a replica, Sum the whole group's and Maximum the fullest replica's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class ServerMetric(NamedTuple):
    """A metric of CloudWatch and the Prometheus series behind it.

    A server has a series for each of its engines (data parallelism); `over_series` is what makes one value of them,
    `factor` what brings it to the unit.
    """

    name: str
    unit: Literal["Count", "Percent"]
    series: tuple[str, ...]
    """Those that make it up, or the names that it has in one version of the server or another."""
    over_series: Literal["sum", "max"]
    factor: int = 1


WAITING_REQUESTS = ServerMetric(
    name="WaitingRequests", unit="Count", series=("vllm:num_requests_waiting",), over_series="sum"
)
RUNNING_REQUESTS = ServerMetric(
    name="RunningRequests", unit="Count", series=("vllm:num_requests_running",), over_series="sum"
)
REQUESTS_IN_FLIGHT = ServerMetric(
    name="RequestsInFlight",
    unit="Count",
    series=("vllm:num_requests_running", "vllm:num_requests_waiting"),
    over_series="sum",
)
KV_CACHE_USE = ServerMetric(
    name="KvCacheUse",
    unit="Percent",
    series=("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    over_series="max",
    factor=100,
)

SERVER_METRICS: dict[str, tuple[ServerMetric, ...]] = {
    "vllm": (WAITING_REQUESTS, RUNNING_REQUESTS, REQUESTS_IN_FLIGHT, KV_CACHE_USE)
}
"""By the engine's name. A server of the user's own says nothing that is known."""


def server_metrics(engine: str) -> tuple[ServerMetric, ...]:
    """What servers of an engine publish; empty where nothing is known of it."""
    return SERVER_METRICS.get(engine, ())
