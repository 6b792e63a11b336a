"""What a plan's policies are to a simulation.

Owns the translation, and what a simulation cannot show of a plan. Decides no number.
"""

from __future__ import annotations

from gpufleet.planner.plan import DeploymentPlan, LatencyPolicy, WaitingPolicy
from gpufleet.planner.requirements import TARGETS
from gpufleet.planner.scaling import key_of
from gpufleet.simulation.model import Bounds, Judged, Settings, Step, Stepping, Tracking
from gpufleet.simulation.policies import within
from gpufleet.simulation.schedules import Window, scheduled_bounds
from gpufleet.simulation.signals import SIGNALS


def settings_of(plan: DeploymentPlan, name: str, judges: Judged = "response", window: Window | None = None) -> Settings:
    """The fleet that a plan describes, under a name of the caller's. What `left_out` names is not in it.

    `window` is the time that the trace is of; None: nobody said.
    """
    capacity, scaling, timing = plan.capacity, plan.scaling, plan.timing
    always = Bounds(0.0, capacity.min, capacity.max)
    bounds = scheduled_bounds(scaling.schedules, always, window) if window and scaling.schedules else (always,)
    return Settings(
        name=name,
        bounds=bounds,
        desired=within(bounds[0], capacity.desired),
        replicas_per_instance=plan.replicas_per_instance,
        gpus_per_instance=plan.instance.gpu.count,
        start_seconds=float(timing.load_seconds),
        warmup_seconds=float(timing.instance_warmup_seconds),
        tracking=_tracking(plan),
        stepping=_slow(scaling.latency) if scaling.latency else None,
        price_usd_per_hour=_price_usd_per_hour(plan),
        waiting=_waiting(scaling.waiting_requests) if scaling.waiting_requests else None,
        gpus_per_replica=plan.gpus_per_replica,
        kv_cache_tokens=plan.memory.kv_cache_tokens or None,
        longest_request_seconds=float(timing.longest_request_seconds),
        judges=judges,
    )


def left_out(plan: DeploymentPlan, window: Window | None = None) -> tuple[str, ...]:
    """What the simulation does without, a sentence each."""
    sentences = []
    if plan.scaling.cpu_utilization_percent is not None:
        sentences.append(
            "scaling.cpuUtilization is left out: what a server's CPUs do follows neither from the trace nor from the "
            "replica's speed"
        )
    if plan.scaling.schedules and window is None:
        sentences.append("scaling.schedules are left out: when the trace starts is not known")
    return tuple(sentences)


def _tracking(plan: DeploymentPlan) -> tuple[Tracking, ...]:
    targets = {key_of(field): getattr(plan.scaling, field) for field in TARGETS}
    return tuple(
        Tracking(signal, target) for signal, target in targets.items() if target is not None and signal in SIGNALS
    )


def _slow(policy: LatencyPolicy) -> Stepping:
    return Stepping(
        percentile=policy.percentile,
        target_seconds=policy.target_seconds,
        period_seconds=policy.period_seconds,
        evaluation_periods=policy.evaluation_periods,
        datapoints_to_alarm=policy.datapoints_to_alarm,
        steps=tuple(Step(s.lower_bound_seconds, s.upper_bound_seconds, s.adjustment_percent) for s in policy.steps),
        min_requests=policy.min_requests,
    )


def _waiting(policy: WaitingPolicy) -> Stepping:
    return Stepping(
        percentile="",
        target_seconds=policy.threshold_requests,
        period_seconds=policy.period_seconds,
        evaluation_periods=policy.evaluation_periods,
        datapoints_to_alarm=policy.datapoints_to_alarm,
        steps=tuple(Step(s.lower_bound_requests, s.upper_bound_requests, s.adjustment_percent) for s in policy.steps),
        signal="waitingRequests",
    )


def _price_usd_per_hour(plan: DeploymentPlan) -> float | None:
    """Of an instance, as the largest fleet is bought: its on-demand base, and the rest."""
    hourly, instances = plan.cost.hourly.max, plan.capacity.max
    return None if hourly is None or not instances else hourly / instances
