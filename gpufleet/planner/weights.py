"""Weights of a model: on each GPU, on disk, and over how many GPUs they divide.

Owns what tensor parallelism splits, replicates and pads, what a server's loader makes of a format, and what the allocator
adds. Leaves a format's bytes to `precision`, the model's parts to `architecture`, and stages to `stages`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.models.parts import ADDITIONS, Part
from gpufleet.planner.models.storage import KEPT
from gpufleet.planner.precision import (
    BITSANDBYTES_GROUP,
    BITSANDBYTES_NESTED_BYTES,
    BITSANDBYTES_SCALE_BYTES,
    EVERY_LINEAR,
    PRECISIONS,
    SIXTEEN_BIT_BYTES,
    value_bytes,
)
from gpufleet.planner.units import MIB

MXFP4_MULTIPLE = 256
MXFP4_OUTPUTS_PADDED_FROM = (0, 15)
"""MXFP4 experts are laid out for their kernels (triton_kernels, HopperMXValueLayout): the axis that is summed over in
blocks of 256 values; in newer versions the outputs of gate and up too. gpt-oss-20b: 13.47 GiB logged before, 13.64 and 7.01
at 1 and 2 GPUs on 0.19. 0.14.1 still logged the former."""

BITSANDBYTES_NESTED_UNTIL = (0, 9, 2)
"""The first version of vLLM that undoes the nested quantisation of absolute maxima while loading (dequantize_dq)."""

ALLOCATOR_SEGMENT = 2 * MIB
ALLOCATOR_SEGMENT_FROM = 10 * MIB
ALLOCATOR_REST = MIB
"""PyTorch's CUDA allocator rounds tensors above 10 MiB to segments of whole 2 MiB and gives a rest of up to 1 MiB to
nobody (c10/cuda/CUDACachingAllocator). It explains Qwen2.5-7B: 14.19 GiB of weights, 14.25 logged."""

_MXFP4_EVERYWHERE = frozenset({"compressed-tensors", "quark", "auto-round"})
"""Methods whose MXFP4 is that of every linear layer; OpenAI's is that of experts only."""

Version = tuple[int, ...]
NEWEST: Version = (99,)


@lru_cache(maxsize=4096)
def weights_bytes_per_gpu(
    architecture: Architecture, precision: str, tensor_parallelism: int, version: Version = NEWEST
) -> float:
    """Weights on one GPU: every tensor in its own bytes, what is replicated or padded included, as the allocator rounds
    it; and the tables of rotary positions, whole on each. Llama-3.1-8B in fp16: 14.99, 7.51, 3.77 GiB at 1, 2, 4.

    `version` is the server's, which decides what its loader makes of some formats. A stage of a pipeline is an
    architecture of its own (`stages`).
    """
    total = 0.0
    for piece in _pieces(architecture, precision):
        size = piece.part.per_gpu(tensor_parallelism) * _bytes_per_parameter(architecture, piece, version)
        if piece.stored == "mxfp4" and piece.part.role == "expert":
            size *= _mxfp4_padding(architecture, piece.part, tensor_parallelism, version)
        total += piece.part.tensors * _allocated(size)
    return total + architecture.rope_values * value_bytes(precision)


@lru_cache(maxsize=1024)
def checkpoint_bytes(architecture: Architecture) -> float:
    """The published files: what is downloaded and lies on disk, in the checkpoint's own format (16 bits if unknown), with
    those of a draft."""
    if architecture.file_bytes:
        return float(architecture.file_bytes)
    pieces = list(_pieces(architecture, architecture.checkpoint_format or "bf16"))
    sizes = [p.part.parameters * _bytes_per_parameter(architecture, p, NEWEST) for p in pieces]
    own = sum(size for p, size in zip(pieces, sizes, strict=True) if p.part.name not in ADDITIONS)
    draft = sum(size for p, size in zip(pieces, sizes, strict=True) if p.part.name == "draft")
    return own * architecture.checkpoint_parameters / max(architecture.parameters, 1) + draft


class _Piece(NamedTuple):
    """A part, or what of it lies in some layers, with the format that it is stored in and its group size."""

    part: Part
    stored: str
    group: int
    is_exception: bool


