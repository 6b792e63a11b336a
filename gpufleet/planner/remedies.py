"""What a user could change so that a rejected type would do: one key at a time.

Owns which single changes are worth trying, the mildest first. Leaves trying them to `selection`, which evaluates the type
again under each: a remedy is told only when it works.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from gpufleet.planner.catalog import Offer
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.units import GIB
from gpufleet.planner.workload import is_pipeline

SHORTER_CONTEXTS = (65536, 32768, 16384, 8192, 4096, 2048, 1024)
SMALLER_FORMATS = ("fp8", "int4")
"""What the engine can make of 16-bit weights while it loads them."""


class Change(NamedTuple):
    """One key set to another value, and the requirements with it. `order` is how mild it is, the mildest 0."""

    text: str
    requirements: Requirements
    order: int


def single_changes(requirements: Requirements, offer: Offer, max_model_len: int) -> Iterator[Change]:
    """The changes that may let this type in, the mildest first."""
    pipelines = tuple(_of_pipeline(requirements))
    for order, (text, changed) in enumerate(pipelines):
        yield Change(text, changed, order)
    keys = (
        *_caps(requirements, offer),
        *_shorter(requirements, max_model_len),
        *_host(requirements),
        *_other_degree(requirements),
        *_smaller_weights(requirements),
        *_permissions(requirements, offer),
    )
    for order, (key, value, text) in enumerate(keys, start=len(pipelines)):
        yield Change(text, _with(requirements, key, value), order)


Key = tuple[str, Any, str]
"""Attribute path, value, and the change in the document's words."""


def _of_pipeline(requirements: Requirements) -> Iterator[tuple[str, Requirements]]:
    """What a diffusion pipeline can do without."""
    if is_pipeline(requirements):
        from gpufleet.planner.diffusion.remedies import single_remedies

        for remedy in single_remedies(requirements):
            changed = {"model": remedy.model, "serving": remedy.serving}
            yield remedy.text, requirements.model_copy(update=changed)


def _caps(requirements: Requirements, offer: Offer) -> Iterator[Key]:
    instance, kind, price = requirements.instance, offer.instance_type, offer.price.on_demand_usd_per_hour
    cap = instance.max_price_usd_per_hour
    if cap is not None and price is not None and price > cap:
        raised = math.ceil(price * 100) / 100
        yield "instance.max_price_usd_per_hour", raised, f"raise instance.maxPricePerHour to {raised:.2f}"
    if kind.gpu_count > instance.max_gpus:
        yield "instance.max_gpus", kind.gpu_count, f"set instance.maxGpus to {kind.gpu_count}"
    zones = len(offer.availability_zone_ids)
    if 0 < zones < instance.min_zones:
        yield "instance.min_zones", zones, f"set instance.minZones to {zones}"


def _shorter(requirements: Requirements, max_model_len: int) -> Iterator[Key]:
    if requirements.serving.full_contexts > 1:
        yield "serving.full_contexts", 1, "set serving.fullContexts to 1"
    for tokens in SHORTER_CONTEXTS:
        if tokens < max_model_len:
            yield "serving.max_model_len", tokens, f"set serving.maxModelLen to {tokens}"


def _host(requirements: Requirements) -> Iterator[Key]:
    serving = requirements.serving
    for vcpu in (2.0, 1.0):
        if serving.min_vcpu > vcpu:
            yield "serving.min_vcpu", vcpu, f"lower serving.minVcpu to {vcpu:g}"
    if serving.min_memory_bytes > 4 * GIB:
        yield "serving.min_memory_bytes", 4 * GIB, "lower serving.minMemory to 4GiB"


def _other_degree(requirements: Requirements) -> Iterator[Key]:
    if requirements.model.tensor_parallelism != "auto":
        yield "model.tensor_parallelism", "auto", "set model.tensorParallelism to auto"


def _smaller_weights(requirements: Requirements) -> Iterator[Key]:
    for precision in SMALLER_FORMATS:
        if requirements.model.precision != precision:
            yield "model.precision", precision, f"set model.precision to {precision}"


def _permissions(requirements: Requirements, offer: Offer) -> Iterator[Key]:
    instance, kind = requirements.instance, offer.instance_type
    named = [name for name in instance.exclude if name in (kind.name, kind.family)]
    if named:
        kept = tuple(name for name in instance.exclude if name not in named)
        yield "instance.exclude", kept, f"remove {' and '.join(named)} from instance.exclude"
    if kind.architecture != instance.architecture:
        yield "instance.architecture", kind.architecture, f"set instance.architecture to {kind.architecture}"
    if instance.type:
        yield "instance.type", None, "remove instance.type"


def _with(requirements: Requirements, key: str, value: Any) -> Requirements:
    section, _, attribute = key.partition(".")
    changed = getattr(requirements, section).model_copy(update={attribute: value})
    return requirements.model_copy(update={section: changed})
