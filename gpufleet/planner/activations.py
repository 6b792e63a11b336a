"""What the server's profiling run and its CUDA graphs take.

Owns the shape of both laws. Leaves their constants to `engines`.
"""

from __future__ import annotations

from gpufleet.planner.architecture import Architecture
from gpufleet.planner.engines import MemoryLaw
from gpufleet.planner.precision import value_bytes
from gpufleet.planner.replica import ReplicaShape
from gpufleet.planner.units import GIB

LONGEST_WHOLE_PROMPT = 32_768
"""Longer contexts were profiled in chunks even where shorter ones were not (vLLM before 0.8)."""
GRAPHS_FULL_CAPTURE = 512
"""vLLM captures batch sizes up to twice max_num_seqs, at most 512."""
MXFP4_GRAPHS = 2.2
"""The kernels of MXFP4 experts take about twice the graph memory: 1.84 and 1.55 GiB logged for 24 layers."""


def activation_gib(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    tokens = shape.max_num_batched_tokens
    if law.profiles_whole_context and shape.max_model_len <= LONGEST_WHOLE_PROMPT:
        tokens = max(tokens, shape.max_model_len)
    value = value_bytes(shape.precision)
    experts = _expert_workspace(architecture, shape.tensor_parallelism)
    resident = experts if law.keeps_expert_workspace and shape.precision != "mxfp4" else 0.0
    width = 0 if architecture.num_experts else architecture.intermediate_size
    # The widest moment of a layer: gate, up and their product (split), and five vectors of the residual stream (whole).
    # Llama-3.1-8B takes 1.1 GiB for 8,192 tokens on a pipeline stage without a head.
    forward = (
        tokens * value * (3 * width / shape.tensor_parallelism + 5 * architecture.hidden_size + experts - resident)
    )
    peak = max(forward, sampler_bytes(architecture, law, shape), _vision_bytes(architecture, value))
    # Encoder outputs for a full batch stay beside it, on their way into the encoder cache and out (Gemma 3: +0.32 GiB).
    encoded = 4 * architecture.hidden_size if architecture.is_multimodal else 0
    return law.activation_base_gib + (peak + tokens * value * (resident + encoded)) / GIB


def sampler_bytes(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """The profiling run samples for all sequences at once, on every GPU over the whole vocabulary."""
    if architecture.kind == "encoder":
        return 0.0
    return (law.sampler_bytes + value_bytes(shape.precision)) * architecture.vocab_size * shape.max_num_seqs


def _expert_workspace(architecture: Architecture, tensor_parallelism: int) -> float:
    """Values per token in the buffers of fused experts: gate and up (or the hidden size, if larger) and their product.
    Mixtral logs 0.6 GiB above a dense model of its vocabulary, Qwen3-30B-A3B 0.47."""
    if not architecture.num_experts:
        return 0.0
    width = architecture.expert_intermediate_size / tensor_parallelism
    return architecture.experts_per_token * (max(2 * width, architecture.hidden_size) + width)


def _vision_bytes(architecture: Architecture, value: float) -> float:
    """The encoder's pass over the largest image that is profiled."""
    vision = architecture.vision
    if vision is None:
        return 0.0
    return vision.patches_per_image * value * (5 * vision.hidden_size + 3 * vision.intermediate_size)


def graphs_gib(architecture: Architecture, law: MemoryLaw, shape: ReplicaShape) -> float:
    """Batch sizes 1, 2, 4, every 8 up to 256 and every 16 beyond are captured; a limit leaves proportionally fewer."""
    if architecture.kind in ("encoder", "diffusion"):
        return 0.0
    largest = min(2 * shape.max_num_seqs, GRAPHS_FULL_CAPTURE)
    sizes = 3 + min(largest, 256) // 8 + max(0, largest - 256) // 16
    kernels = MXFP4_GRAPHS if shape.precision == "mxfp4" else 1.0
    grown = (law.graph_base_gib / 2 + law.graph_gib_per_layer * architecture.num_hidden_layers) * kernels
    return law.graph_base_gib / 2 + grown * min(1.0, sizes / law.graph_sizes)
