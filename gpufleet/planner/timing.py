"""How long an instance takes from launch to its first answer, and the time-outs that follow from it.

Owns the derivation: bytes over the measured path, and the allowances on top. Leaves the bytes to `storage` and the
engine's table. All results are whole seconds.
"""

from __future__ import annotations

import math

from gpufleet.planner.plan import Timing
from gpufleet.planner.units import GIB

BOOT_SECONDS = 60
"""From launch to a running user-data script with the driver loaded."""

IMAGE_BYTES_PER_SECOND = 50e6
"""Pull and unpack of a server's image: 333 s for about 17 GB on a g6.2xlarge (published cold start)."""

WEIGHTS_BYTES_PER_SECOND = 95e6
"""Download of weights to gp3 at its 125 MB/s baseline: 168 s for 16 GB on a g6.2xlarge (same source)."""

ENGINE_START_SECONDS = 30
ENGINE_START_SECONDS_PER_GIB = 2.8
"""vLLM, from weights on disk to the first answer: 14-39 s for an 8B model (15 GiB), 215 s for a 70B in FP8 (66 GiB)."""

GRACE_FACTOR = 1.5
"""Launches vary; an instance must not be replaced while it still loads."""
GRACE_MIN_SECONDS = 300
WARMUP_MAX_SECONDS = 3600
"""EC2 Auto Scaling's own limit of the default instance warm-up."""
LIFECYCLE_MAX_SECONDS = 7200
"""EC2 Auto Scaling's own limit of a lifecycle hook's time-out."""
LONGEST_REQUEST_SECONDS = 300
"""A long generation that does not stream. The load balancer's default of 60 s would end it with a 504."""


def plan_timing(*, image_bytes: float, weights_bytes: float, baked_in: bool) -> Timing:
    """Load time by part and the time-outs; `baked_in` weights come with the image."""
    image_pull = math.ceil((image_bytes + (weights_bytes if baked_in else 0)) / IMAGE_BYTES_PER_SECOND)
    weights = 0 if baked_in else math.ceil(weights_bytes / WEIGHTS_BYTES_PER_SECOND)
    engine_start = math.ceil(ENGINE_START_SECONDS + ENGINE_START_SECONDS_PER_GIB * weights_bytes / GIB)
    load = BOOT_SECONDS + image_pull + weights + engine_start
    grace = max(GRACE_MIN_SECONDS, _up_to_minute(load * GRACE_FACTOR))
    return Timing(
        boot_seconds=BOOT_SECONDS,
        image_pull_seconds=image_pull,
        weights_seconds=weights,
        engine_start_seconds=engine_start,
        load_seconds=load,
        health_check_grace_period_seconds=grace,
        instance_warmup_seconds=min(WARMUP_MAX_SECONDS, _up_to_minute(load)),
        lifecycle_timeout_seconds=min(LIFECYCLE_MAX_SECONDS, grace),
        longest_request_seconds=LONGEST_REQUEST_SECONDS,
    )


def _up_to_minute(seconds: float) -> int:
    return math.ceil(seconds / 60) * 60
