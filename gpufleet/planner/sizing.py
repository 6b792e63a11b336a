"""How a replica lies on a card: precision, tensor parallelism, and whether it fits.

Owns the resolution of what the user left open (precision by card, `auto` parallelism, the engine's defaults) and the words
for a miss. Leaves the bytes to `memory`, and which type to take to `selection`.
"""

from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.catalog import GpuModel
from gpufleet.planner.engines import ENGINES, Engine, batch_defaults, load_arguments, version_of_image
from gpufleet.planner.memory import GpuMemory, ReplicaShape, checkpoint_bytes, estimate_memory, valid_tensor_parallelism
from gpufleet.planner.precision import PRECISIONS, capability_note, capability_problem
from gpufleet.planner.requirements import Requirements
from gpufleet.planner.units import gib

DEFAULT_MAX_MODEL_LEN = 8192


class ReplicaSize(NamedTuple):
    """A replica on a card: what was resolved, its memory, and the words for it."""

    precision: str
    tensor_parallelism: int
    max_num_seqs: int
    shape: ReplicaShape | None
    memory: GpuMemory | None
    fits: bool
    summary: str
    """What it takes, where it fits."""
    reason: str
    """Why it does not fit."""
    shortfall_gib: float
    note: str
    checkpoint_gib: float


class ReplicaSizer(NamedTuple):
    """Sizes one model's replica on any card."""

    requirements: Requirements
    architecture: Architecture
    engine: Engine
    engine_version: str
    max_model_len: int

    def best_size(self, gpu: GpuModel, *, usable_memory_mib: int, gpus: int) -> ReplicaSize:
        """At the degree asked for, or the smallest valid one that fits on this many GPUs; a miss otherwise."""
        precision = self._precision_on(gpu)
        problem = self._hardware_problem(gpu, precision)
        if problem:
            return self._refused(precision, problem)
        asked = self.requirements.model.tensor_parallelism
        valid = valid_tensor_parallelism(self.architecture, max(gpus, 1))
        degrees = valid if asked == "auto" else (asked,)
        if asked != "auto" and asked > gpus:
            return self._refused(precision, f"{gpus} GPUs, and model.tensorParallelism asks {asked}")
        max_num_seqs = self._max_num_seqs(gpu, usable_memory_mib)
        size = self._refused(precision, "no valid tensor parallelism")
        for degree in degrees:
            size = self._sized(gpu, usable_memory_mib, precision, degree, max_num_seqs)
            if size.fits:
                break
        return size

    def same_size(self, like: ReplicaSize, gpu: GpuModel, *, usable_memory_mib: int) -> ReplicaSize:
        """The very same replica (precision, parallelism, sequences) on another card."""
        problem = self._hardware_problem(gpu, like.precision)
        if problem:
            return self._refused(like.precision, problem)
        return self._sized(gpu, usable_memory_mib, like.precision, like.tensor_parallelism, like.max_num_seqs)

    def under(self, requirements: Requirements) -> "ReplicaSizer":
        """The same model and engine under changed requirements."""
        return self._replace(
            requirements=requirements, max_model_len=requirements.serving.max_model_len or self.max_model_len
        )

    def loads(self) -> bool:
        """Whether the server would load the checkpoint in the precision asked for."""
        asked = self.requirements.model.precision
        return asked is None or load_arguments(self.engine, asked, self.architecture) is not None

    # Resolution -----------------------------------------------------------------------------------------------------

    def _precision_on(self, gpu: GpuModel) -> str:
        """The precision asked for; else the checkpoint's own quantised format; else bf16 where the card has it."""
        asked, stored = self.requirements.model.precision, self.architecture.checkpoint_format
        if asked:
            return asked
        if stored and PRECISIONS[stored].is_quantized:
            return stored
        return "bf16" if gpu.compute_capability >= PRECISIONS["bf16"].minimum_capability else "fp16"

    def _max_num_seqs(self, gpu: GpuModel, usable_memory_mib: int) -> int:
        given = self.requirements.serving.max_num_seqs
        default = batch_defaults(gpu_name=gpu.name, usable_memory_mib=usable_memory_mib).max_num_seqs
        return given if given is not None else max(default, self.requirements.serving.full_contexts)

    def _hardware_problem(self, gpu: GpuModel, precision: str) -> str | None:
        capability, cache = gpu.compute_capability, self.engine.cache_types[self.requirements.serving.kv_cache_dtype]
        problem = capability_problem(PRECISIONS[precision], capability)
        if problem:
            return f"{gpu.name}: {problem}"
        if capability < cache.minimum_capability:
            needed = ".".join(map(str, cache.minimum_capability))
            return f"{gpu.name}: serving.kvCacheDtype {cache.argument} needs compute capability {needed}"
        return None

    # Sizing ---------------------------------------------------------------------------------------------------------

    def _sized(
        self, gpu: GpuModel, usable_memory_mib: int, precision: str, degree: int, max_num_seqs: int
    ) -> ReplicaSize:
        serving = self.requirements.serving
        defaults = batch_defaults(gpu_name=gpu.name, usable_memory_mib=usable_memory_mib)
        shape = ReplicaShape(
            precision=precision,
            tensor_parallelism=degree,
            max_model_len=self.max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max(defaults.max_num_batched_tokens, max_num_seqs),
            full_contexts=serving.full_contexts,
            kv_cache_dtype=serving.kv_cache_dtype,
            gpu_memory_utilization=serving.gpu_memory_utilization,
            engine_version=self.engine_version,
        )
        memory = estimate_memory(self.architecture, self.engine, shape, usable_memory_mib=usable_memory_mib)
        each = f"each of {degree} GPUs" if degree > 1 else "the GPU"
        return ReplicaSize(
            precision=precision,
            tensor_parallelism=degree,
            max_num_seqs=max_num_seqs,
            shape=shape,
            memory=memory,
            fits=memory.fits,
            summary=f"{memory.needed_gib:.2f} of {memory.budget_gib:.2f} GiB on {each} ({gpu.name}), {memory.full_contexts} full contexts",
            reason="" if memory.fits else self._shortage(gpu, memory, degree),
            shortfall_gib=memory.shortfall_gib,
            note=capability_note(PRECISIONS[precision], gpu.compute_capability) or "",
            checkpoint_gib=gib(checkpoint_bytes(self.architecture)),
        )

    def _shortage(self, gpu: GpuModel, memory: GpuMemory, degree: int) -> str:
        at = f" at tensor parallelism {degree}" if degree > 1 else ""
        return f"{memory.reason} ({memory.usable_gib:.2f} usable on the {gpu.name}{at})"

    def _refused(self, precision: str, reason: str) -> ReplicaSize:
        return ReplicaSize(
            precision=precision,
            tensor_parallelism=1,
            max_num_seqs=1,
            shape=None,
            memory=None,
            fits=False,
            summary="",
            reason=reason,
            shortfall_gib=float("inf"),
            note="",
            checkpoint_gib=0.0,
        )


def replica_sizer(requirements: Requirements, architecture: Architecture) -> ReplicaSizer:
    """A sizer with what the document leaves open resolved as far as no card is needed."""
    serving = requirements.serving
    engine = ENGINES[serving.engine]
    from_image = version_of_image(serving.image) if serving.image else None
    longest = architecture.max_position_embeddings
    return ReplicaSizer(
        requirements=requirements,
        architecture=architecture,
        engine=engine,
        engine_version=serving.engine_version or from_image or engine.default_version,
        max_model_len=serving.max_model_len or min(DEFAULT_MAX_MODEL_LEN, longest or DEFAULT_MAX_MODEL_LEN),
    )
