"""How large the root volume must be.

Owns the sum of what lies on it. Leaves the sizes of the parts to `memory` (weights) and `engines` (image).
"""

from __future__ import annotations

import math

from gpufleet.planner.plan import Storage
from gpufleet.planner.units import GIB, gib

AMI_GIB = 75
"""Root snapshot of the Deep Learning Base AMI; a smaller volume is refused by EC2."""
HEADROOM_GIB = 20
"""Logs, compile caches, packages."""
IMAGE_PULL_FACTOR = 1.5
"""While an image is pulled its compressed layers lie beside the unpacked ones."""
STEP_GIB = 10


def plan_storage(*, weights_bytes: float, image_bytes: float) -> Storage:
    """The root volume for the AMI, the image and the weights, in whole steps."""
    wanted_gib = AMI_GIB + HEADROOM_GIB + gib(image_bytes) * IMAGE_PULL_FACTOR + gib(weights_bytes)
    return Storage(
        root_volume_gib=math.ceil(wanted_gib / STEP_GIB) * STEP_GIB,
        weights_gib=round(weights_bytes / GIB, 2),
        image_gib=round(image_bytes / GIB, 2),
    )
