"""How long an instance takes from launch to its first answer, and the time-outs that follow from it.

Owns the derivation: bytes over the path that they take on a type, and the allowances on top. Leaves the bytes to `storage`
and the engine's table, and what the user knows better (`gpufleet:timing`) to `timing_keys`. The time-outs are those of the
slowest type that the fleet may boot. All results are whole seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpufleet.planner.candidates import Fit
from gpufleet.planner.catalog import InstanceType
from gpufleet.planner.lifecycle import MAX_TIMEOUT_SECONDS
from gpufleet.planner.plan import Storage, Timing
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.storage import IMAGE_PULL_FACTOR
from gpufleet.planner.units import GB, GIB, MIB, MIB_PER_GIB

if TYPE_CHECKING:
    from gpufleet.planner.timing_keys import TimingKeys

BOOT_SECONDS = 60
"""From launch to a running user-data script with the driver loaded."""

IMAGE_BYTES_PER_SECOND = 50e6
"""Pull and unpack of a server's image, layer after layer: 333 s for about 17 GB on a g6.2xlarge (published cold start); AWS
itself says 4 to 6 minutes for 15 to 20 GB."""

PATH_SHARE = 0.725
"""What a download gets of the narrowest link of its path: 168 s for 16 GB of weights to a gp3 volume of 125 MiB/s on a
g6.2xlarge (the same cold start)."""

DOWNLOAD_BYTES_PER_SECOND = 500e6
"""The most that a downloader in Python takes in (the README of Hugging Face's hf_transfer), whatever the network."""

ENGINE_START_SECONDS = 30
ENGINE_START_SECONDS_PER_GIB = 2.8
"""vLLM, from weights on disk to the first answer: 14-39 s for an 8B model (15 GiB), 215 s for a 70B in FP8 (66 GiB)."""

LAUNCH_FACTOR = 1.5
"""Launches vary; an instance must not be replaced while it still loads."""
GRACE_MIN_SECONDS = 300
WARMUP_SECONDS = 240
"""Until an instance shows in what policies read: a minute of requests, a minute until it is published, and two in which
CloudWatch takes it in. EC2 Auto Scaling counts the warm-up from InService (its user guide, "Set the default instance warmup"),
and the launching hook keeps an instance from that until its servers answer: the load is over by then. While it loads and warms
up it counts as capacity that is on its way, so that an alarm that stays on adds only what a larger breach asks for more, and
nothing is removed."""
LONGEST_REQUEST_SECONDS = 300
"""A long generation that does not stream. The load balancer's default of 60 s would end it with a 504."""


class Part(NamedTuple):
    """One part of the start of an instance."""

    name: str
    seconds: int
    because: str


class Start(NamedTuple):
    """The start of an instance of one type, part by part."""

    type: str
    boot: Part
    image_pull: Part
    weights: Part
    engine_start: Part

    @property
    def parts(self) -> tuple[Part, ...]:
        """In their order."""
        return self.boot, self.image_pull, self.weights, self.engine_start

    @property
    def seconds(self) -> int:
        """From launch to the first answer."""
        return sum(part.seconds for part in self.parts)


def given_timing(requirements: Requirements) -> TimingKeys | None:
    """What the user knows better; None where nothing is given. A RequirementError with every problem in it."""
    if requirements.timing is None:
        return None
    from gpufleet.planner.timing_keys import timing_keys

    return timing_keys(requirements.timing)


def longest_request_seconds(requirements: Requirements) -> int:
    """How long one request may take."""
    given = given_timing(requirements)
    return _or(given.longest_request_seconds if given else None, LONGEST_REQUEST_SECONDS)


def plan_timing(
    requirements: Requirements, fits: Sequence[Fit], storage: Storage, *, image_bytes: float, weights_bytes: float
) -> Timing:
    """Load time by part of the choice, which comes first in `fits`, and of the slowest of them; and the time-outs."""
    given = given_timing(requirements)
    baked_in = requirements.model.weights_source.startswith("image")
    starts = [
        _start(fit, storage, given, image_bytes=image_bytes, weights_bytes=weights_bytes, baked_in=baked_in)
        for fit in fits
    ]
    chosen, slowest = starts[0], max(starts, key=lambda start: start.seconds)
    load, patient = slowest.seconds, _up_to_minute(slowest.seconds * LAUNCH_FACTOR)
    return Timing(
        boot_seconds=chosen.boot.seconds,
        image_pull_seconds=chosen.image_pull.seconds,
        weights_seconds=chosen.weights.seconds,
        engine_start_seconds=chosen.engine_start.seconds,
        load_seconds=chosen.seconds,
        slowest_type=slowest.type,
        slowest_load_seconds=load,
        path=_explained(chosen, slowest),
        health_check_grace_period_seconds=_or(
            given.health_check_grace_period_seconds if given else None, max(GRACE_MIN_SECONDS, patient)
        ),
        instance_warmup_seconds=_or(given.instance_warmup_seconds if given else None, WARMUP_SECONDS),
        lifecycle_timeout_seconds=_or(
            given.lifecycle_timeout_seconds if given else None,
            min(MAX_TIMEOUT_SECONDS, max(GRACE_MIN_SECONDS, patient)),
        ),
        longest_request_seconds=_or(given.longest_request_seconds if given else None, LONGEST_REQUEST_SECONDS),
    )


def _start(
    fit: Fit, storage: Storage, given: TimingKeys | None, *, image_bytes: float, weights_bytes: float, baked_in: bool
) -> Start:
    kind = fit.offer.instance_type
    return Start(
        type=kind.name,
        boot=_given_or(
            "boot", given.boot_seconds if given else None, "boot", BOOT_SECONDS, "an allowance, to a loaded driver"
        ),
        image_pull=_given_or(
            "image",
            given.image_pull_seconds if given else None,
            "imagePull",
            *_image_pull(kind, storage, image_bytes + (weights_bytes if baked_in else 0)),
        ),
        weights=_given_or(
            "weights",
            given.weights_seconds if given else None,
            "weights",
            *((0, "in the image") if baked_in else _download(kind, storage, weights_bytes)),
        ),
        engine_start=_given_or(
            "engine",
            given.engine_start_seconds if given else None,
            "engineStart",
            *_engine_start(fit, storage, weights_bytes, on_root=baked_in or not kind.instance_store_gb),
        ),
    )


def _image_pull(kind: InstanceType, storage: Storage, size_bytes: float) -> tuple[int, str]:
    """Layers are unpacked one after the other, unless the way is narrower still."""
    rates = {
        "pull and unpack as measured": IMAGE_BYTES_PER_SECOND,
        f"{kind.network_baseline_gbps:g} Gbit/s network": _network(kind),
        f"root volume, written {IMAGE_PULL_FACTOR:g} times": _root_volume(kind, storage) / IMAGE_PULL_FACTOR,
    }
    return _over(size_bytes, rates, "")


def _download(kind: InstanceType, storage: Storage, size_bytes: float) -> tuple[int, str]:
    """From S3 or Hugging Face to the instance store where there is one, else to the root volume."""
    rates = {
        f"{kind.network_baseline_gbps:g} Gbit/s network": PATH_SHARE * _network(kind),
        "the downloader": DOWNLOAD_BYTES_PER_SECOND,
    }
    if not kind.instance_store_gb:
        rates["root volume"] = PATH_SHARE * _root_volume(kind, storage)
    return _over(size_bytes, rates, " to instance store" if kind.instance_store_gb else " to the root volume")


def _engine_start(fit: Fit, storage: Storage, size_bytes: float, *, on_root: bool) -> tuple[int, str]:
    """As published, unless the weights must be read again from a volume that is slower: RAM holds them, or it does not."""
    seconds = ENGINE_START_SECONDS + ENGINE_START_SECONDS_PER_GIB * size_bytes / GIB
    because = f"{ENGINE_START_SECONDS} s and {ENGINE_START_SECONDS_PER_GIB:g} s per GiB of weights, as published"
    if on_root and fit.limits.replica.memory_mib * fit.replicas < size_bytes / GIB * MIB_PER_GIB:
        reading = ENGINE_START_SECONDS + size_bytes / _root_volume(fit.offer.instance_type, storage)
        if reading > seconds:
            return math.ceil(reading), "weights read from the root volume, for RAM does not hold them"
    return math.ceil(seconds), because


def _over(size_bytes: float, rates: dict[str, float], where: str) -> tuple[int, str]:
    """The bytes at the lowest of the rates, in bytes per second."""
    limit = min(rates, key=lambda name: rates[name])
    text = f"{size_bytes / GB:.1f} GB{where} at {rates[limit] / 1e6:.0f} MB/s ({limit})"
    return math.ceil(size_bytes / rates[limit]), text


def _network(kind: InstanceType) -> float:
    """Bytes per second that the type always has."""
    return kind.network_baseline_gbps * 1e9 / 8


def _root_volume(kind: InstanceType, storage: Storage) -> float:
    """Bytes per second of the root volume. A type holds its maximum for 30 minutes a day, which a boot does not last."""
    return min(storage.root_throughput_mibs * MIB, kind.ebs_max_mb_per_second * 1e6)


def _explained(chosen: Start, slowest: Start) -> tuple[str, ...]:
    starts = (chosen,) if chosen.type == slowest.type else (chosen, slowest)
    return tuple(
        f"{start.type}, {part.name}: {part.seconds} s, {part.because}" for start in starts for part in start.parts
    )


def _given_or(name: str, given: int | None, key: str, seconds: int, because: str) -> Part:
    return Part(name, seconds, because) if given is None else Part(name, given, f"timing.{key}")


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _up_to_minute(seconds: float) -> int:
    return math.ceil(seconds / 60) * 60
