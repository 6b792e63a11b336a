"""How a new version of the launch template reaches the instances: how many at a time, where it stops to look, and whether it
goes back.

Owns the percentages, the checkpoints and what AWS allows beside an AMI that is resolved at launch. Leaves what starts a
rollout to the components, and how long an instance takes to `timing`.
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
    """New before old, unless the user has no quota to spare; back by itself wherever AWS can."""
    scaling = requirements.scaling
    stays = scaling.min_healthy_percent
    at_launch = requirements.instance.ami == "launch"
    return Rollout(
        min_healthy_percent=stays,
        max_healthy_percent=ALL + SPARE_PERCENT if stays == ALL else ALL,
        checkpoint_percents=_checkpoints(scaling.max),
        checkpoint_delay_seconds=CHECKPOINT_DELAY_SECONDS if scaling.max >= LARGE_FLEET else None,
        rollback=not at_launch if scaling.rollback is None else scaling.rollback,
        watches_alarms=scaling.rollback is not False,
        skips_matching=not at_launch,
    )


def _checkpoints(most_instances: int) -> tuple[int, ...]:
    """A first instance, half of the fleet, all of it."""
    return (math.ceil(ALL / most_instances), 50, ALL) if most_instances >= LARGE_FLEET else ()
