"""Traces and fleets for the tests of what is told of a replay."""

from __future__ import annotations

from gpufleet.simulation.model import Bin, Bounds, Moment, Outcome, Settings, Speed, Step, Stepping, Trace, Tracking

SPEED = Speed(prefill_tokens_per_second=10_000, decode_tokens_per_second=1_000, max_concurrency=20)
"""A request of TOKENS takes 2.01 s, of which a replica has 20 at once: 10 requests per second keep it busy."""
INPUT, OUTPUT = 100, 100


def trace(rates, bin_seconds=10.0, name="made"):
    """Requests per second, bin by bin."""
    return Trace(
        name, bin_seconds, tuple(Bin(r * bin_seconds, r * bin_seconds * INPUT, r * bin_seconds * OUTPUT) for r in rates)
    )


def settings(**changed):
    """A fleet of instances with one replica each, that scales on the requests in flight."""
    values = {
        "name": "stack", "bounds": (Bounds(0.0, 1, 20),), "desired": 1, "replicas_per_instance": 1, "gpus_per_instance": 2,
        "start_seconds": 300.0, "warmup_seconds": 60.0, "tracking": (Tracking("requestsInFlight", 14.0),), "stepping": None,
        "price_usd_per_hour": 3.0, "gpus_per_replica": 2,
    }  # fmt: skip
    return Settings(**(values | changed))


def stepping(target_seconds=4.0):
    """Three steps on the p90, as the planner makes them."""
    steps = (Step(0.0, 2.0, 20), Step(2.0, 4.0, 50), Step(4.0, None, 100))
    return Stepping("p90", target_seconds, 60, 3, 3, steps)


def moment(second, *, in_service=1, starting=0, p95=1.0, metrics=None, alarms=()):
    """The end of a bin."""
    latency = dict.fromkeys(("p50", "p90", "p95", "p99"), p95)
    return Moment(second, 10.0, in_service, starting, 0.0, 5.0, latency, metrics or {}, alarms)


def outcome(*, latencies=(), unanswered=0.0, moments=(), actions=(), instance_seconds=3600.0, arrivals=None, **changed):
    """One made by hand."""
    made = arrivals or trace([1.0] * len(moments))
    return Outcome(
        settings(**changed), made, SPEED, tuple(moments), tuple(actions), tuple(latencies), unanswered, instance_seconds
    )
