"""GPU memory of a replica, by named part.

Owns the sum: weights, activations, runtime, graphs, cache. Leaves an engine's constants to `engines`, a format's bytes to
`precision`, a model's parts to `architecture`. The published logs say: weights + activations + non-torch + cache =
utilisation × what the driver reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine
from gpufleet.planner.precision import BITSANDBYTES_GROUP, BITSANDBYTES_SCALE_BYTES, PRECISIONS, SIXTEEN_BIT_BYTES
from gpufleet.planner.units import GIB, gib_from_mib

GRAPHS_BASE_GIB = 0.3
GRAPHS_PER_LAYER_GIB = 0.018
GRAPHS_EXPERTS_GIB = 0.4
"""CUDA graphs at 512 captured sequences: 0.86 GiB for 28 layers, 1.74 for 80; MoE models take 0.25 to 1.1 more."""
GRAPHS_FULL_CAPTURE = 512
"""vLLM captures batch sizes up to twice max_num_seqs, at most 512."""
GRAPHS_LEAST_SHARE = 0.25
"""Small captures were not measured: never less than this part of the layers' share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaShape:
    """What decides a replica's memory beside the model and the card."""

    precision: str
    tensor_parallelism: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    full_contexts: int
    kv_cache_dtype: str
    gpu_memory_utilization: float
    engine_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """Memory of one GPU of a replica, in GiB, and what its cache holds.

    `total_gib` is everything but the cache, `kv_cache_gib` the rest of the budget (0 where nothing is left),
    `kv_bytes_per_token` is of the whole replica, `full_contexts` the sequences of max_model_len with room at once.
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
    fits: bool
    shortfall_gib: float

    @property
    def needed_gib(self) -> float:
        """What the budget must hold for the server to start."""
        return self.total_gib + self.kv_needed_gib


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cache:
    """Bytes of the cache on one GPU."""

    replica_token_bytes: int
    gpu_token_bytes: float
    """With the padding that equal groups of unlike layers cost."""
    sequence_bytes: float
    """Of one sequence of max_model_len, in whole blocks."""


def estimate_memory(architecture: Architecture, engine: Engine, shape: ReplicaShape, *, usable_memory_mib: int) -> GpuMemory:
    """The memory of one GPU, against the memory that the driver reports for it."""
    law = engine.law(shape.engine_version)
    parallel = shape.tensor_parallelism > 1
    weights = weights_bytes_per_gpu(architecture, shape.precision, shape.tensor_parallelism) / GIB
    activations = _activation_gib(architecture, engine, shape)
    non_torch = law.non_torch_parallel_gib if parallel else law.non_torch_gib
    graphs = _graphs_gib(architecture, shape.max_num_seqs)
    total = weights + activations + non_torch + graphs
    usable = gib_from_mib(usable_memory_mib)
    budget = shape.gpu_memory_utilization * usable
    cache = _cache(architecture, engine, shape)
    free = max(budget - total, 0.0)
    needed = cache.sequence_bytes * shape.full_contexts / GIB
    block = engine.block_tokens
    tokens = int(free * GIB / cache.gpu_token_bytes) // block * block if cache.gpu_token_bytes else 0
    contexts = int(free * GIB / cache.sequence_bytes + 1e-9) if cache.sequence_bytes else shape.max_num_seqs
    shortfall = total + needed - budget
    return GpuMemory(
        weights_gib=weights,
        activations_gib=activations,
        non_torch_gib=non_torch,
        cuda_graphs_gib=graphs,
        total_gib=total,
        usable_gib=usable,
        budget_gib=budget,
        kv_cache_gib=free,
        kv_needed_gib=needed,
        kv_bytes_per_token=cache.replica_token_bytes,
        kv_cache_tokens=tokens,
        full_contexts=contexts,
        fits=shortfall <= 0,
        shortfall_gib=max(shortfall, 0.0),
    )


@lru_cache(maxsize=4096)
def weights_bytes_per_gpu(architecture: Architecture, precision: str, tensor_parallelism: int) -> float:
    """Weights on one GPU: every part in its own bytes, what is replicated or padded included."""
    kept_parts = architecture.parts_in_16_bits
    kv_heads = max(architecture.num_key_value_heads, 1)
    total = 0.0
    for part in architecture.parts:
        role = "kept" if part.name in kept_parts else part.role
        size = _bytes_per_parameter(architecture, precision, role)
        total += part.tensors * part.per_gpu(tensor_parallelism, kv_heads) * size
    return total + architecture.rope_values * SIXTEEN_BIT_BYTES


def checkpoint_bytes(architecture: Architecture) -> float:
    """The published files: what is downloaded and lies on disk, in the checkpoint's own format (16 bits if unknown)."""
    stored = architecture.checkpoint_format or "bf16"
    held = sum(p.parameters * _bytes_per_parameter(architecture, stored, _kept_role(architecture, p.name, p.role)) for p in architecture.parts)
    return held * architecture.checkpoint_parameters / max(architecture.parameters, 1)


