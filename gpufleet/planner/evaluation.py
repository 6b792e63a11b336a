"""Whether an offered type can serve, by every rule, and with how many replicas.

Owns the filters and their order. Leaves the arithmetic to `sizing` (memory) and `limits` (80%), what AWS has to the
catalogue, and which of the types that can is taken to `selection`.
"""

from collections.abc import Callable
from typing import NamedTuple

from gpufleet.planner.candidates import Fit, Rejection
from gpufleet.planner.catalog import InstanceType, Offer
from gpufleet.planner.host import HostNeed
from gpufleet.planner.limits import InstanceLimits, divide_limits
from gpufleet.planner.network import UsableZones
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.sizing import ReplicaSize, ReplicaSizer

OVERSHOOT = 8
"""An instance with this many times the GPUs of a replica is taken only where it was asked for."""


class Holding(NamedTuple):
    """What a type holds, wherever it is offered: the size of a replica, how many, and why they cannot run after all."""

    size: ReplicaSize
    replicas: int | None = None
    limits: InstanceLimits | None = None
    objection: str | None = None


class Evaluator:
    """Evaluates the types of one document. What does not depend on the region is worked out once for each type, and sizes
    once for each card and number of GPUs."""

    def __init__(self, requirements: Requirements, zones: UsableZones, sizer: ReplicaSizer) -> None:
        self.requirements, self.zones, self.sizer = requirements, zones, sizer
        self._sizes: dict[tuple[str, int, int], ReplicaSize] = {}
        self._holdings: dict[str, Holding] = {}

    def without_account(self) -> "Evaluator":
        """The same requirements where no account narrows the zones."""
        anywhere = Evaluator(self.requirements, UsableZones(ids=None), self.sizer)
        anywhere._sizes, anywhere._holdings = self._sizes, self._holdings
        return anywhere

    def under(self, requirements: Requirements) -> "Evaluator":
        """The same model and account under changed requirements."""
        return Evaluator(requirements, self.zones, self.sizer.under(requirements))

    def evaluate(self, offer: Offer) -> Fit | Rejection:
        """The type with the smallest replicas that fit and as many of them as its GPUs hold, or why not."""
        zone_ids = self.zones.of(offer.availability_zone_ids)
        for check in _CHECKS:
            reason = check(self.requirements, offer, zone_ids)
            if reason:
                return Rejection(offer=offer, reason=reason, zone_ids=zone_ids)
        size, replicas, limits, objection = self._holding(offer.instance_type)
        if objection or replicas is None or limits is None:
            reason = objection or size.reason
            return Rejection(offer=offer, reason=reason, zone_ids=zone_ids, size=size, replicas=replicas)
        return Fit(offer=offer, zone_ids=zone_ids, size=size, replicas=replicas, limits=limits)

    def _holding(self, kind: InstanceType) -> Holding:
        if kind.name not in self._holdings:
            self._holdings[kind.name] = self._held_by(kind)
        return self._holdings[kind.name]

    def _held_by(self, kind: InstanceType) -> Holding:
        size = self._size(kind)
        if not size.fits:
            return Holding(size)
        replicas = kind.gpu_count // size.gpus
        limits = divide_limits(
            vcpu=kind.vcpu, memory_mib=kind.memory_mib, replicas=replicas, gpus_per_replica=size.gpus
        )
        objection = host_objection(self.sizer.host_need(size), limits) or _overshoot(self.requirements, kind, size)
        return Holding(size, replicas, limits, objection)

    def _size(self, kind: InstanceType) -> ReplicaSize:
        key = (kind.gpu.name, kind.usable_gpu_memory_mib, kind.gpu_count)
        if key not in self._sizes:
            self._sizes[key] = self.sizer.best_size(
                kind.gpu, usable_memory_mib=kind.usable_gpu_memory_mib, gpus=kind.gpu_count
            )
        return self._sizes[key]


def host_objection(need: HostNeed, limits: InstanceLimits) -> str | None:
    """Whether a replica's share of the 80% holds what the server needs beside its memory-mapped weights."""
    if limits.replica.vcpu < need.vcpu:
        return (
            f"a container gets {limits.replica.vcpu:g} vCPU, and serving.minVcpu asks {need.vcpu:g} "
            f"({need.vcpu_per_gpu:g} per GPU)"
        )
    if limits.replica.memory_mib < need.memory_mib:
        what = " and ".join(part.reason for part in need.parts)
        return f"a container gets {limits.replica.memory_mib:,} MiB, and the server needs {need.memory_mib:,} ({what})"
    return None


def _overshoot(requirements: Requirements, kind: InstanceType, size: ReplicaSize) -> str | None:
    """Many GPUs where a replica needs one are never rented by accident."""
    instance = requirements.instance
    if instance.type or instance.max_gpus is not None or kind.gpu_count < OVERSHOOT * size.gpus:
        return None
    return f"{kind.gpu_count} GPUs, where a replica needs {size.gpus}; instance.maxGpus {kind.gpu_count} accepts that"


# Checks that need no sizing, in the order in which a reader would ask them: the objection, or None -------------------


def _served(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    kind = offer.instance_type
    if not kind.selectable:
        return kind.not_selectable_reason
    return None if "on-demand" in kind.purchase_options else "EC2 does not sell it on demand"


def _pinned(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    pin = requirements.instance.type
    return f"instance.type pins {pin}" if pin and offer.instance_type.name != pin else None


def _excluded(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    names = (offer.instance_type.name, offer.instance_type.family)
    named = [name for name in names if name in requirements.instance.exclude]
    return f"excluded: instance.exclude names {named[0]}" if named else None


def _architecture(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    wanted, is_ = requirements.instance.architecture, offer.instance_type.architecture
    return f"{is_}, and instance.architecture is {wanted}" if is_ != wanted else None


def _gpu_count(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    count, most = offer.instance_type.gpu_count, requirements.instance.most_gpus
    return f"{count} GPUs, and instance.maxGpus is {most}" if count > most else None


def _zones(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    least = requirements.instance.min_zones
    if not zone_ids:
        offered = ", ".join(offer.availability_zone_ids) or "no zone"
        return f"offered in {offered}, where the account and the given subnets have nothing"
    if len(zone_ids) < least:
        zones = "zone" if len(zone_ids) == 1 else "zones"
        return f"usable in {len(zone_ids)} {zones} ({', '.join(zone_ids)}), and instance.minZones is {least}"
    return None


def _price_cap(requirements: Requirements, offer: Offer, zone_ids: tuple[str, ...]) -> str | None:
    cap, price = requirements.instance.max_price_usd_per_hour, offer.price.on_demand_usd_per_hour
    if cap is None or (price is not None and price <= cap):
        return None
    costs = "its price is unknown" if price is None else f"{price:.4f} USD per hour"
    return f"{costs}, and instance.maxPricePerHour is {cap:.2f}"


Check = Callable[[Requirements, Offer, tuple[str, ...]], str | None]
_CHECKS: tuple[Check, ...] = (_served, _pinned, _excluded, _architecture, _gpu_count, _zones, _price_cap)
