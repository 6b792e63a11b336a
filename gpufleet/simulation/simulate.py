"""A trace against a fleet: the loop over time.

Owns the order of things within a second and what is written down. Leaves every rule to its module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpufleet.simulation import signals
from gpufleet.simulation.alarms import PERIOD_SECONDS
from gpufleet.simulation.fleet import Fleet
from gpufleet.simulation.model import Action, Bounds, Moment, Outcome, Settings, Speed, Trace
from gpufleet.simulation.policies import Datapoints, Group, decide, within
from gpufleet.simulation.replica import Work, work_of

TICK_SECONDS = 10.0
"""The longest time between two looks at the fleet."""

COHORT_SECONDS = 2.0
"""Of arrivals that are one."""

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}

KEPT_MINUTES = 17
"""As many as the longest alarm looks at."""


def simulate(settings: Settings, trace: Trace, speed: Speed) -> Outcome:
    """What the settings' policies make of the trace. The same in gives the same out."""
    return _Run(settings, trace, speed).policies()


def replay(capacity: Sequence[int], settings: Settings, trace: Trace, speed: Speed) -> Outcome:
    """What becomes of the trace with so many instances in service in each of its bins, whatever the policies say.

    No moments and no actions; instances are paid while they are in service.
    """
    return _Run(settings, trace, speed).given(capacity)


def percentile(latencies: Sequence[tuple[float, float]], percent: float) -> float | None:
    """Of (seconds, requests), ascending: what that share of them did not exceed. None of none."""
    wanted, so_far = sum(count for _, count in latencies) * percent / 100 * (1 - 1e-12), 0.0
    for seconds, count in latencies:
        so_far += count
        if so_far >= wanted:
            return seconds
    return None


