"""What the containers of an instance may use: the one home of 80%.

Owns the share, its rounding, and how it is divided among replicas and their proxy. Leaves to `selection` whether that
is enough for the server.
"""

from typing import NamedTuple

from gpufleet.planner.plan import Limits
from gpufleet.planner.units import MIB_PER_GIB, floor_to

CONTAINER_SHARE = 0.8
"""Of an instance's vCPUs and RAM; the rest is the host's: kernel, driver, agents, page cache."""

PROXY_LIMITS = Limits(vcpu=0.5, memory_mib=256)
"""A reverse proxy that only passes bytes on; taken out of the 80%."""

SHARED_MEMORY_SINGLE_GPU_MIB = 1 * MIB_PER_GIB
SHARED_MEMORY_PER_GPU_MIB = 2 * MIB_PER_GIB
SHARED_MEMORY_SHARE = 0.25
"""Pages of /dev/shm count against a container's memory, so they never get more than this part of it."""


class InstanceLimits(NamedTuple):
    """The limits of every container on one instance."""

    replica: Limits
    proxy: Limits | None
    shared_memory_mib: int


def divide_limits(*, vcpu: int, memory_mib: int, replicas: int, gpus_per_replica: int) -> InstanceLimits:
    """80% of an instance, divided among its containers; vCPU down to 0.01, memory down to 1 MiB.

    >>> divide_limits(vcpu=8, memory_mib=32768, replicas=1, gpus_per_replica=1).replica
    Limits(vcpu=6.4, memory_mib=26214)
    """
    proxy = PROXY_LIMITS if replicas > 1 else None
    vcpu_left = vcpu * CONTAINER_SHARE - (proxy.vcpu if proxy else 0)
    memory_left_mib = memory_mib * CONTAINER_SHARE - (proxy.memory_mib if proxy else 0)
    replica = Limits(
        vcpu=floor_to(max(vcpu_left, 0) / replicas, 0.01),
        memory_mib=int(floor_to(max(memory_left_mib, 0) / replicas, 1)),
    )
    wanted_mib = SHARED_MEMORY_SINGLE_GPU_MIB if gpus_per_replica == 1 else SHARED_MEMORY_PER_GPU_MIB * gpus_per_replica
    return InstanceLimits(
        replica=replica,
        proxy=proxy,
        shared_memory_mib=min(wanted_mib, int(replica.memory_mib * SHARED_MEMORY_SHARE)),
    )
