"""A diffusion pipeline's replica on a card: one GPU each, and the words for a miss.

Owns what stands in the place of `sizing` for a pipeline: the same questions, answered from its phases.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from gpufleet.planner.architecture import Architecture, from_config
from gpufleet.planner.catalog import GpuModel
from gpufleet.planner.diffusion.checks import pipeline_problems
from gpufleet.planner.diffusion.components import LoadedPipeline, loaded_pipelines
from gpufleet.planner.diffusion.engine import DIFFUSERS
from gpufleet.planner.diffusion.memory import BF16_SINCE, PipelineDemand, on_card, pipeline_demand
from gpufleet.planner.diffusion.options import Diffusion, diffusion_options, pipeline_options
from gpufleet.planner.diffusion.storage import PLAIN
from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.host import HostNeed, host_need
from gpufleet.planner.memory import GpuMemory, checkpoint_bytes
from gpufleet.planner.plan import HostPart
from gpufleet.planner.precision import PRECISIONS, capability_problem
from gpufleet.planner.requirements import Workload
from gpufleet.planner.sizing import ReplicaSize, ReplicaSizer, ServingDefaults, given_memory
from gpufleet.planner.units import MIB_PER_GIB, gib


class PipelineSizer(ReplicaSizer):
    """Sizes one pipeline's replica on any card. What was resolved of the document is worked out again where a changed
    document is asked (`under`)."""

    __slots__ = ()

    def best_size(self, gpu: GpuModel, *, usable_memory_mib: int, gpus: int) -> ReplicaSize:
        """On one GPU: there is no other way."""
        loaded, options = resolved(self.requirements)
        compute = self._compute_on(gpu)
        demand = pipeline_demand(loaded, options, compute)
        problem = _hardware_problem(gpu, compute, demand)
        if problem:
            return self._size(demand, None, fits=False, reason=problem)
        memory = on_card(
            demand, self.given, usable_memory_mib=usable_memory_mib, utilization=self.gpu_memory_utilization
        )
        return self._size(demand, memory, fits=memory.fits, reason=_shortage(gpu, demand, memory))

    def same_size(self, like: ReplicaSize, gpu: GpuModel, *, usable_memory_mib: int) -> ReplicaSize:
        """The same replica on another card."""
        return self.best_size(gpu, usable_memory_mib=usable_memory_mib, gpus=1)

    def host_need(self, size: ReplicaSize) -> HostNeed:
        """What such a replica needs of the host; weights that wait in RAM among it."""
        need = host_need(
            self.requirements, engine_version=DIFFUSERS.default_version, gpus=1, checkpoint_gib=size.checkpoint_gib
        )
        parts = tuple(part for part in need.parts if part.name == "processes")
        waiting = self._waiting(size)
        return need._replace(parts=(*parts, *((waiting,) if waiting else ())))

    def loads(self) -> bool:
        """Whether the document under a tried change is a pipeline's at all."""
        try:
            resolved(self.requirements)
        except RequirementError:
            return False
        return True

    def _waiting(self, size: ReplicaSize) -> HostPart | None:
        pipeline = size.memory.pipeline if size.memory else None
        if pipeline is None or pipeline.offload == "none":
            return None
        return HostPart(
            name="offloaded weights",
            memory_mib=round(sum(part.weights_gib for part in pipeline.components) * MIB_PER_GIB),
            reason=f"serving.diffusion.offload {pipeline.offload} keeps the weights in RAM",
        )

    def _compute_on(self, gpu: GpuModel) -> str:
        asked = self.requirements.model.precision
        if asked in PLAIN:
            return str(asked)
        return "bf16" if gpu.compute_capability >= BF16_SINCE else "fp16"

    def _size(self, demand: PipelineDemand, memory: GpuMemory | None, *, fits: bool, reason: str) -> ReplicaSize:
        phase = demand.largest
        budget = f"{memory.total_gib:.2f} of {memory.budget_gib:.2f} GiB" if memory else ""
        return ReplicaSize(
            precision=self.requirements.model.precision or demand.runs[0].recipe.compute,
            tensor_parallelism=1,
            pipeline_parallelism=1,
            data_parallelism=1,
            max_num_seqs=1,
            shape=None,
            memory=memory,
            fits=fits,
            summary=f"{budget} on the GPU, most of it in {phase.name}" if fits else "",
            reason="" if fits else reason,
            shortfall_gib=memory.shortfall_gib if memory else float("inf"),
            note="",
            checkpoint_gib=gib(checkpoint_bytes(self.architecture)),
        )


