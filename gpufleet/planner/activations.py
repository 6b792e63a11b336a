"""What the server's profiling run and its CUDA graphs take.

Owns the shape of both laws. Leaves their constants to the engine's own module (`vllm`).
"""

from __future__ import annotations

from typing import NamedTuple

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.laws import MemoryLaw, Sampler
from gpufleet.planner.precision import PRECISIONS, Precision, value_bytes
from gpufleet.planner.replica import ReplicaShape
from gpufleet.planner.units import GIB, MIB

RESIDUAL_VECTORS = 4
"""Vectors of the hidden size alive per token in the widest moment of a layer, beside gate, up and their product. Whole
prompts of vLLM's first engine give 4.0 (Qwen2.5-1.5B and 7B, 32,768 tokens), compiled graphs 3.7 to 4.6 (Granite-3.3-8B,
Mistral-Small-24B, stages of Llama-3.1-8B)."""
MATMUL_WORKSPACE = (((9, 0), 32 * MIB), ((0, 0), 8.125 * MIB))
"""What PyTorch keeps for cuBLAS, by compute capability (ATen/cuda/CublasHandlePool)."""
GRAPHS_FULL_CAPTURE = 512
"""vLLM captures batch sizes up to twice max_num_seqs, at most 512."""
MXFP4_GRAPHS = 2.2
"""The kernels of MXFP4 experts take about twice the graph memory: 1.84 and 1.55 GiB logged for 24 layers."""
TRITON_EXPERTS_FROM = (9, 0)
"""MXFP4 experts run in one kernel on newer cards, without buffers of their own; older ones take Marlin's way."""


