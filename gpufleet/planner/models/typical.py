"""A documented typical architecture for a bare parameter count.

Owns the points between which it interpolates: published dense models with grouped-query attention. Leaves to
`architecture` saying that it is an assumption.
"""

from __future__ import annotations

import math
from typing import Any

_POINTS: tuple[tuple[float, int, int, int], ...] = (
    # parameters, layers, hidden size, vocabulary
    (0.60e9, 28, 1024, 151_936),  # Qwen/Qwen3-0.6B
    (1.72e9, 28, 2048, 151_936),  # Qwen/Qwen3-1.7B
    (4.02e9, 36, 2560, 151_936),  # Qwen/Qwen3-4B
    (8.03e9, 32, 4096, 128_256),  # meta-llama/Llama-3.1-8B
    (14.77e9, 40, 5120, 151_936),  # Qwen/Qwen3-14B
    (32.76e9, 64, 5120, 152_064),  # Qwen/Qwen2.5-32B-Instruct
    (70.55e9, 80, 8192, 128_256),  # meta-llama/Llama-3.1-70B
    (122.6e9, 88, 12_288, 131_072),  # mistralai/Mistral-Large-Instruct-2407
    (405.9e9, 126, 16_384, 128_256),  # meta-llama/Llama-3.1-405B
)
_HEAD_DIM = 128
_KV_HEADS = 8
_TIED_BELOW = 5e9


def typical_config(parameters: int) -> dict[str, Any]:
    """The config of a dense Llama-like model of about this size: layers and hidden size interpolated by logarithm, eight
    KV heads of 128, and the MLP as wide as the count leaves room for."""
    low, high = _neighbours(parameters)
    share = 0.0 if low is high else (math.log(parameters) - math.log(low[0])) / (math.log(high[0]) - math.log(low[0]))
    layers = max(2, round(_between(low[1], high[1], share)))
    multiple = _HEAD_DIM * _KV_HEADS
    hidden = max(multiple, round(_between(low[2], high[2], share) / multiple) * multiple)
    vocab = max(low[3], high[3]) if parameters >= low[0] else 32_000
    tied = parameters < _TIED_BELOW
    ends = vocab * hidden * (1 if tied else 2)
    attention = 2 * hidden * (hidden + _KV_HEADS * _HEAD_DIM)
    width = (parameters - ends - layers * attention) / (3 * hidden * layers)
    if width < hidden / 2:  # smaller than any point: fewer and narrower layers in Llama's usual proportions
        vocab, layers = 32_000, 12
        hidden = max(256, round(math.sqrt(parameters / (layers * 12 + vocab / 512)) / 64) * 64)
        width = max(hidden, (parameters - vocab * hidden - 4 * layers * hidden * hidden) / (3 * hidden * layers))
    heads = max(1, hidden // _HEAD_DIM)
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": _KV_HEADS if heads % _KV_HEADS == 0 else heads,
        "head_dim": _HEAD_DIM,
        "intermediate_size": max(64, round(width / 64) * 64),
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
    }


def _neighbours(parameters: int) -> tuple[tuple[float, int, int, int], tuple[float, int, int, int]]:
    if parameters <= _POINTS[0][0]:
        return _POINTS[0], _POINTS[0]
    for low, high in zip(_POINTS, _POINTS[1:], strict=False):
        if parameters <= high[0]:
            return low, high
    return _POINTS[-1], _POINTS[-1]


def _between(low: float, high: float, share: float) -> float:
    return low * (high / low) ** share
