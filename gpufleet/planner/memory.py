"""GPU memory of a replica, by named part, and whether it fits a card.

Owns the sum and the verdict. Leaves the terms to `weights`, `activations` and `kv_cache`, and an engine's constants to
`engines`. What no card changes is computed once (`_demand`).

The published logs say: weights + activations + non-torch + cache = utilisation × what the driver reports. Graphs come
after the cache, from what the card has left; only newer versions subtract an estimate of them first. For the others they
are reserved inside the budget too, as a margin, but no further than the contexts that must fit leave room for.
"""

from functools import lru_cache
from typing import NamedTuple

from gpufleet.planner.activations import activation_gib, graphs_gib, sampler_bytes, sampler_state_gib
from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine
from gpufleet.planner.kv_cache import Cache, cache_of
from gpufleet.planner.laws import MemoryLaw, parse_version
from gpufleet.planner.plan import PipelineMemory
from gpufleet.planner.replica import ReplicaShape as ReplicaShape
from gpufleet.planner.stages import data_parallel_rank, pipeline_stages
from gpufleet.planner.units import GIB, gib_from_mib
from gpufleet.planner.weights import checkpoint_bytes as checkpoint_bytes
from gpufleet.planner.weights import valid_tensor_parallelism as valid_tensor_parallelism
from gpufleet.planner.weights import weights_bytes_per_gpu as weights_bytes_per_gpu


class GpuMemory(NamedTuple):
    """Memory of one GPU of a replica, in GiB, and what its cache holds.

    `total_gib` is everything but the cache, `kv_cache_gib` the rest of the budget (0 where nothing is left),
    `kv_bytes_per_token` is of the whole replica, `full_contexts` the sequences of max_model_len with room at once.
    `cuda_graphs_gib` is what the budget reserves for graphs, `outside_gib` what graphs and driver need beside the budget, on
    the card's remaining memory.
    """

    weights_gib: float
    activations_gib: float
    non_torch_gib: float
    cuda_graphs_gib: float
    total_gib: float
    usable_gib: float
    budget_gib: float
    kv_cache_gib: float
    kv_needed_gib: float
    kv_bytes_per_token: int
    kv_cache_tokens: int
    full_contexts: int
    outside_gib: float
    cache: Cache
    fits: bool
    shortfall_gib: float
    pipeline: PipelineMemory | None = None
    """Components and phases, of a diffusion pipeline."""

    @property
    def longest_context(self) -> int | None:
        """Tokens of the longest single sequence that the cache holds; None where the model has no cache."""
        return self.cache.longest_context(self.kv_cache_gib)

    def sequences(self, tokens: int) -> int | None:
        """Sequences of this length that the cache holds at once; None where the model has no cache."""
        return self.cache.sequences(self.kv_cache_gib, tokens)

    @property
    def needed_gib(self) -> float:
        """What the budget must hold for the server to start."""
        return self.total_gib + self.kv_needed_gib

    @property
    def reason(self) -> str:
        """One line: what is short and by how much, or what the replica takes of its budget."""
        of = f"the budget of {self.budget_gib:.2f} GiB per GPU"
        if self.weights_gib > self.budget_gib:
            return f"weights alone take {self.weights_gib:.2f} GiB, {self.weights_gib - self.budget_gib:.2f} over {of}"
        if self.total_gib > self.budget_gib:
            runtime, over = self.total_gib - self.weights_gib, self.total_gib - self.budget_gib
            return f"weights {self.weights_gib:.2f} and runtime {runtime:.2f} GiB are {over:.2f} over {of}"
        if self.needed_gib > self.budget_gib:
            short = self.needed_gib - self.budget_gib
            has = f"and has {self.kv_cache_gib:.2f}: {short:.2f} short"
            return f"the KV cache needs {self.kv_needed_gib:.2f} GiB per GPU {has}"
        if not self.fits:
            left = self.usable_gib - self.budget_gib
            return (
                f"CUDA graphs and driver need {self.outside_gib:.2f} GiB outside {of}, where {left:.2f} are left: "
                f"{self.shortfall_gib:.2f} short; lower the utilisation"
            )
        return f"{self.needed_gib:.2f} GiB of {of}"


class _Demand(NamedTuple):
    """What a replica takes of each GPU, whatever the card."""

    weights_gib: float
    activations_gib: float
    non_torch_gib: float
    graphs_gib: float
    graphs_in_budget_gib: float
    """What of them the server itself takes from the budget."""
    outside_gib: float
    cache: Cache
    cache_needed_gib: float
    """Of the full contexts."""


def estimate_memory(
    architecture: Architecture, engine: Engine, shape: ReplicaShape, *, usable_memory_mib: float
) -> GpuMemory:
    """The memory of one GPU, against the memory that the driver reports for it. Of a pipeline, the memory in the stage
    whose cache holds least: the others can use no more than that.

    It fits when weights, activations, runtime and the full contexts lie within utilisation × usable memory, and what is
    left of the card holds the driver; graphs count as the engine's version counts them, to the one or to the other.
    """
    stages = estimate_stages(architecture, engine, shape, usable_memory_mib=usable_memory_mib)
    if len(stages) == 1:
        return stages[0]
    fullest = min(stages, key=lambda memory: (-memory.shortfall_gib, memory.kv_cache_tokens, -memory.total_gib))
    return fullest._replace(kv_bytes_per_token=cache_of(architecture, engine, shape).replica_token_bytes)


