"""How large the root volume must be, and how fast.

Owns the sum of what lies on it and the choice of its throughput. Leaves the sizes of the parts to `memory` (weights) and
`engines` (image), and the time that it takes to `timing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from gpufleet.planner.catalog import InstanceType
from gpufleet.planner.plan import Storage
from gpufleet.planner.units import GIB, MIB, gib

AMI_GIB = 75
"""Root snapshot of the Deep Learning Base AMI; a smaller volume is refused by EC2."""
HEADROOM_GIB = 20
"""Logs, compile caches, packages."""
IMAGE_PULL_FACTOR = 1.5
"""While an image is pulled its compressed layers lie beside the unpacked ones."""
STEP_GIB = 10

FREE_MIBS = 125
FREE_IOPS = 3000
"""MiB/s and operations per second of every gp3 volume; more is paid for."""
MOST_MIBS = 1000
STEP_MIBS = 125
MIBS_PER_IOPS = 0.25
"""EC2 refuses more MiB/s for each operation per second."""
WORTH_SECONDS = 60
"""A start must become so much shorter for a faster volume to be paid for."""


def plan_storage(types: Iterable[InstanceType], *, weights_bytes: float, image_bytes: float, baked_in: bool) -> Storage:
    """The root volume for the AMI, the image and the weights, in whole steps, on any of the types."""
    wanted_gib = AMI_GIB + HEADROOM_GIB + gib(image_bytes) * IMAGE_PULL_FACTOR + gib(weights_bytes)
    throughput = _throughput_mibs(types, 0 if baked_in else weights_bytes)
    return Storage(
        root_volume_gib=math.ceil(wanted_gib / STEP_GIB) * STEP_GIB,
        root_throughput_mibs=throughput,
        root_iops=max(FREE_IOPS, math.ceil(throughput / MIBS_PER_IOPS)),
        weights_gib=round(weights_bytes / GIB, 2),
        image_gib=round(image_bytes / GIB, 2),
    )


def _throughput_mibs(types: Iterable[InstanceType], weights_bytes: float) -> int:
    """More than every volume has only where weights are written to it (a type without instance store), as far as that type's
    own link to EBS and its network go. An image is unpacked more slowly than the slowest volume takes it."""
    links = (
        min(kind.ebs_max_mb_per_second * 1e6, kind.network_baseline_gbps * 1e9 / 8) / MIB
        for kind in types
        if not kind.instance_store_gb
    )
    most = min(MOST_MIBS, math.floor(max(links, default=0) / STEP_MIBS) * STEP_MIBS)
    if most <= FREE_MIBS:
        return FREE_MIBS
    saved_seconds = weights_bytes / MIB / FREE_MIBS - weights_bytes / MIB / most
    return most if saved_seconds >= WORTH_SECONDS else FREE_MIBS
