"""How large a fleet is when a trace begins: a trace is cut out of a longer day, whose load the fleet has followed.

Owns what is assumed of the time before. Leaves the policies to the replay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpufleet.simulation.model import Bin, Settings, Speed, Trace
from gpufleet.simulation.policies import within
from gpufleet.simulation.simulate import simulate
from gpufleet.simulation.yardsticks import instances_of_load

BEFORE_SECONDS = 7200.0
"""That the policies had to settle: longer than a start and the alarms that scale in."""
AMPLE = 2.0
"""Of the instances that the load keeps busy: from there the policies scale in, so that no queue is left of the settling."""
LIKE_SECONDS = 600.0
"""Of the trace's beginning, whose mean load is taken for the time before it."""


def settled(settings: Settings, trace: Trace, speed: Speed) -> Settings:
    """The same fleet, with as many instances at second 0 as its policies hold under the load that the trace begins with."""
    begins = trace.bins[: max(1, round(LIKE_SECONDS / trace.bin_seconds))]
    load = Bin(*(_mean(values) for values in zip(*begins, strict=True)))
    before = trace._replace(bins=(load,) * math.ceil(BEFORE_SECONDS / trace.bin_seconds))
    (instances,) = instances_of_load(trace._replace(bins=(load,)), speed, settings.replicas_per_instance)
    bounds = settings.bounds[:1]
    start = settings._replace(bounds=bounds, desired=within(bounds[0], math.ceil(AMPLE * instances)))
    last = simulate(start, before, speed).moments[-1]
    return settings._replace(desired=within(bounds[0], last.in_service + last.starting))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
