"""Which policies move the fleet, with their numbers.

Owns the default targets, the steps and periods of the policies that only add, and what contradicts what. Leaves the names
of the metrics to `signals`, and the keys of a schedule to `scaling_keys`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gpufleet.planner.errors import Problem
from gpufleet.planner.plan import (
    Capacity,
    LatencyPolicy,
    LatencyStep,
    ScalingPolicies,
    ScheduledCapacity,
    WaitingPolicy,
    WaitingStep,
)
from gpufleet.planner.requirements import TARGETS, Latency, Requirements, Scaling
from gpufleet.planner.server_metrics import server_metrics
from gpufleet.planner.sizing import ReplicaSize

METRIC_NAMESPACE = "GpuFleet"
"""Where the instances publish what they measure."""

GPU_UTILIZATION_PERCENT = 70.0
"""Of a server of which nothing else is known."""

IN_FLIGHT_SHARE = 0.6
"""Of the sequences that a replica takes at once: the rest is for what comes while an instance starts. From replays of five
traces (docs/scaling.md): of 0.5 to 0.75 the highest that kept 99% of the requests of most of them within 5 s."""

KV_CACHE_UTILIZATION_PERCENT = 50.0
"""A full cache preempts what it has begun, and long prompts wait for each other long before it is full: of 35, 50, 60 and 75
the highest that kept the trace of long prompts (docs/scaling.md)."""

PERIOD_SECONDS = 60
EVALUATION_PERIODS = 3
"""Three minutes in a row: a single burst does not start an instance that takes longer to load than the burst lasts."""

LATENCY_STEPS = ((0.0, 20), (0.5, 50), (1.0, 100))
"""(from, per cent of the group added): the excess over the target, as a multiple of the target."""

WAITING_STEPS = ((0.0, 20), (1.0, 50), (3.0, 100))
"""The same, of the requests that wait."""

_OF_SERVERS = ("requests_in_flight", "kv_cache_utilization_percent", "waiting_requests")
"""Fields of `Scaling` whose signal is a server's own."""


def scaling_problems(requirements: Requirements, engine: str) -> list[Problem]:
    """What the signals contradict: each other, or the server, which is the engine's."""
    return [*_unknown_signals(requirements, engine), *_nothing_moves(requirements, engine)]


def cache_problems(requirements: Requirements, size: ReplicaSize) -> list[Problem]:
    """Whether the use of a cache is to be held where the model keeps none."""
    given = requirements.scaling.kv_cache_utilization_percent
    if given is None or size.memory is None or size.memory.kv_bytes_per_token > 0:
        return []
    return [
        Problem(
            path="scaling.kvCacheUtilization",
            message="the model keeps no KV cache, so that nothing would ever tell its use",
            given=f"{given:g}",
            allowed="off",
            next_step="use requestsInFlight",
        )
    ]


def scheduled(requirements: Requirements) -> tuple[ScheduledCapacity, ...]:
    """The schedules; a RequirementError with every problem in them."""
    if not requirements.scaling.schedules:
        return ()
    from gpufleet.planner.scaling_keys import scheduled_capacity

    return scheduled_capacity(requirements)


def plan_scaling(requirements: Requirements, engine: str, max_num_seqs: int, *, has_cache: bool) -> ScalingPolicies:
    """The policies: what the user asked for, and default targets where that names none.

    `max_num_seqs` is what a replica of the engine takes at once, and `has_cache` whether it keeps a KV cache.
    """
    scaling = requirements.scaling
    given = {name: target for name, target in scaling.targets.items() if target is not None}
    defaults = _default_targets(requirements, engine, max_num_seqs, has_cache=has_cache)
    return ScalingPolicies(
        metric_namespace=METRIC_NAMESPACE,
        **(given or defaults),
        waiting_requests=_waiting_policy(scaling.waiting_requests) if scaling.waiting_requests else None,
        latency=_latency_policy(scaling.latency) if scaling.latency else None,
        schedules=scheduled(requirements),
    )


def _default_targets(
    requirements: Requirements, engine: str, max_num_seqs: int, *, has_cache: bool
) -> dict[str, float]:
    """Of a server that tells its load, that; else what its GPUs do. What the user switched off stays off."""
    targets = {"gpu_utilization_percent": GPU_UTILIZATION_PERCENT}
    if server_metrics(engine):
        targets = {"requests_in_flight": max(1.0, math.floor(IN_FLIGHT_SHARE * max_num_seqs))}
        if has_cache:
            targets["kv_cache_utilization_percent"] = KV_CACHE_UTILIZATION_PERCENT
    return {name: target for name, target in targets.items() if name not in requirements.scaling.model_fields_set}


