"""GPU memory of a replica, by named part, and whether it fits a card.

Owns the sum and the verdict. Leaves the terms to `weights`, `activations` and `kv_cache`, and an engine's constants to
`engines`. What no card changes is computed once (`_demand`).

The published logs say: weights + activations + non-torch + cache = utilisation × what the driver reports. Graphs are
counted inside that budget for every version, though older ones take them from what is left outside it: the safe side.
"""

from functools import lru_cache
from typing import NamedTuple

from gpufleet.planner.activations import activation_gib, graphs_gib, sampler_bytes
from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine
from gpufleet.planner.kv_cache import Cache, cache_of
from gpufleet.planner.plan import PipelineMemory
from gpufleet.planner.replica import ReplicaShape as ReplicaShape
from gpufleet.planner.units import GIB, gib_from_mib
from gpufleet.planner.weights import checkpoint_bytes as checkpoint_bytes
from gpufleet.planner.weights import valid_tensor_parallelism as valid_tensor_parallelism
from gpufleet.planner.weights import weights_bytes_per_gpu as weights_bytes_per_gpu


class GpuMemory(NamedTuple):
    """Memory of one GPU of a replica, in GiB, and what its cache holds.

    `total_gib` is everything but the cache, `kv_cache_gib` the rest of the budget (0 where nothing is left),
    `kv_bytes_per_token` is of the whole replica, `full_contexts` the sequences of max_model_len with room at once.
    `outside_gib` is what graphs and driver need beside the budget, on the card's remaining memory.
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
    fits: bool
    shortfall_gib: float
    pipeline: PipelineMemory | None = None
    """Components and phases, of a diffusion pipeline."""

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
    outside_gib: float
    cache: Cache


def estimate_memory(
    architecture: Architecture, engine: Engine, shape: ReplicaShape, *, usable_memory_mib: float
) -> GpuMemory:
    """The memory of one GPU, against the memory that the driver reports for it.

    It fits when weights, activations, runtime, graphs and the full contexts lie within utilisation × usable memory, and
    what is left of the card holds the graphs and the driver.
    """
    demand = _demand(architecture, engine, shape)
    total = demand.weights_gib + demand.activations_gib + demand.non_torch_gib + demand.graphs_gib
    usable = gib_from_mib(usable_memory_mib)
    budget = shape.gpu_memory_utilization * usable
    free = max(budget - total, 0.0)
    needed = demand.cache.sequence_bytes * shape.full_contexts / GIB
    shortfall = max(total + needed - budget, demand.outside_gib - (usable - budget))
    return GpuMemory(
        weights_gib=demand.weights_gib,
        activations_gib=demand.activations_gib,
        non_torch_gib=demand.non_torch_gib,
        cuda_graphs_gib=demand.graphs_gib,
        total_gib=total,
        usable_gib=usable,
        budget_gib=budget,
        kv_cache_gib=free,
        kv_needed_gib=needed,
        kv_bytes_per_token=demand.cache.replica_token_bytes,
        kv_cache_tokens=demand.cache.tokens(free, shape.max_model_len, engine.block_tokens),
        full_contexts=demand.cache.contexts(free, shape.max_num_seqs),
        outside_gib=demand.outside_gib,
        fits=shortfall <= 0,
        shortfall_gib=max(shortfall, 0.0),
    )


def cache_tokens(architecture: Architecture, engine: Engine, shape: ReplicaShape, *, kv_cache_gib: float) -> int:
    """Tokens that a cache of this size per GPU holds, in whole blocks, as the server logs them."""
    return _demand(architecture, engine, shape).cache.tokens(kv_cache_gib, shape.max_model_len, engine.block_tokens)


@lru_cache(maxsize=8192)
def _demand(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> _Demand:
    law = engine.law(shape.engine_version)
    graphs = graphs_gib(architecture, law, shape)
    outside = law.outside_gib + graphs
    if shape.precision == "mxfp4" and law.keeps_expert_workspace:
        # gpt-oss on 0.19 filled a budget of 95% and ran out of memory when the sampler was warmed up, on one GPU and on
        # two; at 90% it started.
        outside += sampler_bytes(architecture, law, shape) / GIB
    return _Demand(
        weights_gib=weights_bytes_per_gpu(architecture, shape.precision, shape.tensor_parallelism) / GIB,
        activations_gib=activation_gib(architecture, law, shape),
        non_torch_gib=law.non_torch_gib[min(shape.tensor_parallelism.bit_length() - 1, 2)],
        graphs_gib=graphs,
        outside_gib=outside,
        cache=cache_of(architecture, engine, shape),
    )
