"""What whoever reads a plan should know of it, each with the key that it hangs on and what to do.

Owns the words of the plan's warnings and refusals. Leaves what was selected, and why, to `selection`.
"""

import math
from collections.abc import Iterator

from gpufleet.planner.candidates import Fit, shortfall
from gpufleet.planner.gaps import law_gaps, unserved
from gpufleet.planner.plan import Notice
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.selection import Selection
from gpufleet.planner.server import load_problem
from gpufleet.planner.sizing import ReplicaSizer
from gpufleet.planner.units import MIB_PER_GIB

COSTLY_PREFERENCE = 1.5
"""A preferred family that costs more than this times the best of the others is worth a warning."""

COSTLY_FALLBACK = 2
"""The same, of a fallback against the choice."""


def notices_of(requirements: Requirements, sizer: ReplicaSizer, selection: Selection) -> tuple[Notice, ...]:
    """Every notice, refusals first."""
    problem = load_problem(sizer, selection.choice.size.precision)
    return (
        *((problem,) if problem else ()),
        *_unserved(requirements, sizer),
        *_passed_over(requirements, selection),
        *_costly_preference(requirements, selection),
        *_single_points(requirements, selection),
        *_costly_fallbacks(selection),
        *_moving_image(requirements),
        *_moving_weights(requirements),
        *_reserved_type(requirements, selection.choice),
        *_waste(selection.choice),
        *_page_cache(selection.choice),
        *_precision(requirements, sizer, selection.choice),
        *_empty(requirements),
        *_unknowns(requirements, selection.choice),
        *_unmeasured(sizer, selection.choice),
    )


def _unserved(requirements: Requirements, sizer: ReplicaSizer) -> Iterator[Notice]:
    """An image of the user's own may have what the engine's lacks, such as a plugin."""
    if said := unserved(sizer.architecture, sizer.engine, sizer.engine_version):
        yield Notice(
            path="model.id",
            message=said,
            next_step="name an image that adds it as serving.image, or another model",
            is_refusal=requirements.serving.image is None,
        )


def _passed_over(requirements: Requirements, selection: Selection) -> Iterator[Notice]:
    """Why each family that the user put before the choice's was not taken."""
    choice = selection.choice
    for family in requirements.instance.families:
        if family == choice.offer.instance_type.family:
            break
        of_family = [r for r in selection.rejections if r.offer.instance_type.family == family]
        why = "the region does not offer it"
        if of_family:
            nearest_miss = min(of_family, key=shortfall)
            why = f"{nearest_miss.offer.instance_type.name}: {nearest_miss.reason}"
        yield Notice(
            path="instance.families",
            message=f"preferred family {family} was passed over for {choice.name}: {why}",
            next_step=f"remove {family} from instance.families, or change what rules it out",
        )


def _costly_preference(requirements: Requirements, selection: Selection) -> Iterator[Notice]:
    families, choice = requirements.instance.families, selection.choice
    if choice.offer.instance_type.family not in families or choice.hourly_usd is None:
        return
    others = [f for f in selection.fits if f.offer.instance_type.family not in families and f.hourly_usd is not None]
    best = min(others, key=lambda f: (f.hourly_usd or 0.0, f.name), default=None)
    if best is None or best.hourly_usd is None or choice.hourly_usd <= COSTLY_PREFERENCE * best.hourly_usd:
        return
    yield Notice(
        path="instance.families",
        message=f"the preferred {choice.name} costs {_usd(choice.hourly_usd)}, {choice.hourly_usd / best.hourly_usd:.1f} "
        f"times {best.name} at {_usd(best.hourly_usd)}, which holds the model too",
        next_step=f"name {best.offer.instance_type.family} first in instance.families to take that",
    )


def _single_points(requirements: Requirements, selection: Selection) -> Iterator[Notice]:
    choice = selection.choice
    if not selection.fallbacks:
        is_pinned = requirements.instance.type is not None
        yield Notice(
            path="instance.type" if is_pinned else "instance",
            message=f"{choice.name} is the only type that this fleet can launch: no fallback when EC2 is short of it",
            next_step="remove instance.type to let others in"
            if is_pinned
            else "the candidates' reasons say what keeps the others out",
        )
    if len(choice.zone_ids) == 1:
        yield Notice(
            path="instance.minZones",
            message=f"{choice.name} is usable in one availability zone only ({choice.zone_ids[0]})",
            next_step="set instance.minZones to 2 to take a type that more zones have",
        )


def _costly_fallbacks(selection: Selection) -> Iterator[Notice]:
    choice = selection.choice
    priced = [f for f in selection.fallbacks if f.hourly_usd is not None]
    dearest = max(priced, key=lambda f: (f.hourly_usd or 0.0, f.name), default=None)
    if dearest is None or choice.hourly_usd is None or (dearest.hourly_usd or 0) <= COSTLY_FALLBACK * choice.hourly_usd:
        return
    yield Notice(
        path="instance.maxPricePerHour",
        message=f"when EC2 is short of {choice.name} the group may fall back as far as {dearest.name} at "
        f"{_usd(dearest.hourly_usd)}",
        next_step="set instance.maxPricePerHour to bound that",
    )


