"""Weights of a model: on each GPU, on disk, and over how many GPUs they divide.

Owns what tensor parallelism splits, replicates and pads, and what the allocator adds. Leaves a format's bytes to
`precision` and the model's parts to `architecture`.
"""

from __future__ import annotations

import math
from functools import lru_cache

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.models.parts import Part
from gpufleet.planner.precision import BITSANDBYTES_GROUP, BITSANDBYTES_SCALE_BYTES, PRECISIONS, value_bytes
from gpufleet.planner.units import MIB

MXFP4_WIDTH_MULTIPLE = 256
"""The width of MXFP4 experts on each GPU is padded to this: gpt-oss-20b from 2,880 to 3,072 (13.47 GiB logged)."""
ALLOCATOR_SEGMENT = 2 * MIB
ALLOCATOR_SEGMENT_FROM = 10 * MIB
ALLOCATOR_REST = MIB
"""PyTorch's CUDA allocator rounds tensors above 10 MiB to segments of whole 2 MiB and gives a rest of up to 1 MiB to
nobody (c10/cuda/CUDACachingAllocator). It explains Qwen2.5-7B: 14.19 GiB of weights, 14.25 logged."""


@lru_cache(maxsize=4096)
def weights_bytes_per_gpu(architecture: Architecture, precision: str, tensor_parallelism: int) -> float:
    """Weights on one GPU: every tensor in its own bytes, what is replicated or padded included, as the allocator rounds
    it; and the tables of rotary positions, whole on each. Llama-3.1-8B in fp16: 14.99, 7.51, 3.77 GiB at 1, 2, 4."""
    total = 0.0
    for part in architecture.parts:
        size = part.per_gpu(tensor_parallelism)
        size *= _bytes_per_parameter(architecture, precision, _role(architecture, part))
        size *= _mxfp4_padding(architecture, precision, part, tensor_parallelism)
        total += part.tensors * _allocated(size)
    return total + architecture.rope_values * value_bytes(precision)


def checkpoint_bytes(architecture: Architecture) -> float:
    """The published files: what is downloaded and lies on disk, in the checkpoint's own format (16 bits if unknown)."""
    stored = architecture.checkpoint_format or "bf16"
    held = sum(
        p.parameters * _bytes_per_parameter(architecture, stored, _role(architecture, p)) for p in architecture.parts
    )
    return held * architecture.checkpoint_parameters / max(architecture.parameters, 1)


def _role(architecture: Architecture, part: Part) -> str:
    return "kept" if part.name in architecture.parts_in_16_bits else part.role


def _bytes_per_parameter(architecture: Architecture, precision: str, role: str) -> float:
    stored = PRECISIONS[precision]
    made_at_load = architecture.checkpoint_format != precision
    method = "bitsandbytes" if made_at_load else architecture.quantization_method
    if role in stored.quantized_roles and precision == "int4" and method == "bitsandbytes":
        return stored.bytes_per_parameter + BITSANDBYTES_SCALE_BYTES / BITSANDBYTES_GROUP
    # Only formats with a scale per group take the checkpoint's group size; an fp8 block is two-dimensional.
    group = 0 if made_at_load or precision != "int4" else architecture.quantization_group
    return stored.bytes_for(role, group=group)


def _mxfp4_padding(architecture: Architecture, precision: str, part: Part, tensor_parallelism: int) -> float:
    if precision != "mxfp4" or part.role != "expert":
        return 1.0
    width = architecture.expert_intermediate_size / tensor_parallelism
    return math.ceil(width / MXFP4_WIDTH_MULTIPLE) * MXFP4_WIDTH_MULTIPLE / width


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
    widths = (architecture.intermediate_size, architecture.expert_intermediate_size)
    return all(width % (degree * group) == 0 for width in widths if width)
