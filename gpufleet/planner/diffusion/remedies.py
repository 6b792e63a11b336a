"""What a user could change so that a pipeline fits: one key at a time, or two.

Owns which changes are worth trying, the mildest first. Leaves trying them to whoever has a card: a remedy is told only when
it works.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from typing import Any, NamedTuple

from gpufleet.planner.catalog import GpuModel
from gpufleet.planner.diffusion.options import diffusion_options
from gpufleet.planner.requirements import Model, Serving, Workload
from gpufleet.planner.sizing import ReplicaSizer

MOST_TOLD = 3


class Remedy(NamedTuple):
    """Keys set to other values, in the document's words; `model` and `serving` as they are then."""

    text: str
    model: Model
    serving: Serving


class _Changed(NamedTuple):
    """A workload under a remedy."""

    model: Model
    serving: Serving


def single_remedies(workload: Workload) -> Iterator[Remedy]:
    """One key changed, the mildest first."""
    yield from (_with(workload, (key,)) for key in _keys(workload))


def working_remedies(sizer: ReplicaSizer, gpu: GpuModel, *, usable_memory_mib: int) -> tuple[str, ...]:
    """The mildest changes under which the pipeline fits this card, each with what it takes then: of one key, or of two
    where no single one will do."""
    workload = sizer.requirements
    pairs = (_with(workload, pair) for pair in combinations(tuple(_keys(workload)), 2) if pair[0][0] != pair[1][0])
    for tried in (single_remedies(workload), pairs):
        told = (_told(sizer, remedy, gpu, usable_memory_mib) for remedy in tried)
        if found := tuple(islice((text for text in told if text), MOST_TOLD)):
            return found
    return ()


def _told(sizer: ReplicaSizer, remedy: Remedy, gpu: GpuModel, usable_memory_mib: int) -> str:
    """The remedy and its memory, where it works."""
    changed = sizer.under(_Changed(remedy.model, remedy.serving))
    size = changed.best_size(gpu, usable_memory_mib=usable_memory_mib, gpus=1)
    if not size.fits or size.memory is None:
        return ""
    return f"to make it fit, {remedy.text}: {size.memory.total_gib:.2f} of {size.memory.budget_gib:.2f} GiB"


Key = tuple[str, Any, str]
"""Path, value, and how YAML writes it."""


def _keys(workload: Workload) -> Iterator[Key]:
    options, precision = diffusion_options(workload), workload.model.precision
    if options.attention != "sdpa":
        yield "serving.diffusion.attention", "sdpa", "sdpa"
    if options.images_per_prompt > 1 and not options.vae_slicing:
        yield "serving.diffusion.vaeSlicing", True, "true"
    if not options.vae_tiling:
        yield "serving.diffusion.vaeTiling", True, "true"
    if precision == "fp32":
        yield "model.precision", "fp16", "fp16"
    if options.offload == "none":
        yield "serving.diffusion.offload", "model", "model"
    for smaller in ("int8", "int4"):
        if precision not in ("int4", smaller):
            yield "model.precision", smaller, smaller
    if options.images_per_prompt > 1:
        yield "serving.diffusion.imagesPerPrompt", 1, "1"
    if options.offload != "sequential":
        yield "serving.diffusion.offload", "sequential", "sequential"


def _with(workload: Workload, chosen: tuple[Key, ...]) -> Remedy:
    model, serving = workload.model, workload.serving
    for path, value, _ in chosen:
        section, _, key = path.rpartition(".")
        if section == "model":
            model = model.model_copy(update={key: value})
        else:
            serving = serving.model_copy(update={"diffusion": {**(serving.diffusion or {}), key: value}})
    return Remedy(" and ".join(f"set {path} to {written}" for path, _, written in chosen), model, serving)
