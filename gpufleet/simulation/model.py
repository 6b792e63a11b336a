"""The words of a simulation: what goes in and what comes out. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Bin(NamedTuple):
    """What arrives in one bin of a trace: whole sums over it."""

    requests: float
    input_tokens: float
    output_tokens: float


class Trace(NamedTuple):
    """Arrivals in bins of equal length, from second 0 on."""

    name: str
    bin_seconds: float
    bins: tuple[Bin, ...]


class Speed(NamedTuple):
    """How fast one replica is, as its engine's own benchmark measured it."""

    prefill_tokens_per_second: float
    """Prompt tokens of one replica, over all its requests."""
    decode_tokens_per_second: float
    """Output tokens of one replica, over all its requests, with its batch full."""
    max_concurrency: int
    """Requests that it works on at once; the rest wait."""


class Tracking(NamedTuple):
    """A target tracking policy."""

    signal: str
    """As in the stack file: gpuUtilization, cpuUtilization, requestsPerTarget, waitingRequests, kvCacheUtilization..."""
    target: float
    scales_in: bool = True


class Step(NamedTuple):
    """Seconds above the target between which `percent` of the group is added."""

    lower_bound_seconds: float
    upper_bound_seconds: float | None
    percent: int


class Stepping(NamedTuple):
    """Step scaling on a latency percentile; it only adds."""

    percentile: str
    target_seconds: float
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    steps: tuple[Step, ...]


class Bounds(NamedTuple):
    """Fewest and most instances from a second of the trace on (a schedule's action)."""

    from_second: float
    min: int
    max: int


class Settings(NamedTuple):
    """What the fleet does: all of it from a DeploymentPlan."""

    name: str
    bounds: tuple[Bounds, ...]
    """At least one, from second 0 on."""
    desired: int
    replicas_per_instance: int
    gpus_per_instance: int
    start_seconds: float
    """From launch to in service (behind the launching hook: the whole load time)."""
    warmup_seconds: float
    """Default instance warm-up: counted from in service on."""
    tracking: tuple[Tracking, ...]
    stepping: Stepping | None
    price_usd_per_hour: float | None


class Moment(NamedTuple):
    """The fleet at the end of one bin."""

    second: float
    arrivals: float
    in_service: int
    starting: int
    waiting_requests: float
    running_requests: float
    latency_seconds: Mapping[str, float | None]
    """By percentile (p50, p90, p95, p99) of the requests that ended (or got their first token) in the bin; None: none did."""
    metrics: Mapping[str, float | None]
    """By signal, as CloudWatch has them."""
    alarms: tuple[str, ...]
    """Those in ALARM."""


class Action(NamedTuple):
    """A change of the desired capacity."""

    second: float
    policy: str
    before: int
    after: int
    reason: str


class Outcome(NamedTuple):
    """What became of a trace."""

    settings: Settings
    trace: Trace
    speed: Speed
    moments: tuple[Moment, ...]
    actions: tuple[Action, ...]
    latencies: tuple[tuple[float, float], ...]
    """(seconds, requests that took them), ascending; requests that never got an answer are `unanswered`."""
    unanswered: float
    instance_seconds: float
    """Paid for: from launch to termination, starting included."""
