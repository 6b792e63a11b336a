"""The words of a simulation: what goes in and what comes out. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Judged = Literal["response", "firstToken"]


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
    decode_tokens_per_second_alone: float | None = None
    """Output tokens of one request that has the replica to itself; None: no faster than one of a full batch."""


class Tracking(NamedTuple):
    """A target tracking policy."""

    signal: str
    """As in the stack file: gpuUtilization, cpuUtilization, requestsPerTarget, waitingRequests, kvCacheUtilization..."""
    target: float
    scales_in: bool = True


class Step(NamedTuple):
    """Seconds (of another signal than latency: its own unit) above the target between which `percent` of the group is added."""

    lower_bound_seconds: float
    upper_bound_seconds: float | None
    percent: int


class Stepping(NamedTuple):
    """Step scaling on a latency percentile, or on another signal; it only adds."""

    percentile: str
    """As `p90`; empty for another signal than latency."""
    target_seconds: float
    """In the unit of the signal where that is not latency."""
    period_seconds: int
    evaluation_periods: int
    datapoints_to_alarm: int
    steps: tuple[Step, ...]
    signal: str = "latency"
    min_requests: int = 0
    """Of a period: with fewer, its percentile says nothing, and the period is not slow."""


class Bounds(NamedTuple):
    """Fewest and most instances from a second of the trace on (a schedule's action)."""

    from_second: float
    min: int
    max: int
    desired: int | None = None
    """Instances to go to at that second; None: as many as there are, within the bounds."""


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
    waiting: Stepping | None = None
    """Step scaling on the requests that wait per replica."""
    gpus_per_replica: int = 1
    kv_cache_tokens: int | None = None
    """Of a replica; None: memory bounds nothing, and there is no signal of it."""
    longest_request_seconds: float | None = None
    """The load balancer gives up a longer one: it is unanswered. A draining instance is waited for as long."""
    judges: Judged = "response"
    """What latency is: the whole response, or the first token of a server that streams. The load balancer's
    TargetResponseTime is the same: it ends when the target starts to answer."""


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
    first_token_latencies: tuple[tuple[float, float], ...] = ()
    """As `latencies`, whatever was judged: to the first token."""
    response_latencies: tuple[tuple[float, float], ...] = ()
    """The same, to the end of the response."""
