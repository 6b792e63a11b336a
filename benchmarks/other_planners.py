"""What other planners take for weights + activations + non-torch memory of one GPU, as their sources have it.

Owns their constants (read in 2026; `docs/accuracy.md` names files). All are given this planner's weights, so that what is
compared is what they add.
"""

from __future__ import annotations

from benchmarks.measured import Start
from benchmarks.scores import memory_of

MIB = 1024**2
GIB = 1024**3


def kaito(start: Start) -> float:
    """Files × 1.02, 0.6 GiB of runtime, 1.7 GiB of activations and graphs, and a twentieth of the weights' share."""
    weights = memory_of(start).weights_gib
    return 1.02 * weights + 2.3 + 0.05 * weights


# Activation coefficients by tensor parallelism 1, 2, 4 and 8.
_AICONFIGURATOR = {"llama": (11, 6.5, 5, 5), "moe": (22, 13, 10, 10), "other": (10, 6, 5, 5)}
_AICONFIGURATOR_NCCL_MIB = (0, 342, 392, 392)


def aiconfigurator(start: Start) -> float:
    """2 × tokens × hidden size × a coefficient, NCCL by degree, and 3.5 GiB besides."""
    architecture, shape = start.architecture, start.shape
    kind = "moe" if architecture.num_experts else "llama" if architecture.model_type == "llama" else "other"
    degree = min(shape.tensor_parallelism.bit_length() - 1, 3)
    activations = 2 * shape.max_num_batched_tokens * architecture.hidden_size * _AICONFIGURATOR[kind][degree]
    runtime = max(activations, 70 * MIB) / GIB + _AICONFIGURATOR_NCCL_MIB[degree] / 1024 + 3.5
    return memory_of(start).weights_gib + runtime


def llm_d(start: Start) -> float:
    """Activations by family, measured on an H100, and 0.15 or 0.6 GiB of non-torch memory."""
    architecture = start.architecture
    family = (
        "multimodal" if architecture.is_multimodal else "moe" if architecture.num_experts else architecture.model_type
    )
    activations = {"multimodal": 2.5, "moe": 8.0, "llama": 4.8, "qwen2": 5.6, "qwen3": 5.6}.get(family, 5.5)
    return memory_of(start).weights_gib + activations + (0.6 if start.shape.tensor_parallelism > 1 else 0.15)


def gpustack(start: Start) -> float:
    """Files × 1.2 and 2 GiB."""
    return 1.2 * memory_of(start).weights_gib + 2.0


def accelerate(start: Start) -> float:
    """Weights and a fifth."""
    return 1.2 * memory_of(start).weights_gib


PLANNERS = {
    "KAITO": kaito,
    "AIConfigurator": aiconfigurator,
    "llm-d planner": llm_d,
    "gpustack": gpustack,
    "accelerate": accelerate,
}
