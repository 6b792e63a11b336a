"""The KV cache: bytes per token and sequence on each GPU, as the server lays blocks out.

Owns blocks, windows, states and the padding of unlike layers. Leaves the room for it to `memory`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine, MemoryLaw
from gpufleet.planner.models.parts import CacheGroup
from gpufleet.planner.precision import value_bytes
from gpufleet.planner.replica import ReplicaShape
from gpufleet.planner.units import GIB


class Cache(NamedTuple):
    """Bytes of the cache on one GPU; `replica_token_bytes` of the whole replica, as if no layer had a window."""

    replica_token_bytes: int
    gpu_token_bytes: float
    """With the padding that equal groups of unlike layers cost."""
    sequence_bytes: float
    """Of one sequence of max_model_len, in whole blocks."""
    has_state: bool

    def tokens(self, free_gib: float, length: int, block: int) -> int:
        """Tokens in this much memory, in whole blocks. With a state per sequence the number depends on how long
        sequences are: full ones are meant."""
        if not self.sequence_bytes:
            return 0
        if self.has_state:
            return int(free_gib * GIB / self.sequence_bytes * length) // block * block
        return int(free_gib * GIB / self.gpu_token_bytes) // block * block

    def contexts(self, free_gib: float, max_num_seqs: int) -> int:
        """Sequences of max_model_len in this much memory."""
        return int(free_gib * GIB / self.sequence_bytes + 1e-9) if self.sequence_bytes else max_num_seqs


def cache_of(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> Cache:
    """The cache of a replica on one of its GPUs."""
    stored = engine.cache_types[shape.kv_cache_dtype].bytes_per_value
    value = stored if stored is not None else value_bytes(shape.precision)
    law, degree = engine.law(shape.engine_version), shape.tensor_parallelism
    groups = architecture.cache
    padded = _padded_layers(groups, law)
    return Cache(
        replica_token_bytes=round(sum(g.layers * g.token_bytes(value) for g in groups)),
        gpu_token_bytes=sum(n * g.token_bytes(value, degree) for g, n in zip(groups, padded, strict=True)),
        sequence_bytes=sum(
            n
            * (g.token_bytes(value, degree) * _held_tokens(g, shape, law, engine.block_tokens) + g.state_bytes / degree)
            for g, n in zip(groups, padded, strict=True)
        ),
        has_state=architecture.has_linear_or_state_layers,
    )


def _padded_layers(groups: Sequence[CacheGroup], law: MemoryLaw) -> list[int]:
    """vLLM keeps unlike layers in groups of equal size, that of the smallest kind unless all are nearly as large, and
    fills the last of each kind (v1/core/kv_cache_utils.py). Gemma-3-27b, 10 full and 52 sliding layers, pays for 70."""
    paged = [g.layers for g in groups if g.width]
    if len(paged) < 2 or not law.windows_save_cache:
        return [g.layers for g in groups]
    size = max(paged) if max(paged) < 1.25 * min(paged) else min(paged)
    return [math.ceil(g.layers / size) * size if g.width else g.layers for g in groups]


def _held_tokens(group: CacheGroup, shape: ReplicaShape, law: MemoryLaw, block: int) -> int:
    """Tokens of one sequence of max_model_len that these layers hold, in whole blocks. A window needs itself and the
    tokens of one step; a sliding one a block more, since it does not start at a block."""
    tokens, more = shape.max_model_len, 0
    if group.window is not None and law.windows_save_cache:
        step = shape.max_num_batched_tokens
        more = 1 if group.kind == "sliding" else 0
        tokens = min(tokens, group.window - more + step)
    return (math.ceil(tokens / block) + more) * block
