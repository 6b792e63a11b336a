"""What several policies make of a minute: the next desired capacity, and why.

Owns how they are resolved, from the EC2 Auto Scaling User Guide, "Dynamic scaling" and "Set the default instance warmup".
Leaves each policy's own rule to `tracking` and `stepping`, and the instances to `fleet`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpufleet.simulation import stepping, tracking
from gpufleet.simulation.model import Bounds, Settings, Stepping, Tracking

Datapoints = Mapping[str, Sequence[float | None]]
"""By signal, a minute each, the latest one last."""


class Group(NamedTuple):
    """What the policies know of the group."""

    desired: int
    warm: int
    """In service, its warm-up over: the current capacity while it scales out. So a second breach adds only the difference."""
    in_service: int
    launching: int
    """Starting or warming up: a scale-out is in progress, and scale-in waits for its end."""
    capacities: Sequence[int]
    """In service in each minute that there is a datapoint of; terminating ones count as capacity while it scales in."""


class Decision(NamedTuple):
    """A new desired capacity, of the policy that it is."""

    policy: str
    capacity: int
    reason: str


class Verdict(NamedTuple):
    """The alarms that are in ALARM, and what follows; None: nothing."""

    alarms: tuple[str, ...]
    decision: Decision | None


def within(bounds: Bounds, capacity: int) -> int:
    """No policy leads out of the bounds."""
    return max(bounds.min, min(bounds.max, capacity))


def decide(settings: Settings, bounds: Bounds, group: Group, datapoints: Datapoints) -> Verdict:
    """Scale out if any policy wants to, to the largest capacity; scale in if all that may do so agree, to the largest again."""
    states = {p.signal: tracking.states(p, datapoints[p.signal]) for p in settings.tracking}
    alarms = [f"{signal} high" for signal, (high, _) in states.items() if high == "ALARM"]
    wanted = [
        _tracked(p.signal, group.warm or group.in_service, _latest(datapoints[p.signal]), p.target)
        for p in settings.tracking
        if states[p.signal][0] == "ALARM"
    ]
    for policy in (settings.stepping, settings.waiting):
        if policy and stepping.state(policy, datapoints[policy.signal]) == "ALARM":
            alarms.append(policy.signal)
            wanted += _stepped(policy, group.warm or group.in_service, _latest(datapoints[policy.signal]))
    lower = [p for p in settings.tracking if p.scales_in]
    alarms += [f"{p.signal} low" for p in lower if states[p.signal][1] == "ALARM"]
    out = _largest(wanted)
    if out and within(bounds, out.capacity) > group.desired:
        return Verdict(tuple(alarms), out._replace(capacity=within(bounds, out.capacity)))
    if lower and not wanted and not group.launching and all(states[p.signal][1] == "ALARM" for p in lower):
        into = _largest([_kept(p, group, datapoints[p.signal]) for p in lower])
        if into and within(bounds, into.capacity) < group.desired:
            return Verdict(tuple(alarms), into._replace(capacity=within(bounds, into.capacity)))
    return Verdict(tuple(alarms), None)


def _largest(decisions: Sequence[Decision]) -> Decision | None:
    return max(decisions, key=lambda decision: decision.capacity, default=None)


def _latest(values: Sequence[float | None]) -> float:
    """The newest there is; an alarm that is in ALARM has one."""
    return next(value for value in reversed(values) if value is not None)


def _tracked(signal: str, current: int, value: float, target: float) -> Decision:
    capacity = tracking.capacity_for(current, value, target)
    return Decision(
        signal, capacity, f"{signal} {value:.4g} for a target of {target:g}: {current} instances become {capacity}"
    )


def _kept(policy: Tracking, group: Group, values: Sequence[float | None]) -> Decision:
    capacity = tracking.capacity_to_keep(group.capacities, values, policy.target)
    minutes = tracking.LOW.evaluation_periods
    reason = (
        f"{policy.signal} below {policy.target * tracking.LOW_SHARE:g} for {minutes} minutes: {capacity} instances do"
    )
    return Decision(policy.signal, capacity, reason)


def _stepped(policy: Stepping, current: int, value: float) -> list[Decision]:
    step = stepping.step_for(policy, value)
    if step is None:
        return []
    more = stepping.change_for(current, step.percent)
    reason = f"{policy.percentile or policy.signal} {value:.4g} above {policy.target_seconds:g}: {step.percent}% of {current} more"
    return [Decision(policy.signal, current + more, reason)]