def estimate_stages(
    architecture: Architecture, engine: Engine, shape: ReplicaShape, *, usable_memory_mib: float
) -> tuple[GpuMemory, ...]:
    """The memory of one GPU in each of the stages that differ, in their order; the whole model is a single one."""
    rank = data_parallel_rank(architecture, shape.data_parallelism)
    stages = pipeline_stages(rank, shape.pipeline_parallelism)
    return tuple(_estimate_stage(stage, engine, shape, usable_memory_mib) for stage in stages)


def _estimate_stage(
    architecture: Architecture, engine: Engine, shape: ReplicaShape, usable_memory_mib: float
) -> GpuMemory:
    demand = _demand(architecture, engine, shape)
    usable = gib_from_mib(usable_memory_mib)
    budget = shape.gpu_memory_utilization * usable
    taken, needed = demand.weights_gib + demand.activations_gib + demand.non_torch_gib, demand.cache_needed_gib
    graphs = min(max(budget - taken - needed, demand.graphs_in_budget_gib), demand.graphs_gib)
    total = taken + graphs
    free = max(budget - total, 0.0)
    shortfall = max(total + needed - budget, demand.outside_gib - (usable - budget))
    return GpuMemory(
        weights_gib=demand.weights_gib,
        activations_gib=demand.activations_gib,
        non_torch_gib=demand.non_torch_gib,
        cuda_graphs_gib=graphs,
        total_gib=total,
        usable_gib=usable,
        budget_gib=budget,
        kv_cache_gib=free,
        kv_needed_gib=needed,
        kv_bytes_per_token=demand.cache.replica_token_bytes,
        kv_cache_tokens=demand.cache.tokens(free),
        full_contexts=_bounded(demand.cache.sequences(free, shape.max_model_len), shape.max_num_seqs),
        outside_gib=demand.outside_gib,
        cache=demand.cache,
        fits=shortfall <= 0,
        shortfall_gib=max(shortfall, 0.0),
    )


def cache_tokens(architecture: Architecture, engine: Engine, shape: ReplicaShape, *, kv_cache_gib: float) -> int:
    """Tokens that a cache of this size per GPU holds, in whole blocks, as the server logs them."""
    return _demand(architecture, engine, shape).cache.tokens(kv_cache_gib)


@lru_cache(maxsize=8192)
def _demand(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> _Demand:
    law, given = engine.law(shape.engine_version, shape.card), shape.given
    graphs = _or(given.cuda_graphs_gib, graphs_gib(architecture, law, shape))
    activations = activation_gib(architecture, law, shape)
    outside = _at_start_gib(law, shape) + (0.0 if law.graphs_in_budget else graphs)
    state = sampler_state_gib(architecture, law, shape)
    if law.counts_all_of_torch:
        activations += state
    else:
        outside += state
    if shape.precision == "mxfp4" and law.keeps_expert_workspace:
        # gpt-oss on 0.19 filled a budget of 95% and ran out of memory when the sampler was warmed up, on one GPU and on
        # two; at 90% it started.
        outside += sampler_bytes(architecture, law, shape) / GIB
    cache = cache_of(architecture, engine, shape)
    return _Demand(
        weights_gib=_or(given.weights_gib, _weights_gib(architecture, shape)),
        activations_gib=_or(given.activations_gib, activations),
        non_torch_gib=_or(given.non_torch_gib, _non_torch_gib(law, shape)),
        graphs_gib=graphs,
        graphs_in_budget_gib=graphs if law.graphs_in_budget else 0.0,
        outside_gib=_or(given.outside_gib, outside),
        cache=cache,
        cache_needed_gib=cache.sequence_bytes(shape.max_model_len) * shape.full_contexts / GIB,
    )


def _weights_gib(architecture: Architecture, shape: ReplicaShape) -> float:
    version = parse_version(shape.engine_version)
    return weights_bytes_per_gpu(architecture, shape.precision, shape.tensor_parallelism, version) / GIB


def _bounded(sequences: int | None, most: int) -> int:
    """Models without a cache are bounded by the server's own limit alone."""
    return most if sequences is None else sequences


def _or(given: float | None, by_law: float) -> float:
    return by_law if given is None else given


def _non_torch_gib(law: MemoryLaw, shape: ReplicaShape) -> float:
    """CUDA's context and NCCL's buffers."""
    together = shape.tensor_parallelism * shape.data_parallelism
    if together == 1 and shape.pipeline_parallelism > 1:
        return law.stage_non_torch_gib
    alone = law.non_torch_gib[0]
    several = law.non_torch_gib[min(together.bit_length() - 1, 2)]
    return alone + (several - alone) * _share_of_nccl(law, shape)


def _at_start_gib(law: MemoryLaw, shape: ReplicaShape) -> float:
    """What is taken when the server measures first."""
    alone, several = law.outside_gib
    if shape.tensor_parallelism * shape.pipeline_parallelism * shape.data_parallelism == 1:
        return alone
    return alone + (several - alone) * _share_of_nccl(law, shape)


def _share_of_nccl(law: MemoryLaw, shape: ReplicaShape) -> float:
    """NCCL's buffers are smaller without NVLink."""
    return 1.0 if shape.card.has_nvlink else law.pcie_share
