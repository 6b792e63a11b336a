"""Which instance type: every offered type gets a verdict with its reason, the best fit is the choice.

Owns the filters, the ranking and the fallbacks. Leaves the arithmetic to `sizing` (memory) and `limits` (80%), and
what AWS has to the catalogue.

Rank: the user's families in their order, then `instance.optimize`, then fewer idle GPUs, newer generation, name.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from gpufleet.planner.catalog import Offer
from gpufleet.planner.errors import NothingFitsError, Problem
from gpufleet.planner.host import HostNeed
from gpufleet.planner.limits import InstanceLimits, divide_limits
from gpufleet.planner.network import UsableZones
from gpufleet.planner.plan import Candidate, Verdict
from gpufleet.planner.remedies import Change, single_changes
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.sizing import ReplicaSize, ReplicaSizer

MAX_FALLBACKS = 39
"""EC2 Auto Scaling takes at most 40 types in a mixed-instances policy."""

MISSES_SHOWN = 3

_T = TypeVar("_T")


class Fit(NamedTuple):
    """A type that holds at least one replica."""

    offer: Offer
    zone_ids: tuple[str, ...]
    size: ReplicaSize
    replicas: int
    limits: InstanceLimits

    @property
    def name(self) -> str:
        return self.offer.instance_type.name

    @property
    def hourly_usd(self) -> float | None:
        return self.offer.price.on_demand_usd_per_hour

    @property
    def hourly_usd_per_replica(self) -> float | None:
        return None if self.hourly_usd is None else round(self.hourly_usd / self.replicas, 6)

    @property
    def idle_gpus(self) -> int:
        return self.offer.instance_type.gpu_count - self.replicas * self.size.gpus


class Rejection(NamedTuple):
    """Why a type was not taken, and how far its sizing went."""

    offer: Offer
    reason: str
    zone_ids: tuple[str, ...] = ()
    size: ReplicaSize | None = None
    replicas: int | None = None


class Selection(NamedTuple):
    """The choice, the types that may stand in for it, and a verdict on every offered type; also all that fit, in rank
    order, and all that do not."""

    choice: Fit
    fallbacks: tuple[Fit, ...]
    candidates: tuple[Candidate, ...]
    fits: tuple[Fit, ...]
    rejections: tuple[Rejection, ...]


def select(requirements: Requirements, offers: Sequence[Offer], zones: UsableZones, sizer: ReplicaSizer) -> Selection:
    """The best offered type under the ranking; NothingFitsError with the nearest misses where there is none."""
    evaluated = [_evaluate(requirements, offer, zones, sizer) for offer in offers]
    rank = _ranking(requirements)
    fits = sorted((e for e in evaluated if isinstance(e, Fit)), key=rank)
    rejections = [e for e in evaluated if isinstance(e, Rejection)]
    if not fits:
        raise _nothing_fits(requirements, rejections, zones, sizer)
    choice = fits[0]
    stand_ins, possible = _stand_ins(requirements, choice, fits[1:], sizer)
    candidates = sorted(
        [
            _candidate(choice, "choice", _choice_reason(requirements, choice)),
            *(_candidate(f, "fallback", f"serves the same replica: {f.size.summary}") for f in stand_ins),
            *(_candidate(f, "possible", reason) for f, reason in possible),
            *(_rejected(r) for r in rejections),
        ],
        key=lambda c: c.type,
    )
    return Selection(
        choice=choice,
        fallbacks=tuple(stand_ins),
        candidates=tuple(candidates),
        fits=tuple(fits),
        rejections=tuple(rejections),
    )


def _evaluate(requirements: Requirements, offer: Offer, zones: UsableZones, sizer: ReplicaSizer) -> Fit | Rejection:
    zone_ids = zones.of(offer.availability_zone_ids)
    for check in _CHECKS:
        reason = check(requirements, offer, zone_ids)
        if reason:
            return Rejection(offer=offer, reason=reason, zone_ids=zone_ids)
    kind = offer.instance_type
    size = sizer.best_size(kind.gpu, usable_memory_mib=kind.usable_gpu_memory_mib, gpus=kind.gpu_count)
    if not size.fits:
        return Rejection(offer=offer, reason=size.reason, zone_ids=zone_ids, size=size)
    replicas = kind.gpu_count // size.gpus
    limits = divide_limits(vcpu=kind.vcpu, memory_mib=kind.memory_mib, replicas=replicas, gpus_per_replica=size.gpus)
    reason = _host_objection(sizer.host_need(size), limits)
    if reason:
        return Rejection(offer=offer, reason=reason, zone_ids=zone_ids, size=size, replicas=replicas)
    return Fit(offer=offer, zone_ids=zone_ids, size=size, replicas=replicas, limits=limits)


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
    count, most = offer.instance_type.gpu_count, requirements.instance.max_gpus
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


def _host_objection(need: HostNeed, limits: InstanceLimits) -> str | None:
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


# Ranking ----------------------------------------------------------------------------------------------------------


def _ranking(requirements: Requirements) -> Callable[[Fit], tuple[object, ...]]:
    families = {family: place for place, family in reversed(list(enumerate(requirements.instance.families)))}
    per_replica = requirements.instance.optimize == "costPerReplica"

    def rank(fit: Fit) -> tuple[object, ...]:
        kind = fit.offer.instance_type
        price = fit.hourly_usd_per_replica if per_replica else fit.hourly_usd
        return (
            families.get(kind.family, len(families)),
            price is None,
            price or 0.0,
            fit.idle_gpus,
            -kind.generation,
            kind.name,
        )

    return rank


# Fallbacks --------------------------------------------------------------------------------------------------------


def _stand_ins(
    requirements: Requirements, choice: Fit, others: Iterable[Fit], sizer: ReplicaSizer
) -> tuple[list[Fit], list[tuple[Fit, str]]]:
    """The types that run as many of the very same replicas, in rank order, and the rest with the reason."""
    stand_ins: list[Fit] = []
    possible: list[tuple[Fit, str]] = []
    for other in others:
        result = _as_stand_in(requirements, choice, other, sizer)
        if isinstance(result, str):
            possible.append((other, result))
        elif len(stand_ins) == MAX_FALLBACKS:
            possible.append((other, f"a group takes at most {MAX_FALLBACKS + 1} types"))
        else:
            stand_ins.append(result)
    return stand_ins, possible


def _as_stand_in(requirements: Requirements, choice: Fit, other: Fit, sizer: ReplicaSizer) -> Fit | str:
    """`other` running the choice's replicas, or why it cannot."""
    kind = other.offer.instance_type
    zone_ids = tuple(z for z in other.zone_ids if z in choice.zone_ids)
    if not zone_ids:
        return f"ranks after {choice.name}; no fallback: offered in none of its zones"
    replicas = kind.gpu_count // choice.size.gpus
    if replicas != choice.replicas:
        return f"ranks after {choice.name}; no fallback: it would run {replicas} replicas, not {choice.replicas}"
    size = sizer.same_size(choice.size, kind.gpu, usable_memory_mib=kind.usable_gpu_memory_mib)
    if not size.fits:
        return f"ranks after {choice.name}; no fallback: with the same server, {size.reason}"
    limits = divide_limits(vcpu=kind.vcpu, memory_mib=kind.memory_mib, replicas=replicas, gpus_per_replica=size.gpus)
    objection = _host_objection(sizer.host_need(size), limits)
    if objection:
        return f"ranks after {choice.name}; no fallback: {objection}"
    return other._replace(zone_ids=zone_ids, size=size, replicas=replicas, limits=limits)


