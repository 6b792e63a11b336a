"""What an outcome is judged by: percentiles, the share within the target, hours and money.

Owns the arithmetic on one outcome. Leaves what is good to `report`, and what would be better to `advice` and `search`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpufleet.simulation.model import Outcome, Settings

Run = Callable[[Settings], Outcome]
"""A trace, with the policies that move the fleet."""

Replay = Callable[[Sequence[int]], Outcome]
"""The same trace, with the instances in service of each bin given."""

SECONDS_PER_HOUR = 3600.0


def requests(outcome: Outcome) -> float:
    """All of them, the unanswered too."""
    return sum(count for _, count in outcome.latencies) + outcome.unanswered


def share_within(outcome: Outcome, target_seconds: float) -> float:
    """Share of all requests that took at most the target, 0 to 1; one that was never answered did not. 1 of none."""
    everything = requests(outcome)
    if not everything:
        return 1.0
    return sum(count for seconds, count in outcome.latencies if seconds <= target_seconds) / everything


def percentile_seconds(outcome: Outcome, percent: float) -> float | None:
    """The latency that `percent` of the requests did not exceed; None where there are none, or so few were answered."""
    wanted, so_far = requests(outcome) * percent / 100, 0.0
    for seconds, count in outcome.latencies:
        so_far += count
        if so_far >= wanted * (1 - 1e-12):
            return seconds
    return None


def gpu_hours(instance_seconds: float, settings: Settings) -> float:
    """All GPUs of the instances, loading included."""
    return instance_seconds / SECONDS_PER_HOUR * settings.gpus_per_instance


def price_usd(instance_seconds: float, settings: Settings) -> float | None:
    """What the instances cost; None where the price is unknown."""
    if settings.price_usd_per_hour is None:
        return None
    return instance_seconds / SECONDS_PER_HOUR * settings.price_usd_per_hour
