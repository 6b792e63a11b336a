"""What a replica needs of the host: vCPUs and RAM, part by part.

Owns the parts and their reasons. Leaves to `limits` what a container gets, to `selection` whether that is enough, and the
disk to `storage`. Memory-mapped weights are page cache, which the kernel takes back: they count nowhere.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gpufleet.planner.arguments import argument_pairs
from gpufleet.planner.laws import parse_version
from gpufleet.planner.plan import Host, HostPart
from gpufleet.planner.requirements import Workload
from gpufleet.planner.units import GIB, MIB_PER_GIB, mib_from_bytes

COPYING_FORMATS = frozenset({"pt", "npcache"})
"""Values of --load-format whose files are read into RAM before they go to the GPU; safetensors are memory-mapped."""

COPIED_FILE_BYTES = 10 * GIB
"""Of a checkpoint in parts, a worker holds one file at a time; Hugging Face used to split at 10 GB (save_pretrained)."""

SWAP_UNTIL = (0, 8)
"""vLLM's first engine pinned RAM for preempted sequences; the second, the default from 0.8, computes them again."""
SWAP_BYTES = 4 * GIB
"""Its default of --swap-space, per GPU (docs.vllm.ai, v0.6.6, engine arguments)."""


class HostNeed(NamedTuple):
    """What the limits of a replica's container must hold."""

    vcpu: float
    vcpu_per_gpu: float
    parts: tuple[HostPart, ...]

    @property
    def memory_mib(self) -> int:
        """RAM of all parts."""
        return sum(part.memory_mib for part in self.parts)

    def planned(self) -> Host:
        """As a plan has it."""
        return Host(vcpu=self.vcpu, memory_mib=self.memory_mib, parts=self.parts)


def host_need(workload: Workload, *, engine_version: str, gpus: int, checkpoint_gib: float) -> HostNeed:
    """The need of one replica on so many GPUs."""
    given = dict(argument_pairs(workload.serving.args))
    amounts = (
        (
            "processes",
            mib_from_bytes(workload.serving.min_memory_bytes) * gpus,
            f"serving.minMemory for each of {gpus} {'worker' if gpus == 1 else 'workers'}",
        ),
        ("copied weights", _copied_mib(given, gpus, checkpoint_gib), "--load-format reads whole files into RAM"),
        (
            "swap",
            _gib_argument(given, "--swap-space", _default_swap_gib(engine_version)) * gpus,
            "--swap-space, pinned",
        ),
        ("offloaded weights", _gib_argument(given, "--cpu-offload-gb", 0.0) * gpus, "--cpu-offload-gb, pinned"),
    )
    return HostNeed(
        vcpu=workload.serving.min_vcpu * gpus,
        vcpu_per_gpu=workload.serving.min_vcpu,
        parts=tuple(
            HostPart(name=name, memory_mib=math.ceil(mib), reason=reason) for name, mib, reason in amounts if mib
        ),
    )


def _copied_mib(given: dict[str, str], workers: int, checkpoint_gib: float) -> float:
    """Every worker reads every file, one after the other."""
    if given.get("--load-format") not in COPYING_FORMATS:
        return 0.0
    return workers * min(checkpoint_gib * MIB_PER_GIB, mib_from_bytes(COPIED_FILE_BYTES))


def _default_swap_gib(engine_version: str) -> float:
    return SWAP_BYTES / GIB if parse_version(engine_version) < SWAP_UNTIL else 0.0


def _gib_argument(given: dict[str, str], flag: str, default_gib: float) -> float:
    """MiB of an argument in GiB; the server itself refuses what is no number."""
    try:
        gib = float(given.get(flag, default_gib))
    except ValueError:
        gib = default_gib
    return max(gib, 0.0) * MIB_PER_GIB if math.isfinite(gib) else 0.0