def _kept_role(architecture: Architecture, name: str, role: str) -> str:
    return "kept" if name in architecture.parts_in_16_bits else role


def _bytes_per_parameter(architecture: Architecture, precision: str, role: str) -> float:
    made_at_load = architecture.checkpoint_format != precision
    if precision == "int4" and made_at_load and role in PRECISIONS["int4"].quantized_roles:
        return PRECISIONS["int4"].bytes_per_parameter + BITSANDBYTES_SCALE_BYTES / BITSANDBYTES_GROUP
    group = 0 if made_at_load else architecture.quantization_group
    return PRECISIONS[precision].bytes_for(role, group=group)


def _activation_gib(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> float:
    law = engine.law(shape.engine_version)
    tokens = max(shape.max_num_batched_tokens, shape.max_model_len if law.profiles_whole_context else 0)
    sampler = law.sampler_bytes * architecture.vocab_size * shape.max_num_seqs
    return law.activation_base_gib + max(sampler, _forward_bytes(architecture, tokens, shape.tensor_parallelism)) / GIB


def _forward_bytes(architecture: Architecture, tokens: int, tensor_parallelism: int) -> float:
    """The widest moment of a layer, in 16 bits: gate, up and their product (split), and the residual stream (whole)."""
    width = architecture.intermediate_size
    if architecture.num_experts:
        width = max(architecture.expert_intermediate_size * max(architecture.experts_per_token, 1), 1)
    return tokens * (3 * width / tensor_parallelism + 4 * architecture.hidden_size) * SIXTEEN_BIT_BYTES


def _graphs_gib(architecture: Architecture, max_num_seqs: int) -> float:
    share = max(min(2 * max_num_seqs, GRAPHS_FULL_CAPTURE) / GRAPHS_FULL_CAPTURE, GRAPHS_LEAST_SHARE)
    experts = GRAPHS_EXPERTS_GIB if architecture.num_experts else 0.0
    return GRAPHS_BASE_GIB + (GRAPHS_PER_LAYER_GIB * architecture.num_hidden_layers + experts) * share


@lru_cache(maxsize=4096)
def _cache_of(
    architecture: Architecture, value_bytes: float, tensor_parallelism: int, max_model_len: int, block: int
) -> _Cache:
    per_token = [g for g in architecture.cache if g.kind != "state"]
    padding = _padding([g.layers for g in per_token])
    length = math.ceil(max_model_len / block) * block
    sequence = 0.0
    for group in architecture.cache:
        held = length if group.window is None else min(length, math.ceil((group.window + block) / block) * block)
        sequence += group.layers * group.token_bytes(value_bytes, tensor_parallelism) * (held if group.kind != "state" else 0)
        sequence += group.layers * group.state_bytes / tensor_parallelism
    return _Cache(
        replica_token_bytes=round(sum(g.layers * g.token_bytes(value_bytes) for g in per_token)),
        gpu_token_bytes=padding * sum(g.layers * g.token_bytes(value_bytes, tensor_parallelism) for g in per_token),
        sequence_bytes=sequence,
    )


def _cache(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> _Cache:
    stored = engine.cache_types[shape.kv_cache_dtype].bytes_per_value
    value_bytes = stored if stored is not None else (4.0 if shape.precision == "fp32" else SIXTEEN_BIT_BYTES)
    return _cache_of(architecture, value_bytes, shape.tensor_parallelism, shape.max_model_len, engine.block_tokens)


def _padding(layers: list[int]) -> float:
    """vLLM keeps unlike layers in groups of equal size (that of the smallest kind), the last of each padded."""
    if len(layers) < 2:
        return 1.0
    size = min(layers)
    return sum(math.ceil(n / size) * size for n in layers) / sum(layers)


@lru_cache(maxsize=2048)
def valid_tensor_parallelism(architecture: Architecture, up_to: int) -> tuple[int, ...]:
    """Degrees up to `up_to` that the server accepts: attention heads divide evenly, KV heads divide or are copied."""
    heads, kv_heads = architecture.num_attention_heads, architecture.num_key_value_heads
    if not heads:
        return (1,)
    return tuple(
        d
        for d in range(1, up_to + 1)
        if heads % d == 0 and (kv_heads % d == 0 or d % max(kv_heads, 1) == 0 or architecture.kv_lora_rank > 0)
    )