# Words ------------------------------------------------------------------------------------------------------------


def _candidate(fit: Fit, verdict: Verdict, reason: str) -> Candidate:
    return Candidate(
        type=fit.name,
        verdict=verdict,
        reason=reason,
        tensor_parallelism=fit.size.tensor_parallelism,
        pipeline_parallelism=fit.size.pipeline_parallelism,
        replicas_per_instance=fit.replicas,
        hourly_usd=fit.hourly_usd,
        hourly_usd_per_replica=fit.hourly_usd_per_replica,
        spot_hourly_usd=fit.offer.price.spot_usd_per_hour,
        availability_zone_ids=fit.zone_ids,
    )


def _rejected(rejection: Rejection) -> Candidate:
    price, replicas = rejection.offer.price.on_demand_usd_per_hour, rejection.replicas
    return Candidate(
        type=rejection.offer.instance_type.name,
        verdict="rejected",
        reason=rejection.reason,
        tensor_parallelism=rejection.size.tensor_parallelism if rejection.size else None,
        pipeline_parallelism=rejection.size.pipeline_parallelism if rejection.size else None,
        replicas_per_instance=replicas,
        hourly_usd=price,
        hourly_usd_per_replica=round(price / replicas, 6) if price is not None and replicas else None,
        spot_hourly_usd=rejection.offer.price.spot_usd_per_hour,
        availability_zone_ids=rejection.zone_ids,
    )


