"""What a plan's policies are to a simulation.

Owns the translation, and what a simulation cannot show of a plan. Decides no number.
"""

from __future__ import annotations

from gpufleet.planner.plan import DeploymentPlan, LatencyPolicy
from gpufleet.simulation.model import Bounds, Judged, Settings, Step, Stepping, Tracking


def settings_of(plan: DeploymentPlan, name: str, judges: Judged = "response") -> Settings:
    """The fleet that a plan describes, under a name of the caller's. A policy that `left_out` names is not in it."""
    capacity, scaling, timing = plan.capacity, plan.scaling, plan.timing
    return Settings(
        name=name,
        bounds=(Bounds(0.0, capacity.min, capacity.max),),
        desired=capacity.desired,
        replicas_per_instance=plan.replicas_per_instance,
        gpus_per_instance=plan.instance.gpu.count,
        start_seconds=float(timing.load_seconds),
        warmup_seconds=float(timing.instance_warmup_seconds),
        tracking=_tracking(plan),
        stepping=_stepping(scaling.latency) if scaling.latency else None,
        price_usd_per_hour=_price_usd_per_hour(plan),
        gpus_per_replica=plan.gpus_per_replica,
        kv_cache_tokens=plan.memory.kv_cache_tokens or None,
        longest_request_seconds=float(timing.longest_request_seconds),
        judges=judges,
    )


def left_out(plan: DeploymentPlan) -> tuple[str, ...]:
    """What the simulation does without, a sentence each."""
    if plan.scaling.cpu_utilization_percent is None:
        return ()
    return (
        "scaling.cpuUtilization is left out: what a server's CPUs do follows neither from the trace nor from the "
        "replica's speed",
    )


def _tracking(plan: DeploymentPlan) -> tuple[Tracking, ...]:
    scaling = plan.scaling
    targets = {"gpuUtilization": scaling.gpu_utilization_percent}
    return tuple(Tracking(signal, target) for signal, target in targets.items() if target is not None)


def _stepping(policy: LatencyPolicy) -> Stepping:
    return Stepping(
        percentile=policy.percentile,
        target_seconds=policy.target_seconds,
        period_seconds=policy.period_seconds,
        evaluation_periods=policy.evaluation_periods,
        datapoints_to_alarm=policy.datapoints_to_alarm,
        steps=tuple(
            Step(step.lower_bound_seconds, step.upper_bound_seconds, step.adjustment_percent) for step in policy.steps
        ),
    )


def _price_usd_per_hour(plan: DeploymentPlan) -> float | None:
    """Of an instance, as the largest fleet is bought: its on-demand base, and the rest."""
    hourly, instances = plan.cost.hourly.max, plan.capacity.max
    return None if hourly is None or not instances else hourly / instances
