"""A pipeline's memory on a card, by named part: components, phases, and the largest phase as the plan's figures.

Owns the sum, and what lies beside PyTorch's own. Leaves the phases to `phases`. Two peaks are told, because two are
published: what is allocated, which decides whether it runs, and what PyTorch has reserved by then, which nvidia-smi shows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gpufleet.planner.diffusion.components import LoadedPipeline, format_of
from gpufleet.planner.diffusion.options import Diffusion
from gpufleet.planner.diffusion.phases import Phase, Recipe, Run, phases, stored_bytes
from gpufleet.planner.diffusion.storage import PLAIN, Quantized
from gpufleet.planner.kv_cache import Cache
from gpufleet.planner.memory import GpuMemory
from gpufleet.planner.plan import PipelineComponent, PipelineMemory, PipelinePhase
from gpufleet.planner.precision import Capability
from gpufleet.planner.replica import GivenMemory
from gpufleet.planner.units import GIB, gib_from_mib

CUDA_CONTEXT_GIB = 0.5
"""A process with PyTorch's kernels loaded, beside its allocator: 23.52 GiB in use with 23.01 allocated, in a published
out-of-memory error on a card of 24 GB."""

RESERVED = 1.9
"""Memory that PyTorch has reserved after a first image, by activations: blocks of one phase seldom fit another, and stay
cached while there is room. Replays of traced runs: 1.85 to 2.05."""

BF16_SINCE: Capability = (8, 0)

NO_CACHE = Cache(
    replica_token_bytes=0, gpu_token_bytes=0.0, held=(), block_tokens=1, max_model_len=0, counts_by_context=False
)


class PipelineDemand(NamedTuple):
    """What a replica takes of a GPU, whatever its size."""

    runs: tuple[Run, ...]
    phases: tuple[Phase, ...]

    @property
    def largest(self) -> Phase:
        """The phase that decides."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def total_gib(self) -> float:
        """Of the largest phase, with the CUDA context."""
        return self.largest.total / GIB + CUDA_CONTEXT_GIB

    @property
    def stored_gib(self) -> float:
        """All weights, wherever they wait."""
        return sum(stored_bytes(part, run) for run in self.runs for part in run.pipeline.parts) / GIB

    @property
    def quantized(self) -> tuple[Quantized, ...]:
        """The quantised formats that are used."""
        found = (format_of(p, run.pipeline, run.recipe.compute)[1] for run in self.runs for p in run.pipeline.parts)
        return tuple(dict.fromkeys(q for q in found if q is not None))


@lru_cache(maxsize=2048)
def pipeline_demand(loaded: tuple[LoadedPipeline, ...], options: Diffusion, default_compute: str) -> PipelineDemand:
    """The demand where what the document leaves open is computed in `default_compute`."""
    runs = tuple(Run(pipeline, _recipe(pipeline, options, default_compute)) for pipeline in loaded)
    return PipelineDemand(runs, phases(runs))


def _recipe(pipeline: LoadedPipeline, options: Diffusion, default_compute: str) -> Recipe:
    family = pipeline.family
    return Recipe(
        width=options.width or family.side,
        height=options.height or family.side,
        images=options.images_per_prompt,
        guided=family.guided if options.guidance is None else options.guidance,
        offload=options.offload,
        slicing=options.vae_slicing,
        tiling=options.vae_tiling,
        attention=options.attention,
        compute=default_compute if pipeline.precision not in PLAIN else str(pipeline.precision),
    )


def on_card(demand: PipelineDemand, given: GivenMemory, *, usable_memory_mib: int, utilization: float) -> GpuMemory:
    """The memory on a card, and whether it fits the budget; terms that the document gives stand for the largest phase's."""
    phase, usable = demand.largest, gib_from_mib(usable_memory_mib)
    weights = _or(given.weights_gib, phase.weights / GIB)
    activations = _or(given.activations_gib, (phase.activations + phase.fragmentation) / GIB)
    context = _or(given.non_torch_gib, CUDA_CONTEXT_GIB)
    total, budget = weights + activations + context, utilization * usable
    return GpuMemory(
        weights_gib=weights, activations_gib=activations, non_torch_gib=context, cuda_graphs_gib=0.0,
        total_gib=total, usable_gib=usable, budget_gib=budget, kv_cache_gib=0.0, kv_needed_gib=0.0,
        kv_bytes_per_token=0, kv_cache_tokens=0, full_contexts=0, outside_gib=0.0, cache=NO_CACHE,
        fits=total <= budget, shortfall_gib=max(total - budget, 0.0), pipeline=described(demand),
    )  # fmt: skip


def _or(given: float | None, estimated: float) -> float:
    return estimated if given is None else given


def described(demand: PipelineDemand) -> PipelineMemory:
    """Components and phases as a plan has them."""
    first = demand.runs[0].recipe
    return PipelineMemory(
        width=first.width,
        height=first.height,
        images_per_prompt=first.images,
        guidance=first.guided,
        offload=first.offload,
        components=tuple(
            PipelineComponent(
                pipeline=run.pipeline.id,
                name=part.name,
                parameters=part.parameters,
                precision="as given" if part.size_bytes else format_of(part, run.pipeline, run.recipe.compute)[0],
                weights_gib=round(stored_bytes(part, run) / GIB, 4),
            )
            for run in demand.runs
            for part in run.pipeline.parts
        ),
        phases=tuple(
            PipelinePhase(
                pipeline=phase.pipeline,
                name=phase.name,
                weights_gib=round(phase.weights / GIB, 4),
                activations_gib=round(phase.activations / GIB, 4),
                allocator_gib=round(phase.fragmentation / GIB, 4),
                total_gib=round(phase.total / GIB + CUDA_CONTEXT_GIB, 4),
            )
            for phase in demand.phases
        ),
        peak_allocated_gib=round(max(p.weights + p.activations for p in demand.phases) / GIB, 4),
        peak_reserved_gib=round(max(p.weights + RESERVED * p.activations for p in demand.phases) / GIB, 4),
    )