def _unknown_signals(requirements: Requirements, engine: str) -> Iterator[Problem]:
    if server_metrics(engine):
        return
    for field in _OF_SERVERS:
        if (given := getattr(requirements.scaling, field)) is not None:
            yield Problem(
                path=f"scaling.{key_of(field)}",
                message=f"no server says it: {engine} is your own image, of which no metric is known",
                given=f"{given:g}",
                allowed="off",
                next_step="use gpuUtilization, requestsPerTarget or latency",
            )


def _nothing_moves(requirements: Requirements, engine: str) -> Iterator[Problem]:
    """Whether nothing would ever remove an instance: what only adds ends at the maximum, and is paid for."""
    scaling = requirements.scaling
    if any(target is not None for target in scaling.targets.values()):
        return
    if _default_targets(requirements, engine, 1, has_cache=True):
        return
    adds = next(
        (key for key, on in (("latency", scaling.latency), ("waitingRequests", scaling.waiting_requests)) if on), ""
    )
    if adds:
        yield Problem(
            path=f"scaling.{adds}",
            message=f"no target is left, and {adds} only adds capacity: nothing would remove it",
            allowed=f"with one of {_keys(TARGETS)}",
            next_step=f"remove scaling.{_first_off(requirements)}, or set it to a target",
        )
    elif scaling.min != scaling.max and not scaling.schedules:
        yield Problem(
            path=f"scaling.{_first_off(requirements)}",
            message=f"no signal is left: nothing would move the fleet between {scaling.min} and {scaling.max}",
            given="off",
            allowed="a target, a schedule, or a fleet of one size",
            next_step=f"set one of {_keys(TARGETS)}, or scaling.schedules, or scaling.max to {scaling.min}",
        )


def _first_off(requirements: Requirements) -> str:
    return key_of(next(name for name in TARGETS if name in requirements.scaling.model_fields_set))


def _keys(names: tuple[str, ...]) -> str:
    return ", ".join(map(key_of, names))


def key_of(field: str) -> str:
    """The key that a stack file has for a field of `Scaling`."""
    return Scaling.model_fields[field].alias or field


def _waiting_policy(threshold: float) -> WaitingPolicy:
    return WaitingPolicy(
        threshold_requests=threshold,
        period_seconds=PERIOD_SECONDS,
        evaluation_periods=EVALUATION_PERIODS,
        datapoints_to_alarm=EVALUATION_PERIODS,
        steps=tuple(
            WaitingStep(lower_bound_requests=low, upper_bound_requests=high, adjustment_percent=percent)
            for low, high, percent in _steps(tuple((excess * threshold, percent) for excess, percent in WAITING_STEPS))
        ),
    )


def _latency_policy(latency: Latency) -> LatencyPolicy:
    target = latency.target_seconds
    steps = tuple((step.above_seconds, step.add_percent) for step in latency.steps)
    return LatencyPolicy(
        percentile=latency.percentile,
        target_seconds=target,
        period_seconds=PERIOD_SECONDS,
        evaluation_periods=latency.evaluation_periods,
        datapoints_to_alarm=latency.datapoints_to_alarm or latency.evaluation_periods,
        steps=tuple(
            LatencyStep(lower_bound_seconds=low, upper_bound_seconds=high, adjustment_percent=percent)
            for low, high, percent in _steps(
                steps or tuple((excess * target, percent) for excess, percent in LATENCY_STEPS)
            )
        ),
        min_requests=latency.min_requests or _samples(latency.percentile),
    )


def _steps(steps: tuple[tuple[float, int], ...]) -> Iterator[tuple[float, float | None, int]]:
    """(from, to, per cent) of each: one ends where the next begins, and the last has no end."""
    ends = [round(low, 6) for low, _ in steps[1:]]
    for (low, percent), high in zip(steps, (*ends, None), strict=True):
        yield round(low, 6), high, percent


def _samples(percentile: str) -> int:
    """Requests of which one lies above the percentile."""
    return round(100 / (100 - float(percentile[1:])))


def plan_capacity(requirements: Requirements) -> Capacity:
    """The sizes of the fleet, with their defaults."""
    scaling, instance = requirements.scaling, requirements.instance
    return Capacity(
        min=scaling.min,
        desired=scaling.min if scaling.desired is None else scaling.desired,
        max=scaling.max,
        on_demand_base=instance.on_demand_base,
        spot_percentage=instance.spot_percentage,
        reservation_ids=tuple(r for r in instance.capacity_reservations if not r.startswith("arn:")),
        reservation_group_arns=tuple(r for r in instance.capacity_reservations if r.startswith("arn:")),
    )
