"""How a replica lies on a card: precision, parallelism, and whether it fits.

Owns the resolution of what the user left open (precision by card, `auto` parallelism, the engine's defaults) and the words
for a miss. Leaves the bytes to `memory`, and which type to take to `selection`.
"""

from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.arguments import argument_pairs
from gpufleet.planner.catalog import GpuModel
from gpufleet.planner.engines import ENGINES, Engine, load_arguments, version_of_image
from gpufleet.planner.host import HostNeed, host_need
from gpufleet.planner.laws import BatchDefaults, CardTraits
from gpufleet.planner.memory import GpuMemory, ReplicaShape, checkpoint_bytes, estimate_memory, valid_tensor_parallelism
from gpufleet.planner.plan import Memory, PerGpuMemory
from gpufleet.planner.precision import PRECISIONS, capability_note, capability_problem, plain_precision
from gpufleet.planner.replica import GivenMemory
from gpufleet.planner.requirements import KnownMemory, Workload
from gpufleet.planner.units import gib


class ServingDefaults(NamedTuple):
    """What an absent key means; None for whatever the engine does by itself."""

    max_model_len: int | None
    gpu_memory_utilization: float | None
    takes_publication: bool
    """Whether a precision that the checkpoint does not have is that of another publication of the model."""


PLAN_DEFAULTS = ServingDefaults(max_model_len=8192, gpu_memory_utilization=0.9, takes_publication=False)
"""A fleet's: a model's whole context would take another GPU for most, without their asking."""

ENGINE_DEFAULTS = ServingDefaults(max_model_len=None, gpu_memory_utilization=None, takes_publication=True)

GIVEN_KEYS = tuple(f"serving.memory.{name}" for name in ("weights", "activations", "nonTorch", "cudaGraphs", "outside"))
"""In the order of GivenMemory's fields."""

LONGEST_WITHOUT_A_LIMIT = 2048
"""Context of a model whose own length is not known."""


class ReplicaSize(NamedTuple):
    """A replica on a card: what was resolved, its memory, and the words for it."""

    precision: str
    tensor_parallelism: int
    pipeline_parallelism: int
    data_parallelism: int
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

    @property
    def gpus(self) -> int:
        """Those of one replica."""
        return self.tensor_parallelism * self.pipeline_parallelism * self.data_parallelism


