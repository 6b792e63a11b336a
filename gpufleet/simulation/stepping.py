"""Step scaling: which step a breach falls in, and what it adds.

Owns its documented rules, from the EC2 Auto Scaling User Guide, "Step and simple scaling policies". Leaves the resolution
between policies to `policies`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpufleet.simulation.alarms import Alarm, State, state_of
from gpufleet.simulation.model import Step, Stepping

MIN_ADJUSTMENT = 1
"""Instances that a step adds at least."""

ROUNDING = 1e-9


def state(policy: Stepping, datapoints: Sequence[float | None]) -> State:
    """The state of the policy's alarm; no data is not breaching, as the program declares it."""
    alarm = Alarm(policy.evaluation_periods, policy.datapoints_to_alarm, "notBreaching")
    return state_of(alarm, [None if value is None else value > policy.target_seconds for value in datapoints])


def step_for(policy: Stepping, value: float) -> Step | None:
    """The step that a metric falls in: above the threshold the lower bound belongs to it and the upper does not."""
    excess = value - policy.target_seconds
    for step in policy.steps:
        upper = math.inf if step.upper_bound_seconds is None else step.upper_bound_seconds
        if excess >= 0 and step.lower_bound_seconds - ROUNDING <= excess < upper:
            return step
    return None


def change_for(current: int, percent: float, least: int = MIN_ADJUSTMENT) -> int:
    """Instances that PercentChangeInCapacity adds, less than none where it removes.

    Above 1 rounded down, up to 1 rounded to 1, mirrored below zero; at least `least` of them.
    """
    exact = current * percent / 100
    if not exact:
        return 0
    whole = max(1, math.floor(abs(exact) + ROUNDING), least)
    return whole if exact > 0 else -whole
