"""A documented typical architecture for a bare parameter count.

Owns the points between which it interpolates: published dense models with grouped-query attention. Leaves to
`architecture` saying that it is an assumption.
"""

from __future__ import annotations

import math
from itertools import pairwise
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
    """The config of a dense Llama-like model of about this size: layers and hidden size interpolated by logarithm,
    eight KV heads of 128, and the MLP as wide as the count leaves room for."""
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
    if width < hidden / 2:
        return _small_config(parameters)
    return _config(layers, hidden, _HEAD_DIM, _KV_HEADS, width, vocab, tied=tied)


def _small_config(parameters: int) -> dict[str, Any]:
    """Below the smallest point: GPT-2's proportions, 12 layers of 12 × hidden² each, with a small vocabulary."""
    layers, head_dim = 12, 64
    vocab = min(32_000, parameters // 256)
    exact = (math.sqrt(vocab**2 + 4 * 12 * layers * parameters) - vocab) / (2 * 12 * layers)
    hidden = max(head_dim, int(exact) // head_dim * head_dim)
    width = (parameters - vocab * hidden - 4 * layers * hidden**2) / (3 * hidden * layers)
    return _config(layers, hidden, head_dim, hidden // head_dim, width, vocab, tied=True)


def _config(
    layers: int, hidden: int, head_dim: int, kv_heads: int, width: float, vocab: int, *, tied: bool
) -> dict[str, Any]:
    heads = hidden // head_dim
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads if heads % kv_heads == 0 else heads,
        "head_dim": head_dim,
        "intermediate_size": max(8, int(width) // 64 * 64 or int(width)),
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
    }


def _neighbours(parameters: int) -> tuple[tuple[float, int, int, int], tuple[float, int, int, int]]:
    if parameters <= _POINTS[0][0]:
        return _POINTS[0], _POINTS[0]
    for low, high in pairwise(_POINTS):
        if parameters <= high[0]:
            return low, high
    return _POINTS[-1], _POINTS[-1]


def _between(low: float, high: float, share: float) -> float:
    return low * math.pow(high / low, share)
