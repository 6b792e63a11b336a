"""What a fleet is measured against: the fewest constant instances, and a fleet that knows the future.

Owns both searches. Leaves the queues to the replay that it is given: a capacity for each bin in, an outcome out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from gpufleet.simulation.judgement import Replay, share_within
from gpufleet.simulation.model import Settings, Speed, Trace

MOST_INSTANCES = 4096
"""A constant fleet that needs more than this is not looked for."""

FIRST_WINDOW_SECONDS, OTHER_WINDOWS_SECONDS = 60.0, (10.0, 300.0)
"""Over which the load is averaged before instances are counted: short ones follow every burst, long ones let queues carry it."""

LEAST_FACTOR, MOST_FACTOR = 0.8, 4.0
"""Capacity over mean load, between which the cheapest is looked for."""

HALVINGS = 5
"""Of that interval, and SAVING of what is left is the least that a further try must save. A replay takes a second or so for
a day: there are about a dozen in all."""
SAVING = 0.02


class Yardstick(NamedTuple):
    """A fleet to compare with."""

    capacity: tuple[int, ...]
    """Instances in service, bin by bin."""
    instance_seconds: float
    """Paid for, starting included."""
    share_within: float


class Yardsticks(NamedTuple):
    """Both fleets; a part is None where none was found that keeps the share."""

    static: Yardstick | None
    clairvoyant: Yardstick | None


def find_yardsticks(
    settings: Settings, trace: Trace, speed: Speed, replay: Replay, target_seconds: float, goal: float
) -> Yardsticks:
    """The cheapest of both kinds that keep a share of `goal` (0 to 1) within the target."""
    judge = _Judge(trace, replay, target_seconds, goal)
    load = instances_of_load(trace, speed, settings.replicas_per_instance)
    static = _static(judge, load)
    return Yardsticks(static, _clairvoyant(judge, settings, load, static))


class _Judge(NamedTuple):
    """Whether a capacity keeps the share."""

    trace: Trace
    replay: Replay
    target_seconds: float
    goal: float

    def share(self, capacity: Sequence[int]) -> float:
        return share_within(self.replay(capacity), self.target_seconds)

    def keeps(self, share: float) -> bool:
        return share >= self.goal


def _static(judge: _Judge, load: Sequence[float]) -> Yardstick | None:
    """The fewest that do: from the mean load up, in growing steps, then by halving."""
    bins = len(judge.trace.bins)

    def tried(instances: int) -> Yardstick:
        capacity = (instances,) * bins
        return Yardstick(capacity, instances * bins * judge.trace.bin_seconds, judge.share(capacity))

    fails, high = 0, max(1, math.ceil(sum(load) / bins))
    found = tried(high)
    while not judge.keeps(found.share_within):
        # A request that takes longer than the target by itself is late on any fleet.
        if high >= MOST_INSTANCES:
            return None
        fails, high = high, math.ceil(high * 1.5)
        found = tried(high)
    while high - fails > 1:
        middle = (fails + high) // 2
        fewer = tried(middle)
        if judge.keeps(fewer.share_within):
            high, found = middle, fewer
        else:
            fails = middle
    return found


def _clairvoyant(
    judge: _Judge, settings: Settings, load: Sequence[float], static: Yardstick | None
) -> Yardstick | None:
    """The cheapest schedule of those that keep a multiple of the mean load in service, starts and gaps at their price.

    An upper bound: the very best schedule may be a little cheaper.
    """
    if static is None:
        return None
    first, *others = (
        _Schedules(
            judge, trailing_mean(load, max(1, round(seconds / judge.trace.bin_seconds))), settings, static.capacity[0]
        )
        for seconds in (FIRST_WINDOW_SECONDS, *OTHER_WINDOWS_SECONDS)
    )
    best = first.cheapest(static)
    for schedules in others:
        best = schedules.cheaper(best)
    return best


class _Schedules:
    """Capacities that are a multiple of a smoothed load, by the factor; at most what is enough all the time."""

    def __init__(self, judge: _Judge, load: Sequence[float], settings: Settings, most: int) -> None:
        self._judge, self._load, self._start_seconds, self._most = judge, load, settings.start_seconds, most
        self._floor = min(1, *(bounds.min for bounds in settings.bounds))

    def cheapest(self, best: Yardstick) -> Yardstick:
        """The smallest factor that keeps the share, found by halving; `best` where none is cheaper."""
        low, high = LEAST_FACTOR, MOST_FACTOR
        for _ in range(HALVINGS):
            factor = math.sqrt(low * high)
            if self._cost(factor) >= best.instance_seconds:
                high = factor
                continue
            found = self._tried(factor, best)
            low, high, best = (low, factor, found) if found else (factor, high, best)
        return best

    def cheaper(self, best: Yardstick) -> Yardstick:
        """As long as a schedule that costs a little less keeps the share too, that one."""
        while True:
            factor = self._factor_for(best.instance_seconds * (1 - SAVING))
            found = self._tried(factor, best)
            if found is None:
                return best
            best = found

    def _tried(self, factor: float, best: Yardstick) -> Yardstick | None:
        capacity, instance_seconds = self._schedule(factor)
        if instance_seconds >= best.instance_seconds:
            return None
        found = Yardstick(capacity, instance_seconds, self._judge.share(capacity))
        return found if self._judge.keeps(found.share_within) else None

    def _factor_for(self, instance_seconds: float) -> float:
        """The largest factor that costs no more."""
        low, high = 0.0, MOST_FACTOR
        for _ in range(12):
            factor = (low + high) / 2
            low, high = (factor, high) if self._cost(factor) <= instance_seconds else (low, factor)
        return low

    def _cost(self, factor: float) -> float:
        return self._schedule(factor)[1]

    def _schedule(self, factor: float) -> tuple[tuple[int, ...], float]:
        need = [min(self._most, max(self._floor, math.ceil(factor * instances - 1e-9))) for instances in self._load]
        return cover(need, self._judge.trace.bin_seconds, self._start_seconds)


def instances_of_load(trace: Trace, speed: Speed, replicas_per_instance: int) -> list[float]:
    """Instances that what arrives in each bin keeps busy."""
    per_second = trace.bin_seconds * replicas_per_instance
    return [
        (b.input_tokens / speed.prefill_tokens_per_second + b.output_tokens / speed.decode_tokens_per_second)
        / per_second
        for b in trace.bins
    ]


def trailing_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and those before it, `width` in all."""
    sums = [0.0, *itertools.accumulate(values)]
    return [(sums[i + 1] - sums[max(0, i + 1 - width)]) / min(width, i + 1) for i in range(len(values))]


def cover(need: Sequence[int], bin_seconds: float, start_seconds: float) -> tuple[tuple[int, ...], float]:
    """The cheapest capacity that is never below the need, and its instance-seconds.

    An instance is paid from its launch, `start_seconds` before it serves; so it is kept through a gap that is shorter.
    What is needed sooner than an instance starts is in service from the first second on.
    """
    bins = len(need)
    changes = [0] * (bins + 1)
    free_since: list[int] = []
    """Of each level, the bin at which its instance was last needed no more."""
    began: list[int] = []
    starts = 0
    for place, level in enumerate([*need, 0]):
        while len(began) > level:
            changes[began.pop()] += 1
            changes[place] -= 1
            free_since[len(began)] = place
        while len(began) < level:
            if len(free_since) == len(began):
                free_since.append(0)
            idle_since = free_since[len(began)]
            if (place - idle_since) * bin_seconds <= start_seconds:
                began.append(idle_since)
            else:
                began.append(place)
                starts += 1
    capacity = tuple(itertools.accumulate(changes))[:bins]
    return capacity, sum(capacity) * bin_seconds + starts * start_seconds
