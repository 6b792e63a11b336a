"""What became of an offered type: it holds replicas, or it does not; and either as a row of the plan.

Owns the two outcomes and their numbers. Leaves to `evaluation` how a type comes to one, and the verdict to `selection`.
"""

from typing import NamedTuple

from gpufleet.planner.catalog import InstanceType, Offer
from gpufleet.planner.limits import InstanceLimits
from gpufleet.planner.memory import GpuMemory
from gpufleet.planner.plan import Candidate, Verdict
from gpufleet.planner.sizing import ReplicaSize
from gpufleet.planner.units import gib_from_mib


class Fit(NamedTuple):
    """A type that holds at least one replica."""

    offer: Offer
    zone_ids: tuple[str, ...]
    size: ReplicaSize
    replicas: int
    limits: InstanceLimits

    @property
    def name(self) -> str:
        """Of the type."""
        return self.offer.instance_type.name

    @property
    def hourly_usd(self) -> float | None:
        """On demand; None where unknown."""
        return self.offer.price.on_demand_usd_per_hour

    @property
    def hourly_usd_per_replica(self) -> float | None:
        """The same, for each replica on an instance."""
        return _per_replica(self.hourly_usd, self.replicas)

    @property
    def idle_gpus(self) -> int:
        """GPUs of an instance that no replica uses."""
        return self.offer.instance_type.gpu_count - self.replicas * self.size.gpus


class Rejection(NamedTuple):
    """Why a type was not taken, and how far its sizing went."""

    offer: Offer
    reason: str
    zone_ids: tuple[str, ...] = ()
    size: ReplicaSize | None = None
    replicas: int | None = None

    @property
    def hourly_usd(self) -> float | None:
        """On demand; None where unknown."""
        return self.offer.price.on_demand_usd_per_hour


def shortfall(rejection: Rejection) -> tuple[float, float, str]:
    """How near a miss: what was sized before what was not, then GiB per GPU, then price."""
    missing = rejection.size.shortfall_gib if rejection.size else float("inf")
    price = float("inf") if rejection.hourly_usd is None else rejection.hourly_usd
    return missing, price, rejection.offer.instance_type.name


def candidate(outcome: Fit | Rejection, verdict: Verdict, reason: str) -> Candidate:
    """The row of a type in the plan."""
    kind, size, price = outcome.offer.instance_type, outcome.size, outcome.offer.price
    memory = size.memory if size else None
    fit = outcome if isinstance(outcome, Fit) else None
    return Candidate(
        type=kind.name,
        verdict=verdict,
        reason=reason,
        gpu=kind.gpu.name,
        gpu_count=kind.gpu_count,
        tensor_parallelism=size.tensor_parallelism if size else None,
        pipeline_parallelism=size.pipeline_parallelism if size else None,
        replicas_per_instance=outcome.replicas,
        usable_gib=round(gib_from_mib(kind.usable_gpu_memory_mib), 4),
        budget_gib=round(memory.budget_gib, 4) if memory else None,
        needed_gib=round(memory.needed_gib, 4) if memory else None,
        shortfall_gib=round(memory.shortfall_gib, 4) if memory else None,
        idle_gpus=fit.idle_gpus if fit else None,
        idle_gpu_memory_gib=round(_idle_memory_gib(kind, memory, fit.idle_gpus), 4) if fit and memory else None,
        hourly_usd=outcome.hourly_usd,
        hourly_usd_per_replica=_per_replica(outcome.hourly_usd, outcome.replicas),
        spot_hourly_usd=price.spot_usd_per_hour,
        availability_zone_ids=outcome.zone_ids,
    )


def rejected(rejection: Rejection) -> Candidate:
    """The row of a type that was not taken."""
    return candidate(rejection, "rejected", rejection.reason)


def _per_replica(hourly_usd: float | None, replicas: int | None) -> float | None:
    return round(hourly_usd / replicas, 6) if hourly_usd is not None and replicas else None


def _idle_memory_gib(kind: InstanceType, memory: GpuMemory, idle_gpus: int) -> float:
    """GPU memory of an instance that the contexts do not need: idle cards whole, and what is left of the budget on others."""
    used = kind.gpu_count - idle_gpus
    return idle_gpus * gib_from_mib(kind.usable_gpu_memory_mib) + used * max(memory.budget_gib - memory.needed_gib, 0.0)