class ReplicaSizer(NamedTuple):
    """Sizes one model's replica on any card."""

    requirements: Workload
    architecture: Architecture
    engine: Engine
    engine_version: str
    max_model_len: int
    gpu_memory_utilization: float
    given: GivenMemory
    captures_graphs: bool

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was not worked out: guesses at the model, and terms of memory that the document gives."""
        known = (
            f"{key} is {size:.2f} GiB per GPU, as given"
            for key, size in zip(GIVEN_KEYS, self.given, strict=True)
            if size is not None
        )
        return (*self.architecture.notes, *known)

    def best_size(self, gpu: GpuModel, *, usable_memory_mib: int, gpus: int) -> ReplicaSize:
        """At the degree asked for, or the smallest valid one that fits on this many GPUs; a miss otherwise."""
        precision = self._precision_on(gpu)
        problem = self._hardware_problem(gpu, precision)
        if problem:
            return self._refused(precision, problem)
        model = self.requirements.model
        asked, groups = model.tensor_parallelism, model.pipeline_parallelism * model.data_parallelism
        valid = valid_tensor_parallelism(self.architecture, max(gpus // groups, 1))
        degrees = valid if asked == "auto" else (asked,)
        if degrees[0] * groups > gpus:
            return self._refused(precision, f"{gpus} {'GPU' if gpus == 1 else 'GPUs'}, and {self._asked_gpus()}")
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

    def under(self, requirements: Workload) -> "ReplicaSizer":
        """The same model and engine under changed requirements."""
        return self._replace(
            requirements=requirements, max_model_len=requirements.serving.max_model_len or self.max_model_len
        )

    def host_need(self, size: ReplicaSize) -> HostNeed:
        """What such a replica needs of the host."""
        return host_need(
            self.requirements,
            engine_version=self.engine_version,
            gpus=size.gpus,
            checkpoint_gib=size.checkpoint_gib,
        )

    def loads(self) -> bool:
        """Whether the server would load the checkpoint in the precision asked for."""
        asked = self.requirements.model.precision
        return asked is None or load_arguments(self.engine, asked, self.architecture) is not None

    # Resolution -----------------------------------------------------------------------------------------------------

    def _precision_on(self, gpu: GpuModel) -> str:
        """The precision asked for; else the checkpoint's own quantised format; else what the card computes in."""
        asked, stored = self.requirements.model.precision, self.architecture.checkpoint_format
        if asked:
            return asked
        if stored and PRECISIONS[stored].is_quantized:
            return stored
        return plain_precision(self.architecture.model_type, gpu.compute_capability)

    def _method(self, precision: str) -> str | None:
        """Who made the format: the checkpoint's method, or bitsandbytes while it is loaded."""
        if self.architecture.checkpoint_format == precision:
            return self.architecture.quantization_method
        return "bitsandbytes" if precision == "int4" else None

    def _batch_defaults(self, gpu: GpuModel, usable_memory_mib: int) -> BatchDefaults:
        return self.engine.batch_defaults(
            self.architecture,
            self.engine_version,
            card_traits(gpu),
            usable_memory_mib=usable_memory_mib,
            max_model_len=self.max_model_len,
        )

    def _max_num_seqs(self, gpu: GpuModel, usable_memory_mib: int) -> int:
        given = self.requirements.serving.max_num_seqs
        if given is not None:
            return given
        return max(self._batch_defaults(gpu, usable_memory_mib).max_num_seqs, self.requirements.serving.full_contexts)

    def _hardware_problem(self, gpu: GpuModel, precision: str) -> str | None:
        capability, cache = gpu.compute_capability, self.engine.cache_types[self.requirements.serving.kv_cache_dtype]
        problem = capability_problem(PRECISIONS[precision], capability, self._method(precision))
        if problem:
            return f"{gpu.name}: {problem}"
        if capability < cache.minimum_capability:
            needed = ".".join(map(str, cache.minimum_capability))
            return f"{gpu.name}: serving.kvCacheDtype {cache.argument} needs compute capability {needed}"
        return None

    def _asked_gpus(self) -> str:
        """The GPUs of a replica, in the document's words."""
        model = self.requirements.model
        tensor = f"model.tensorParallelism asks {model.tensor_parallelism}"
        stages = f" in {model.pipeline_parallelism} stages" if model.pipeline_parallelism > 1 else ""
        ranks = f" for each of {model.data_parallelism} data-parallel ranks" if model.data_parallelism > 1 else ""
        return f"{tensor}{stages}{ranks}"

    # Sizing ---------------------------------------------------------------------------------------------------------

    def _sized(
        self, gpu: GpuModel, usable_memory_mib: int, precision: str, degree: int, max_num_seqs: int
    ) -> ReplicaSize:
        serving = self.requirements.serving
        defaults = self._batch_defaults(gpu, usable_memory_mib)
        shape = ReplicaShape(
            precision=precision,
            tensor_parallelism=degree,
            max_model_len=self.max_model_len,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=serving.max_num_batched_tokens or max(defaults.max_num_batched_tokens, max_num_seqs),
            full_contexts=serving.full_contexts,
            kv_cache_dtype=serving.kv_cache_dtype,
            gpu_memory_utilization=self.gpu_memory_utilization,
            engine_version=self.engine_version,
            pipeline_parallelism=self.requirements.model.pipeline_parallelism,
            data_parallelism=self.requirements.model.data_parallelism,
            card=card_traits(gpu),
            given=self.given,
            captures_graphs=self.captures_graphs,
        )
        memory = estimate_memory(self.architecture, self.engine, shape, usable_memory_mib=usable_memory_mib)
        gpus = degree * shape.pipeline_parallelism * shape.data_parallelism
        each = f"each of {gpus} GPUs" if gpus > 1 else "the GPU"
        return ReplicaSize(
            precision=precision,
            tensor_parallelism=degree,
            pipeline_parallelism=shape.pipeline_parallelism,
            data_parallelism=shape.data_parallelism,
            max_num_seqs=max_num_seqs,
            shape=shape,
            memory=memory,
            fits=memory.fits,
            summary=f"{memory.needed_gib:.2f} of {memory.budget_gib:.2f} GiB on {each} ({gpu.name}), {memory.full_contexts} full contexts",
            reason="" if memory.fits else self._shortage(gpu, memory, degree),
            shortfall_gib=memory.shortfall_gib,
            note=capability_note(PRECISIONS[precision], gpu.compute_capability, self._method(precision)) or "",
            checkpoint_gib=gib(checkpoint_bytes(self.architecture)),
        )

    def _shortage(self, gpu: GpuModel, memory: GpuMemory, degree: int) -> str:
        at = f" at tensor parallelism {degree}" if degree > 1 else ""
        return f"{memory.reason} ({memory.usable_gib:.2f} usable on the {gpu.name}{at})"

    def _refused(self, precision: str, reason: str) -> ReplicaSize:
        return ReplicaSize(
            precision=precision,
            tensor_parallelism=1,
            pipeline_parallelism=1,
            data_parallelism=1,
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


def card_traits(gpu: GpuModel) -> CardTraits:
    """What of a card decides how an engine uses its memory."""
    return CardTraits(name=gpu.name, compute_capability=gpu.compute_capability, has_nvlink=gpu.interconnect == "nvlink")


def replica_sizer(requirements: Workload, architecture: Architecture, defaults: ServingDefaults) -> ReplicaSizer:
    """A sizer with what the document leaves open resolved as far as no card is needed."""
    serving = requirements.serving
    engine = ENGINES[serving.engine]
    from_image = version_of_image(serving.image) if serving.image else None
    version = serving.engine_version or from_image or engine.default_version
    return ReplicaSizer(
        requirements=requirements,
        architecture=architecture,
        engine=engine,
        engine_version=version,
        max_model_len=serving.max_model_len or _default_length(architecture, defaults),
        gpu_memory_utilization=serving.gpu_memory_utilization
        or defaults.gpu_memory_utilization
        or engine.default_gpu_memory_utilization(version),
        given=given_memory(serving.memory),
        captures_graphs=not any(flag == "--enforce-eager" for flag, _ in argument_pairs(serving.args)),
    )


def given_memory(known: KnownMemory | None) -> GivenMemory:
    """The terms that `serving.memory` gives."""
    if known is None:
        return GivenMemory()
    sizes = (
        known.weights_bytes, known.activations_bytes, known.non_torch_bytes, known.cuda_graphs_bytes, known.outside_bytes,
    )  # fmt: skip
    return GivenMemory(*(None if size is None else gib(size) for size in sizes))


def _default_length(architecture: Architecture, defaults: ServingDefaults) -> int:
    lengths = [length for length in (architecture.max_position_embeddings, defaults.max_model_len) if length]
    return min(lengths, default=LONGEST_WITHOUT_A_LIMIT)


def planned_memory(memory: GpuMemory) -> Memory:
    """The memory as a plan has it."""
    return Memory(
        per_gpu=_per_gpu(memory),
        kv_bytes_per_token=memory.kv_bytes_per_token,
        kv_cache_tokens=memory.kv_cache_tokens,
        full_contexts=memory.full_contexts,
        longest_context=memory.longest_context,
        pipeline=memory.pipeline,
    )


def _per_gpu(memory: GpuMemory) -> PerGpuMemory:
    """Rounded to 0.1 MiB, such that the printed parts still add up to the printed sums."""
    weights, activations, non_torch, graphs, needed, usable, budget = (
        round(value, 4)
        for value in (
            memory.weights_gib, memory.activations_gib, memory.non_torch_gib, memory.cuda_graphs_gib,
            memory.kv_needed_gib, memory.usable_gib, memory.budget_gib,
        )
    )  # fmt: skip
    total = round(weights + activations + non_torch + graphs, 4)
    rest = round(max(budget - total, 0.0), 4)
    kv_cache = rest if memory.pipeline is None else 0.0
    return PerGpuMemory(
        weights_gib=weights,
        activations_gib=activations,
        non_torch_gib=non_torch,
        cuda_graphs_gib=graphs,
        kv_cache_gib=kv_cache,
        kv_needed_gib=needed,
        headroom_gib=round(max(rest - needed, 0.0), 4),
        total_gib=total,
        budget_gib=budget,
        usable_gib=usable,
    )