def activation_gib(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """The peak of the profiling run on one GPU. A stage of a pipeline that only passes on has a vocabulary of 0."""
    value, tokens = value_bytes(shape.precision), shape.max_num_batched_tokens
    experts = _expert_workspace(architecture, shape)
    resident = experts if law.keeps_expert_workspace else 0.0
    images = _images_of(architecture, law, shape)
    width = 0 if architecture.num_experts else 3 * architecture.intermediate_size / shape.tensor_parallelism
    stream = RESIDUAL_VECTORS * architecture.hidden_size
    # A stage that passes on takes the stream's two vectors from the stage before into buffers of its own.
    received = 2 * architecture.hidden_size if shape.pipeline_parallelism > 1 else 0
    forward = tokens * (value * (width + stream + experts - resident) + _quantized_bytes(shape) * width / 3)
    sampled = _sampler_moment(architecture, law, shape) if architecture.vocab_size else 0.0
    beside = tokens * value * (resident + received) + images.kept_bytes
    workspace = next(size for since, size in MATMUL_WORKSPACE if shape.card.compute_capability >= since)
    return (workspace + max(forward + beside, sampled + beside, images.encoder_bytes)) / GIB


def sampler_of(architecture: Architecture, law: MemoryLaw) -> Sampler:
    """The sampler that the engine takes for this model."""
    stored = architecture.checkpoint_format
    return law.sampler_for(
        architecture.model_type,
        is_moe=bool(architecture.num_experts),
        is_hybrid=architecture.has_linear_or_state_layers,
        is_quantized=stored is not None and PRECISIONS[stored].is_quantized,
    )


def sampler_bytes(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """The profiling run samples for all sequences at once, on every GPU over the whole vocabulary."""
    if architecture.kind == "encoder":
        return 0.0
    logit = value_bytes(shape.precision) + sampler_of(architecture, law).logit_bytes
    return logit * architecture.vocab_size * _sampled_sequences(architecture, law, shape)


def sampler_state_gib(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """What the sampler keeps for max_num_seqs sequences as long as the server runs."""
    if architecture.kind == "encoder":
        return 0.0
    return sampler_of(architecture, law).state_bytes * architecture.vocab_size * shape.max_num_seqs / GIB


def _sampler_moment(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """Logits and what the sampler makes of them, the hidden states of all tokens, and two copies of those sampled from."""
    value = value_bytes(shape.precision)
    sequences = _sampled_sequences(architecture, law, shape)
    hidden = (shape.max_num_batched_tokens + 2 * sequences) * architecture.hidden_size * value
    scratch = 0 if architecture.kind == "encoder" else sampler_of(architecture, law).scratch_rows
    return sampler_bytes(architecture, law, shape) + hidden + 4 * scratch * architecture.vocab_size


def _sampled_sequences(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> int:
    """All of them; but as many as images fit the tokens, where each profiled sequence carries one."""
    vision = architecture.vision
    if law.images_fill_budget or vision is None:
        return shape.max_num_seqs
    return min(shape.max_num_seqs, max(shape.max_num_batched_tokens // vision.tokens_per_image, 1))


def _expert_workspace(architecture: Architecture, shape: ReplicaShape) -> float:
    """Values per token in the two buffers of fused experts: gate and up, and their product, each at least as wide as the
    model. Mixtral logs 0.66 GiB beside a dense model of its vocabulary, Qwen3-30B-A3B 0.5."""
    if not architecture.num_experts or _in_one_kernel(shape):
        return 0.0
    hidden, width = architecture.hidden_size, architecture.expert_intermediate_size / shape.tensor_parallelism
    return architecture.experts_per_token * (max(2 * width, hidden) + max(width, hidden))


def _quantized_bytes(shape: ReplicaShape) -> float:
    """Per value of the product of gate and up, which 8-bit arithmetic quantises before the down projection."""
    stored = PRECISIONS[shape.precision]
    return stored.bytes_per_parameter if stored.bytes_per_parameter == 1 and _is_native(stored, shape) else 0.0


def _is_native(stored: Precision, shape: ReplicaShape) -> bool:
    return shape.card.compute_capability >= stored.native_capability


def _in_one_kernel(shape: ReplicaShape) -> bool:
    return shape.precision == "mxfp4" and shape.card.compute_capability >= TRITON_EXPERTS_FROM


class _Images(NamedTuple):
    """The images of a profiling run: what the encoder's pass takes, and what stays beside the rest of the run."""

    encoder_bytes: float = 0.0
    kept_bytes: float = 0.0


def _images_of(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> _Images:
    """As many images as fill the batched tokens, at least one. Two frames of a video make an image; a video is as long as
    the context and the engine's own limit allow."""
    vision, value, budget = architecture.vision, value_bytes(shape.precision), shape.max_num_batched_tokens
    if vision is None:
        return _Images()
    item = vision.tokens_per_image
    if vision.frames_are_images and law.images_fill_budget:
        item *= max(1, min(law.video_frames // 2, shape.max_model_len // vision.tokens_per_image))
    elif not law.images_fill_budget and item > budget:
        return _Images()  # the first engine then profiled text alone
    tokens = max(1, min(budget // item, shape.max_num_seqs)) * item
    patches = tokens * vision.patches_per_image / vision.tokens_per_image
    pixels = patches * vision.values_per_patch * value
    outputs = tokens * architecture.hidden_size * value
    widths = (3 if vision.is_gated else 2) * vision.intermediate_size / shape.tensor_parallelism
    return _Images(
        encoder_bytes=pixels + patches * value * (widths + RESIDUAL_VECTORS * vision.hidden_size),
        # In the first engine the encoder ran inside of the language model's pass.
        kept_bytes=pixels + outputs if law.images_fill_budget else 0.0,
    )


def graphs_gib(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """Batch sizes 1, 2, 4, every 8 up to 256 and every 16 beyond are captured; a limit leaves proportionally fewer."""
    if architecture.kind in ("encoder", "diffusion") or not shape.captures_graphs:
        return 0.0
    largest = min(2 * shape.max_num_seqs, GRAPHS_FULL_CAPTURE)
    sizes = 3 + min(largest, 256) // 8 + max(0, largest - 256) // 16
    kernels = MXFP4_GRAPHS if shape.precision == "mxfp4" else 1.0
    grown = (law.graph_base_gib / 2 + law.graph_gib_per_layer * architecture.num_hidden_layers) * kernels
    return law.graph_base_gib / 2 + grown * min(1.0, sizes / law.graph_sizes)
