"""How a new version of the launch template reaches the instances: how many at a time, where it waits, and what ends it.

Owns the percentages, the checkpoints and what AWS allows beside an AMI that is resolved at launch. Leaves what starts a
rollout to the components, and how long an instance takes to `timing`.

AWS's own rollback is not asked for. It returns to what the group had when the refresh began, and the AWS provider gives the
group its new template before that (hashicorp/terraform-provider-aws#34189): it would go "back" to the same version.
"""

from __future__ import annotations

import math

from gpufleet.planner.plan import Rollout
from gpufleet.planner.requirements import Requirements

ALL = 100
SPARE_PERCENT = 10
"""Launched beyond the fleet's size, one instance at least: a fleet of one stays up, and a large one needs little spare quota.
AWS's own figure for "launch before terminating"."""

LARGE_FLEET = 8
"""From this size on there is something to stop for: a smaller fleet is replaced one by one, with a warm-up between them."""
CHECKPOINT_DELAY_SECONDS = 600
"""Twice the five minutes that the slowest of the alarms takes."""


def plan_rollout(requirements: Requirements) -> Rollout:
    """New before old, unless the user has no quota to spare; it ends where an instance does not come up or an alarm is on."""
    scaling = requirements.scaling
    stays = scaling.min_healthy_percent
    return Rollout(
        min_healthy_percent=stays,
        max_healthy_percent=ALL + SPARE_PERCENT if stays == ALL else ALL,
        checkpoint_percents=_checkpoints(scaling.max),
        checkpoint_delay_seconds=CHECKPOINT_DELAY_SECONDS if scaling.max >= LARGE_FLEET else None,
        watches_alarms=scaling.stop_on_alarm,
        # Whether an instance matches cannot be told from a parameter's name.
        skips_matching=requirements.instance.ami != "launch",
    )


def extra_instances(instances: int, rollout: Rollout) -> int:
    """The most that stand beside a fleet of so many while it is replaced.

    AWS does not document how it rounds a part of an instance: here it is a whole one.
    """
    spare_percent = rollout.max_healthy_percent - ALL
    return max(1, math.ceil(instances * spare_percent / ALL)) if spare_percent else 0


def _checkpoints(most_instances: int) -> tuple[int, ...]:
    """A first instance, half of the fleet, all of it."""
    return (math.ceil(ALL / most_instances), 50, ALL) if most_instances >= LARGE_FLEET else ()