def _choice_reason(requirements: Requirements, choice: Fit) -> str:
    preferred = choice.offer.instance_type.family in requirements.instance.families
    if requirements.instance.type:
        why = "pinned by instance.type"
    elif choice.hourly_usd is None:
        why = "the only kind that fits; its price is unknown"
    else:
        what = "per replica " if requirements.instance.optimize == "costPerReplica" else ""
        scope = " of the first preferred family that fits" if preferred else " that fits"
        why = f"the lowest price {what}{scope.strip()}"
    return f"{why}; {choice.size.summary}"


class _Remedy(NamedTuple):
    """A change that was tried and lets the type in."""

    rejection: Rejection
    change: Change


def _nothing_fits(
    requirements: Requirements, rejections: Sequence[Rejection], zones: UsableZones, sizer: ReplicaSizer
) -> NothingFitsError:
    """The nearest misses: those that one change would let in, the mildest and cheapest first, or the smallest shortfalls."""
    remedies = [r for r in (_remedy(requirements, rejection, zones, sizer) for rejection in rejections) if r]
    remedies = sorted(
        remedies, key=lambda r: (r.change.order, _price(r.rejection), r.rejection.offer.instance_type.name)
    )
    told = _first_of_each(remedies, lambda r: r.change.text.split(" to ")[0])[:MISSES_SHOWN]
    misses = [r.rejection for r in told] or _first_of_each(
        sorted(rejections, key=shortfall), lambda r: (r.offer.instance_type.gpu.name, r.reason)
    )[:MISSES_SHOWN]
    return NothingFitsError(
        Problem(
            path="instance.type" if requirements.instance.type else "model",
            message=f"no instance type that {requirements.region} offers can serve this; the nearest: "
            + "; ".join(f"{miss.offer.instance_type.name}: {miss.reason}" for miss in misses),
            given=requirements.instance.type or requirements.model.id,
            allowed="a type that the region offers and that holds a replica",
            next_step="; or ".join(
                f"{r.change.text} (then {r.rejection.offer.instance_type.name} serves it)" for r in told
            )
            or "no single change of the requirements makes a type fit here: take a smaller model, or another region",
            candidates=tuple(
                c.model_dump(by_alias=True, mode="json")
                for c in sorted(map(_rejected, rejections), key=lambda c: c.type)
            ),
        )
    )


def _remedy(
    requirements: Requirements, rejection: Rejection, zones: UsableZones, sizer: ReplicaSizer
) -> _Remedy | None:
    """The mildest single change under which the type is no longer rejected; tried, not guessed."""
    for change in single_changes(requirements, rejection.offer, sizer.max_model_len):
        changed = sizer.under(change.requirements)
        if changed.loads() and isinstance(_evaluate(change.requirements, rejection.offer, zones, changed), Fit):
            return _Remedy(rejection, change)
    return None


def shortfall(rejection: Rejection) -> tuple[float, float, str]:
    """How near a miss: what was sized before what was not, then GiB per GPU, then price."""
    missing = rejection.size.shortfall_gib if rejection.size else float("inf")
    return missing, _price(rejection), rejection.offer.instance_type.name


def _price(rejection: Rejection) -> float:
    price = rejection.offer.price.on_demand_usd_per_hour
    return float("inf") if price is None else price


def _first_of_each(items: Sequence[_T], kind: Callable[[_T], object]) -> list[_T]:
    seen: dict[object, _T] = {}
    for item in items:
        seen.setdefault(kind(item), item)
    return list(seen.values())
