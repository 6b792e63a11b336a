"""What CloudWatch has of a fleet, minute by minute.

Owns each signal's definition. Leaves the queues to `replica`, and what follows from a signal to the policies.

An average is over the instances whose warm-up is over (EC2 Auto Scaling User Guide, "Set the default instance warmup"), over
all in service while none is. GPU utilisation is not: the agent of a loading instance publishes its idle GPUs under the group's
name from boot on, and CloudWatch cannot tell them apart. CPU utilisation is not simulated: what a server's CPUs do follows
from no number that is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gpufleet.simulation.fleet import Fleet
from gpufleet.simulation.model import Settings
from gpufleet.simulation.replica import Replicas

DELAY_PERIODS = 1
"""A datapoint arrives about a minute after the minute that it is of."""


class Minute(NamedTuple):
    """What happened in a minute, beside what the fleet looks like at its end."""

    requests: float
    busy_share: float
    """Mean share of replicas that run a request, over the minute."""


def gpu_busy_share(fleet: Fleet, settings: Settings) -> float | None:
    """Share of the group's GPUs that compute, those of loading instances and those that no replica uses included."""
    instances = fleet.in_service + fleet.starting
    if not instances:
        return None
    gpus = sum(group.busy_share * group.count for group in fleet.groups) * settings.gpus_per_replica
    return gpus / (instances * settings.gpus_per_instance)


def _per_replica(value: Callable[[Replicas], float], groups: Sequence[Replicas]) -> float | None:
    count = sum(group.count for group in groups)
    return sum(value(group) for group in groups) / count if count else None


def measure(fleet: Fleet, settings: Settings, minute: Minute) -> Mapping[str, float | None]:
    """The signals of the minute that ends: duty cycle and arrivals over it, the server's own numbers at its last second."""
    groups = fleet.warm_groups() or fleet.groups
    held = _per_replica(lambda group: group.tokens, groups)
    tokens = settings.kv_cache_tokens
    return {
        "gpuUtilization": 100 * minute.busy_share if fleet.in_service else None,
        "requestsPerTarget": minute.requests / fleet.in_service if fleet.in_service else None,
        "requestsInFlight": _per_replica(lambda group: group.waiting + group.running, groups),
        "waitingRequests": _per_replica(lambda group: group.waiting, groups),
        "kvCacheUtilization": min(100.0, 100 * held / tokens) if tokens and held is not None else None,
    }


SIGNALS = ("gpuUtilization", "requestsPerTarget", "requestsInFlight", "waitingRequests", "kvCacheUtilization")
"""Those that can be simulated, beside the latency."""