def pipeline_sizer(workload: Workload, defaults: ServingDefaults, known: Iterable[Problem] = ()) -> PipelineSizer:
    """The workload's sizer; a `RequirementError` with everything that is wrong, `known` problems among it."""
    problems, serving = list(known), workload.serving
    loaded: tuple[LoadedPipeline, ...] = ()
    try:
        loaded, options = resolved(workload)
        needs_image = defaults.gpu_memory_utilization is not None
        problems += pipeline_problems(workload, loaded, options, needs_image=needs_image)
    except RequirementError as error:
        problems += error.problems
    if problems:
        raise RequirementError(problems)
    return PipelineSizer(
        requirements=workload,
        architecture=_architecture(loaded),
        engine=DIFFUSERS,
        engine_version=serving.engine_version or DIFFUSERS.default_version,
        max_model_len=0,
        given=given_memory(serving.memory),
        captures_graphs=False,
        gpu_memory_utilization=serving.gpu_memory_utilization
        or DIFFUSERS.default_gpu_memory_utilization(DIFFUSERS.default_version),
    )


def resolved(workload: Workload) -> tuple[tuple[LoadedPipeline, ...], Diffusion]:
    """What the document loads and how it makes an image; a `RequirementError` with everything that is wrong in either."""
    problems: list[Problem] = []
    loaded: tuple[LoadedPipeline, ...] = ()
    options = Diffusion()
    try:
        loaded = loaded_pipelines(workload, pipeline_options(workload))
    except RequirementError as error:
        problems += error.problems
    try:
        options = diffusion_options(workload)
    except RequirementError as error:
        problems += error.problems
    if problems:
        raise RequirementError(problems)
    return loaded, options


def _architecture(loaded: tuple[LoadedPipeline, ...]) -> Architecture:
    """The files: every network of every pipeline."""
    first = loaded[0]
    components: dict[str, int] = {}
    for pipeline in loaded:
        for part in pipeline.parts:
            name = part.name if pipeline is first and part.name not in components else f"{part.name} {len(components)}"
            components[name] = part.parameters or int((part.size_bytes or 2) / 2)
    found = from_config(first.id, MappingProxyType({"pipeline": first.class_name, "components": components}))
    notes = tuple(dict.fromkeys(note for pipeline in loaded for note in pipeline.assumptions))
    return found._replace(assumptions=notes)


def _hardware_problem(gpu: GpuModel, compute: str, demand: PipelineDemand) -> str | None:
    capability = gpu.compute_capability
    problem = capability_problem(PRECISIONS[compute], capability)
    if problem:
        return f"{gpu.name}: {problem}"
    for quantized in demand.quantized:
        if capability < quantized.minimum_capability:
            needed = ".".join(map(str, quantized.minimum_capability))
            return f"{gpu.name}: the quantisation needs compute capability {needed}: {quantized.reason}"
    return None


def _shortage(gpu: GpuModel, demand: PipelineDemand, memory: GpuMemory) -> str:
    phase = demand.largest
    return (
        f"{phase.name} takes {memory.total_gib:.2f} GiB (weights {memory.weights_gib:.2f}, activations "
        f"{memory.activations_gib:.2f}), {memory.shortfall_gib:.2f} over the budget of {memory.budget_gib:.2f} GiB per GPU "
        f"({memory.usable_gib:.2f} usable on the {gpu.name})"
    )
