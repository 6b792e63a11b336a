"""Settings, traces and policies for the simulation's tests."""

from __future__ import annotations

from pathlib import Path

from gpufleet.simulation.model import Bin, Bounds, Settings, Speed, Step, Stepping, Trace, Tracking

TRACES = Path(__file__).parent.parent / "data" / "traces"

SPEED = Speed(prefill_tokens_per_second=1e9, decode_tokens_per_second=100.0, max_concurrency=10)
"""10 output tokens a second for each request; prompts take no time."""


def settings(
    *tracking: Tracking,
    min: int = 1,
    max: int = 20,
    desired: int | None = None,
    start_seconds: float = 120,
    warmup_seconds: float = 180,
    stepping: Stepping | None = None,
    waiting: Stepping | None = None,
    **others,
) -> Settings:
    return Settings(
        name="fleet",
        bounds=others.pop("bounds", (Bounds(0, min, max),)),
        desired=min if desired is None else desired,
        replicas_per_instance=others.pop("replicas_per_instance", 1),
        gpus_per_instance=others.pop("gpus_per_instance", 1),
        start_seconds=start_seconds,
        warmup_seconds=warmup_seconds,
        tracking=tracking,
        stepping=stepping,
        price_usd_per_hour=1.0,
        waiting=waiting,
        **others,
    )


def steady(
    requests: float, minutes: float, input_tokens: float = 0, output_tokens: float = 10, bin_seconds: float = 10
) -> Trace:
    """So many requests in each bin."""
    each = Bin(requests, requests * input_tokens, requests * output_tokens)
    return Trace("steady", bin_seconds, (each,) * round(minutes * 60 / bin_seconds))


def then(*traces: Trace) -> Trace:
    """One after the other."""
    return traces[0]._replace(bins=tuple(b for trace in traces for b in trace.bins))


def slow(*steps: tuple[float, float | None, int], target: float = 50.0, percentile: str = "p90", **others) -> Stepping:
    return Stepping(
        percentile=percentile,
        target_seconds=target,
        period_seconds=60,
        evaluation_periods=others.pop("evaluation_periods", 3),
        datapoints_to_alarm=others.pop("datapoints_to_alarm", 3),
        steps=tuple(Step(*step) for step in steps),
        **others,
    )
