"""Which types may stand in for the choice when EC2 is short of it: those that run as many of the very same replicas.

Owns what makes a fallback. Leaves the order to `selection`.
"""

from collections.abc import Iterable

from gpufleet.planner.candidates import Fit
from gpufleet.planner.evaluation import host_objection
from gpufleet.planner.limits import divide_limits
from gpufleet.planner.sizing import ReplicaSizer

MAX_FALLBACKS = 39
"""EC2 Auto Scaling takes at most 40 types in a mixed-instances policy."""


def stand_ins(choice: Fit, others: Iterable[Fit], sizer: ReplicaSizer) -> tuple[list[Fit], list[tuple[Fit, str]]]:
    """The fallbacks in the order of `others`, and the rest of them with the reason."""
    found: list[Fit] = []
    possible: list[tuple[Fit, str]] = []
    for other in others:
        result = _as_stand_in(choice, other, sizer)
        if isinstance(result, str):
            possible.append((other, result))
        elif len(found) == MAX_FALLBACKS:
            possible.append((other, f"a group takes at most {MAX_FALLBACKS + 1} types"))
        else:
            found.append(result)
    return found, possible


def _as_stand_in(choice: Fit, other: Fit, sizer: ReplicaSizer) -> Fit | str:
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
    objection = host_objection(sizer.host_need(size), limits)
    if objection:
        return f"ranks after {choice.name}; no fallback: {objection}"
    return other._replace(zone_ids=zone_ids, size=size, replicas=replicas, limits=limits)