class _Answers:
    """Every cohort's fate."""

    def __init__(self, settings: Settings, trace: Trace) -> None:
        self.first: list[tuple[float, float]] = []
        self.whole: list[tuple[float, float]] = []
        self.by_bin: dict[int, list[tuple[float, float]]] = {}
        self.by_minute: dict[int, list[tuple[float, float]]] = {}
        self.unanswered = 0.0
        self._judged = 0 if settings.judges == "firstToken" else 1
        self._longest = settings.longest_request_seconds or math.inf
        self._bin_seconds = trace.bin_seconds

    def add(self, arrival: float, requests: float, first: float, whole: float) -> None:
        judged = (first, whole)[self._judged]
        if judged > self._longest:
            self.unanswered += requests
            return
        self.first.append((first, requests))
        self.whole.append((whole, requests))
        ended = arrival + judged
        self.by_bin.setdefault(int(ended // self._bin_seconds), []).append((judged, requests))
        self.by_minute.setdefault(int(ended // PERIOD_SECONDS), []).append((judged, requests))


class _Run:
    def __init__(self, settings: Settings, trace: Trace, speed: Speed) -> None:
        self.settings, self.trace, self.speed = settings, trace, speed
        self.answers = _Answers(settings, trace)
        self.parts = max(1, math.ceil(trace.bin_seconds / TICK_SECONDS - 1e-9))
        self.tick = trace.bin_seconds / self.parts

    def given(self, capacity: Sequence[int]) -> Outcome:
        fleet = Fleet(self.settings, self.speed, capacity[0] if capacity else 0)
        for place, arrivals in enumerate(self.trace.bins):
            fleet.advance(place * self.trace.bin_seconds)
            if capacity[place] != fleet.desired:
                fleet.scale_to(capacity[place], 0.0)
                fleet.advance(place * self.trace.bin_seconds)
            work = work_of(arrivals, self.speed, self.settings.kv_cache_tokens)
            for part in range(self.parts):
                self._arrive(fleet, place, part, arrivals.requests / self.parts, work)
        return self._outcome(fleet, (), ())

    def policies(self) -> Outcome:
        fleet = Fleet(self.settings, self.speed, self.settings.desired)
        clock = _Clock(self.settings, fleet, self.answers)
        moments: list[Moment] = []
        for place, arrivals in enumerate(self.trace.bins):
            work = work_of(arrivals, self.speed, self.settings.kv_cache_tokens)
            for part in range(self.parts):
                second = place * self.trace.bin_seconds + part * self.tick
                fleet.advance(second)
                clock.strike(second)
                self._arrive(fleet, place, part, arrivals.requests / self.parts, work)
                clock.count(arrivals.requests / self.parts)
            end = (place + 1) * self.trace.bin_seconds
            fleet.advance(end)
            moments.append(self._moment(fleet, clock, place, end, arrivals.requests))
        return self._outcome(fleet, tuple(moments), tuple(clock.actions))

    def _arrive(self, fleet: Fleet, place: int, part: int, requests: float, work: Work) -> None:
        if not requests:
            return
        cohorts = max(1, min(math.ceil(self.tick / COHORT_SECONDS), math.ceil(requests)))
        second = place * self.trace.bin_seconds + part * self.tick
        for cohort in range(cohorts):
            fleet.arrive(second + (cohort + 0.5) * self.tick / cohorts, requests / cohorts, work, self.answers.add)

    def _moment(self, fleet: Fleet, clock: _Clock, place: int, end: float, arrivals: float) -> Moment:
        ended = sorted(self.answers.by_bin.pop(place, ()))
        return Moment(
            second=end,
            arrivals=arrivals,
            in_service=fleet.in_service,
            starting=fleet.starting,
            waiting_requests=sum(group.waiting for group in fleet.groups),
            running_requests=sum(group.running for group in fleet.groups),
            latency_seconds={name: percentile(ended, percent) for name, percent in PERCENTILES.items()},
            metrics=clock.metrics,
            alarms=clock.alarms,
        )

    def _outcome(self, fleet: Fleet, moments: tuple[Moment, ...], actions: tuple[Action, ...]) -> Outcome:
        first, whole = tuple(sorted(self.answers.first)), tuple(sorted(self.answers.whole))
        return Outcome(
            settings=self.settings,
            trace=self.trace,
            speed=self.speed,
            moments=moments,
            actions=actions,
            latencies=first if self.settings.judges == "firstToken" else whole,
            unanswered=fleet.unanswered + self.answers.unanswered,
            instance_seconds=fleet.paid_until(len(self.trace.bins) * self.trace.bin_seconds),
            first_token_latencies=first,
            response_latencies=whole,
        )


class _Clock:
    """What happens once a minute: metrics, alarms, policies; and schedules when their time has come."""

    def __init__(self, settings: Settings, fleet: Fleet, answers: _Answers) -> None:
        self.metrics: dict[str, float | None] = {}
        self.alarms: tuple[str, ...] = ()
        self.actions: list[Action] = []
        self._settings, self._fleet, self._answers = settings, fleet, answers
        self._bounds: Bounds = settings.bounds[0]
        self._minute = 0
        self._requests = 0.0
        self._busy: list[float] = []
        self._datapoints: dict[str, list[float | None]] = {name: [] for name in (*signals.SIGNALS, "latency")}
        self._capacities: list[int] = []

    def count(self, requests: float) -> None:
        """Arrivals of a tick, and a look at the GPUs after them."""
        self._requests += requests
        busy = signals.gpu_busy_share(self._fleet, self._settings)
        if busy is not None:
            self._busy.append(busy)

    def strike(self, second: float) -> None:
        """All that is due by this second."""
        self._schedule(second)
        while (self._minute + 1) * PERIOD_SECONDS <= second + 1e-6:
            self._measure()
            self._decide(second)
            self._minute += 1

    def _schedule(self, second: float) -> None:
        bounds = [bounds for bounds in self._settings.bounds if bounds.from_second <= second][-1]
        if bounds is self._bounds:
            return
        self._bounds = bounds
        desired = self._fleet.desired if bounds.desired is None else bounds.desired
        self._scale_to(second, within(bounds, desired), "schedule", f"between {bounds.min} and {bounds.max} instances")

    def _scale_to(self, second: float, capacity: int, policy: str, reason: str) -> None:
        before = self._fleet.desired
        if capacity == before:
            return
        self.actions.append(Action(second, policy, before, capacity, reason))
        self._fleet.scale_to(capacity, self._settings.start_seconds)

    def _measure(self) -> None:
        busy = sum(self._busy) / len(self._busy) if self._busy else 0.0
        minute = signals.Minute(self._requests, busy)
        self._requests, self._busy = 0.0, []
        measured = dict(signals.measure(self._fleet, self._settings, minute))
        ended = sorted(self._answers.by_minute.pop(self._minute, ()))
        measured["latency"] = self._latency(ended)
        self._capacities.append(self._fleet.in_service + self._fleet.draining)
        for name, values in self._datapoints.items():
            values.append(measured[name])
            del values[: -KEPT_MINUTES - signals.DELAY_PERIODS]
        del self._capacities[: -KEPT_MINUTES - signals.DELAY_PERIODS]

    def _latency(self, ended: Sequence[tuple[float, float]]) -> float | None:
        """The alarm's percentile; None of too few requests, as its expression has it."""
        policy = self._settings.stepping
        if policy is None or sum(count for _, count in ended) < policy.min_requests * (1 - 1e-9):
            return None
        return percentile(ended, float(policy.percentile.removeprefix("p")))

    def _decide(self, second: float) -> None:
        """On what has arrived: not yet the minute that has just ended."""
        known: Datapoints = {name: values[: -signals.DELAY_PERIODS] for name, values in self._datapoints.items()}
        self.metrics = {name: values[-1] if values else None for name, values in known.items()}
        fleet = self._fleet
        group = Group(
            desired=fleet.desired,
            warm=fleet.warm,
            in_service=fleet.in_service,
            launching=fleet.starting + fleet.in_service - fleet.warm,
            capacities=self._capacities[: -signals.DELAY_PERIODS],
        )
        verdict = decide(self._settings, self._bounds, group, known)
        self.alarms = verdict.alarms
        decision = verdict.decision
        if decision:
            self._scale_to(second, decision.capacity, decision.policy, decision.reason)