def _moving_image(requirements: Requirements) -> Iterator[Notice]:
    """What boots must not change unseen where the stack is protected."""
    if requirements.protect and requirements.instance.ami == "latest":
        yield Notice(
            path="instance.ami",
            message="instance.ami is latest, which is read at each `up`: after AWS's next release, whoever's change comes "
            "first rolls the fleet",
            next_step="run `gpufleet ami -s STACK --update` to pin today's id",
        )
    if requirements.instance.ami == "launch":
        yield Notice(
            path="instance.ami",
            message="instance.ami is launch, which EC2 reads whenever it launches an instance: no preview shows a new AMI, and "
            "the fleet may run several at once",
            next_step="run `gpufleet ami -s STACK --update` to pin today's id",
        )


def _moving_weights(requirements: Requirements) -> Iterator[Notice]:
    """The same, of the weights: instances that boot on different days must not serve different models."""
    repository, revision = requirements.model.repository
    if requirements.protect and repository and not revision:
        yield Notice(
            path="model.source",
            message="model.source names no revision: each instance takes the repository's newest commit when it boots",
            next_step="set model.source to hf://OWNER/NAME@COMMIT, or keep a copy in s3://",
        )


def _reserved_type(requirements: Requirements, choice: Fit) -> Iterator[Notice]:
    if requirements.instance.capacity_reservations and requirements.instance.type is None:
        yield Notice(
            path="instance.capacityReservations",
            message=f"a capacity reservation is for one type and zone, and {choice.name} was chosen without knowing which: "
            "where they differ, the reservation stays empty and is paid for",
            next_step="set instance.type to the type that is reserved",
        )


def _waste(choice: Fit) -> Iterator[Notice]:
    if not choice.idle_gpus:
        return
    count, degree = choice.offer.instance_type.gpu_count, choice.size.gpus
    yield Notice(
        path="model.tensorParallelism",
        message=f"{choice.idle_gpus} of the {count} GPUs of {choice.name} stay idle with {degree} for a replica",
        next_step=f"set model.tensorParallelism to a divisor of {count}",
    )


def _page_cache(choice: Fit) -> Iterator[Notice]:
    """Memory-mapped weights that do not fit the container's RAM are read from disk again while they load."""
    ram_mib, weights_mib = choice.limits.replica.memory_mib, choice.size.checkpoint_gib * MIB_PER_GIB
    if ram_mib >= weights_mib:
        return
    per_gpu_gib = math.ceil(choice.size.checkpoint_gib / choice.size.gpus)
    yield Notice(
        path="serving.minMemory",
        message=f"a container on {choice.name} gets {ram_mib:,} MiB of RAM, less than the {weights_mib:,.0f} MiB of weights: "
        "they load memory-mapped, but slower",
        next_step=f"set serving.minMemory to {per_gpu_gib}GiB to take a larger size",
    )


def _precision(requirements: Requirements, sizer: ReplicaSizer, choice: Fit) -> Iterator[Notice]:
    gpu, family = choice.offer.instance_type.gpu, choice.offer.instance_type.family
    if choice.size.note:
        yield Notice(
            path="model.precision",
            message=choice.size.note,
            next_step=f"name a newer family in instance.families, or keep {gpu.name} knowingly",
        )
    is_default = requirements.model.precision is None and choice.size.precision == "fp16"
    if is_default and sizer.architecture.checkpoint_format == "bf16":
        yield Notice(
            path="model.precision",
            message=f"{gpu.name} has no bf16: the weights are served as fp16",
            next_step=f"set model.precision to fp16 to say so, or exclude {family} (instance.exclude)",
        )


def _empty(requirements: Requirements) -> Iterator[Notice]:
    if requirements.scaling.min == 0:
        yield Notice(
            path="scaling.min",
            message="scaling.min is 0: an empty group emits no GPU metric, so nothing scales it out again but a person",
            next_step="set scaling.min to 1",
        )


def _unknowns(requirements: Requirements, choice: Fit) -> Iterator[Notice]:
    gpu = choice.offer.instance_type.gpu
    if not gpu.usable_is_measured:
        yield Notice(
            path="serving.gpuMemoryUtilization",
            message=f"the usable memory of the {gpu.name} was derived, not measured: {gpu.usable_note}",
            next_step="lower serving.gpuMemoryUtilization for a margin, or take another family",
        )
    if choice.hourly_usd is None:
        yield Notice(
            path="instance.maxPricePerHour",
            message=f"the price of {choice.name} in {requirements.region} is unknown",
            next_step="set instance.maxPricePerHour to take only types whose price is known",
        )


def _unmeasured(sizer: ReplicaSizer, choice: Fit) -> Iterator[Notice]:
    shape = choice.size.shape
    gaps = law_gaps(sizer.architecture, sizer.engine, shape) if shape else ()
    if gaps:
        yield Notice(
            path="serving.memory",
            message=f"no published start-up log shows {'; nor '.join(gaps)}",
            next_step="set serving.memory to what a start of yours logs, or lower serving.gpuMemoryUtilization for a margin",
        )


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.4f} USD/h"
