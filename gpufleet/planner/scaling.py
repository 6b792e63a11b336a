"""Which policies move the fleet, with their numbers.

Owns the steps and periods of the latency policy and the names of the metrics. Leaves the targets to the user.
"""

from __future__ import annotations

from gpufleet.planner.plan import Capacity, LatencyPolicy, LatencyStep, ScalingPolicies
from gpufleet.planner.requirements import Latency, Requirements

METRIC_NAMESPACE = "GpuFleet"
"""Where the CloudWatch agent publishes the GPUs' metrics."""

PERIOD_SECONDS = 60
EVALUATION_PERIODS = 3
"""Three slow minutes in a row: a single burst does not start an instance that takes longer to load than the burst lasts."""

STEPS_BY_EXCESS = ((0.0, 0.5, 20), (0.5, 1.0, 50), (1.0, None, 100))
"""(from, to, per cent of the group added): the excess over the target, as a multiple of the target."""


def plan_scaling(requirements: Requirements) -> ScalingPolicies:
    """The policies that the user asked for."""
    scaling = requirements.scaling
    return ScalingPolicies(
        metric_namespace=METRIC_NAMESPACE,
        gpu_utilization_percent=scaling.gpu_utilization_percent,
        cpu_utilization_percent=scaling.cpu_utilization_percent,
        latency=_latency_policy(scaling.latency) if scaling.latency else None,
    )


def _latency_policy(latency: Latency) -> LatencyPolicy:
    target = latency.target_seconds
    return LatencyPolicy(
        percentile=latency.percentile,
        target_seconds=target,
        period_seconds=PERIOD_SECONDS,
        evaluation_periods=EVALUATION_PERIODS,
        datapoints_to_alarm=EVALUATION_PERIODS,
        steps=tuple(
            LatencyStep(
                lower_bound_seconds=round(low * target, 6),
                upper_bound_seconds=None if high is None else round(high * target, 6),
                adjustment_percent=percent,
            )
            for low, high, percent in STEPS_BY_EXCESS
        ),
    )


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