def _pieces(architecture: Architecture, precision: str) -> Iterator[_Piece]:
    """All parts. Where the checkpoint is loaded as it is, what it stores otherwise is a piece of its own."""
    is_stored_so = architecture.checkpoint_format == precision
    group = architecture.quantization_group if is_stored_so else 0
    exceptions = architecture.exceptions if is_stored_so else ()
    for part in architecture.parts:
        if (is_stored_so or part.name in ADDITIONS) and (part.stored or part.bytes_per_parameter):
            yield _Piece(part, part.stored or precision, group, True)
            continue
        rest: Part | None = part
        for parts, layers, stored, own_group in exceptions:
            if rest is None or rest.name not in parts:
                continue
            piece = rest if layers is None else rest.within(layers)
            if piece is not None:
                yield _Piece(piece, stored, own_group or group, True)
                rest = None if layers is None else rest.without(layers)
        if rest is not None:
            yield _Piece(rest, precision, group, False)


def _bytes_per_parameter(architecture: Architecture, piece: _Piece, version: Version) -> float:
    if piece.is_exception and piece.part.bytes_per_parameter:
        return piece.part.bytes_per_parameter
    if piece.stored == KEPT:
        return SIXTEEN_BIT_BYTES
    stored, role = PRECISIONS[piece.stored], piece.part.role
    made_at_load = architecture.checkpoint_format is None or not PRECISIONS[architecture.checkpoint_format].is_quantized
    method = "bitsandbytes" if made_at_load else architecture.quantization_method
    if piece.is_exception or (role in EVERY_LINEAR and method in _MXFP4_EVERYWHERE):
        role = "expert"  # what every format quantises
    if role in EVERY_LINEAR and piece.stored == "int4" and method == "bitsandbytes":
        nested = version < BITSANDBYTES_NESTED_UNTIL
        scale = BITSANDBYTES_NESTED_BYTES if nested else BITSANDBYTES_SCALE_BYTES
        return stored.bytes_per_parameter + scale / BITSANDBYTES_GROUP
    # An fp8 block is two-dimensional, and MX formats have groups of their own.
    group = piece.group if piece.stored in ("int4", "int8") else 0
    return stored.bytes_for(role, group=group, has_zero_points=architecture.has_zero_points and not made_at_load)


def _mxfp4_padding(architecture: Architecture, part: Part, tensor_parallelism: int, version: Version) -> float:
    """How much larger the padded experts are. The larger of the two tensors is gate and up."""
    hidden, width = architecture.hidden_size, architecture.expert_intermediate_size / tensor_parallelism
    if part.split < 1.5 * architecture.num_experts * architecture.hidden_size * architecture.expert_intermediate_size:
        return _padded(width) / width
    outputs = _padded(2 * width) / (2 * width) if version >= MXFP4_OUTPUTS_PADDED_FROM else 1.0
    return _padded(hidden) / hidden * outputs


def _padded(size: float) -> int:
    return math.ceil(size / MXFP4_MULTIPLE) * MXFP4_MULTIPLE


def _allocated(size: float) -> float:
    rest = -size % ALLOCATOR_SEGMENT
    return size + rest if size >= ALLOCATOR_SEGMENT_FROM and rest <= ALLOCATOR_REST else size


@lru_cache(maxsize=2048)
def valid_tensor_parallelism(architecture: Architecture, up_to: int) -> tuple[int, ...]:
    """Degrees up to `up_to` that the server accepts: attention heads, MLP and experts divide evenly, in whole groups
    where weights are quantised in groups; KV heads divide or are copied."""
    if not architecture.num_attention_heads:
        return (1,)
    return tuple(degree for degree in range(1, up_to + 1) if _divides(architecture, degree))


def _divides(architecture: Architecture, degree: int) -> bool:
    heads, kv_heads = architecture.num_attention_heads, max(architecture.num_key_value_heads, 1)
    if heads % degree or (kv_heads % degree and degree % kv_heads and not architecture.kv_lora_rank):
        return False
    group = max(architecture.quantization_group, 1) if degree > 1 and architecture.checkpoint_format != "mxfp4" else 1
    heads_wide = 0 if architecture.kv_lora_rank else heads * architecture.head_dim
    widths = (architecture.intermediate_size, architecture.expert_intermediate_size, heads_wide)
    return all(width % (degree * group) == 0 for width in widths if width)
