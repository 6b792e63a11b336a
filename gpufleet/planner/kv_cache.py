"""The KV cache: bytes per token and sequence on each GPU, as the server lays blocks out.

Owns blocks, windows, states and the padding of unlike layers. Leaves the room for it to `memory`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import Engine
from gpufleet.planner.laws import MemoryLaw
from gpufleet.planner.models.parts import CacheGroup
from gpufleet.planner.precision import value_bytes
from gpufleet.planner.replica import ReplicaShape
from gpufleet.planner.units import GIB


class Held(NamedTuple):
    """What layers of one kind hold on one GPU, those that pad their group included. Per token: `token_bytes`, in whole
    blocks, up to `longest` tokens and `more_blocks` where they have a window. Per sequence: `state_bytes`."""

    token_bytes: float
    state_bytes: float
    longest: int | None
    more_blocks: int

    def sequence_bytes(self, tokens: int, block: int) -> float:
        """Of one sequence of this length."""
        held = tokens if self.longest is None else min(tokens, self.longest)
        return self.token_bytes * (math.ceil(held / block) + self.more_blocks) * block + self.state_bytes


class Cache(NamedTuple):
    """The cache on one GPU; `replica_token_bytes` is of the whole replica, as if no layer had a window."""

    replica_token_bytes: int
    gpu_token_bytes: float
    """What the server divides the cache by for the tokens that it logs: with the padding that equal groups cost."""
    held: tuple[Held, ...]
    block_tokens: int
    max_model_len: int
    counts_by_context: bool

    def sequence_bytes(self, tokens: int) -> float:
        """Of one sequence of this length, in whole blocks; 0 for models without a cache."""
        return sum(held.sequence_bytes(tokens, self.block_tokens) for held in self.held)

    def tokens(self, free_gib: float) -> int:
        """Tokens in this much memory, as the server logs them."""
        if not self.gpu_token_bytes:
            return 0
        if self.counts_by_context:
            return int(free_gib * GIB / self.sequence_bytes(self.max_model_len) * self.max_model_len)
        return int(free_gib * GIB / self.gpu_token_bytes) // self.block_tokens * self.block_tokens

    def sequences(self, free_gib: float, tokens: int) -> int | None:
        """Sequences of this length at once in this much memory; None where nothing bounds them."""
        each = self.sequence_bytes(tokens)
        return int(free_gib * GIB / each + 1e-9) if each else None

    def longest_context(self, free_gib: float) -> int | None:
        """Tokens of the longest single sequence in this much memory, in whole blocks; None where nothing bounds it."""
        growing = sum(held.token_bytes for held in self.held if held.longest is None)
        if not growing:
            return None
        free = free_gib * GIB
        # With every window full, the rest grows by the block; if not even that fits, windows are not full either.
        low, high = 0, int(free / growing) // self.block_tokens + 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.sequence_bytes(middle * self.block_tokens) <= free:
                low = middle
            else:
                high = middle - 1
        return low * self.block_tokens


def cache_of(architecture: Architecture, engine: Engine, shape: ReplicaShape) -> Cache:
    """The cache of a replica on one of its GPUs."""
    stored = engine.cache_types[shape.kv_cache_dtype].bytes_per_value
    value = stored if stored is not None else value_bytes(shape.precision)
    law, groups = engine.law(shape.engine_version, shape.card), architecture.cache
    padded = _padded_layers(groups, law)
    block, page = _block(groups, law, shape, value, engine.block_tokens)
    held, logged = [], 0.0
    for group, layers in zip(groups, padded, strict=True):
        token = group.token_bytes(value, shape.tensor_parallelism)
        if group.kind == "latent" and value == 1.0 and any(g.fixed_bytes for g in groups):
            token = _sparse_latent_bytes(architecture)
        if group.kind == "cross":
            # Blocks for the longest output of the encoder, whatever the sequence (CrossAttentionSpec).
            blocks = math.ceil((group.window or 0) / block)
            held.append(Held(token_bytes=0.0, state_bytes=layers * token * blocks * block, longest=0, more_blocks=0))
            logged += layers * token
            continue
        state = group.state_bytes / shape.tensor_parallelism
        longest, more = _window(group, shape, law)
        # Where states share blocks with a cache, each takes a whole block of its layer.
        state = page if group.state_bytes and page else state
        held.append(Held(token_bytes=layers * token, state_bytes=layers * state, longest=longest, more_blocks=more))
        logged += layers * (page / block if group.state_bytes and page else token)
    return Cache(
        replica_token_bytes=round(sum(g.layers * g.token_bytes(value) for g in groups if g.kind != "cross")),
        gpu_token_bytes=logged,
        held=tuple(held),
        block_tokens=block,
        max_model_len=shape.max_model_len,
        counts_by_context=law.counts_tokens_by_context,
    )


def _sparse_latent_bytes(architecture: Architecture) -> float:
    """Sparse attention keeps its latent vector in 8 bits with an fp32 scale per 128 values, and the rotary part in 16 bits:
    656 bytes for DeepSeek-V3.2 (FlashMLA's fp8 layout)."""
    return architecture.kv_lora_rank * (1 + 4 / 128) + 2 * architecture.qk_rope_head_dim


def _padded_layers(groups: Sequence[CacheGroup], law: MemoryLaw) -> list[int]:
    """vLLM keeps unlike layers in groups of equal size, that of the smallest kind unless all are nearly as large, and
    fills the last of each kind (v1/core/kv_cache_utils.py). Gemma-3-27b, 10 full and 52 sliding layers, pays for 70."""
    paged = [g.layers for g in groups if _is_paged(g)]
    if len(paged) < 2 or not law.even_groups_up_to:
        return [g.layers for g in groups]
    size = max(paged) if max(paged) < law.even_groups_up_to * min(paged) else min(paged)
    return [math.ceil(g.layers / size) * size if _is_paged(g) else g.layers for g in groups]


def _is_paged(group: CacheGroup) -> bool:
    return bool(group.width or group.state_bytes)


def _block(
    groups: Sequence[CacheGroup], law: MemoryLaw, shape: ReplicaShape, value: float, block: int
) -> tuple[int, float]:
    """Tokens of a block, and the bytes of one layer's block where recurrent states share blocks with a cache: the block
    then has as many tokens as hold a state (HybridAttentionMambaModelConfig)."""
    states = max((g.state_bytes / shape.tensor_parallelism for g in groups if g.state_bytes), default=0.0)
    token = max((g.token_bytes(value, shape.tensor_parallelism) for g in groups if g.width), default=0.0)
    if not states or not token or not law.even_groups_up_to:
        return block, 0.0
    tokens = max(math.ceil(states / token / block), 1) * block
    return tokens, tokens * token


def _window(group: CacheGroup, shape: ReplicaShape, law: MemoryLaw) -> tuple[int | None, int]:
    """Most tokens of a sequence that these layers hold, and blocks beyond. A window needs itself and the tokens of one
    step; a sliding one a block more, since it does not start at a block."""
    if not group.token_bytes(1.0):
        return 0, 0
    if group.window is None or not law.even_groups_up_to:
        return None, 0
    more = 1 if group.kind == "sliding" else 0
    return group.window - more + shape.max_num_batched_tokens, more
