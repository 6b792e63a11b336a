"""Target tracking: the two alarms that Auto Scaling makes for a policy, and the capacity that it computes.

Owns its documented rules, from the EC2 Auto Scaling User Guide, "Target tracking scaling policies", unless it says so.
Leaves the resolution between policies to `policies`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpufleet.planner.signals import OWN_SCALE_IN_MINUTES, OWN_SCALE_OUT_MINUTES
from gpufleet.simulation.alarms import Alarm, State, state_of
from gpufleet.simulation.model import Tracking

HIGH = Alarm(OWN_SCALE_OUT_MINUTES, OWN_SCALE_OUT_MINUTES, "missing")
"""Above the target for 3 minutes."""

LOW = Alarm(OWN_SCALE_IN_MINUTES, OWN_SCALE_IN_MINUTES, "missing")
"""Below `LOW_SHARE` of the target for 15 minutes: it scales in more gradually than out. The user guide gives no numbers; these
are those of the alarms that it makes (as getmoto/moto models them: 3 and 15 periods of 60 s, 0.9 of the target)."""

LOW_SHARE = 0.9
ROUNDING = 1e-9


def states(policy: Tracking, datapoints: Sequence[float | None]) -> tuple[State, State]:
    """The states of the high and the low alarm. Without data a policy moves nothing."""
    low = policy.target * LOW_SHARE
    return (
        state_of(HIGH, [None if value is None else value > policy.target for value in datapoints]),
        state_of(LOW, [None if value is None else value < low for value in datapoints]),
    )


def capacity_for(current: int, value: float, target: float) -> int:
    """Instances that bring the metric to its target, were it to fall in proportion: in between, one more.

    So of 1.5 instances to add two are added, and of 1.5 to remove one is removed.
    """
    return math.ceil(current * value / target - ROUNDING)


def capacity_to_keep(capacities: Sequence[int], datapoints: Sequence[float | None], target: float) -> int:
    """Instances that would have done for each of the low alarm's minutes; `capacities` are the instances of each minute.

    A reading: the user guide says that it scales in more gradually than out, avoids to remove too many, and counts terminating
    instances as capacity. Where load and fleet are steady it is `capacity_for`; after a scale-in the minutes of the larger fleet
    do not ask for another.
    """
    minutes = zip(capacities[-LOW.evaluation_periods :], datapoints[-LOW.evaluation_periods :], strict=True)
    return max(capacity_for(capacity, value, target) for capacity, value in minutes if value is not None)
