"""Layers that keep a state per sequence instead of a cache per token: their parameters and their state.

Owns one formula per kind, as in the modelling code of Hugging Face transformers. Leaves to `counting` which layers they
are. Imported only for models that have some.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gpufleet.planner.models.fields import fail
from gpufleet.planner.models.layers import Layer
from gpufleet.planner.models.shape import Shape

_HALF, _FULL = 2, 4
"""Bytes per value: convolutions keep 16 bits, and so do recurrent states unless the model asks for 32 (vLLM's
MambaStateDtypeCalculator; its blocks for Qwen3-Next and Qwen3.5 have 544 and 784 tokens by this, as logged)."""
_FULL_STATES = ("qwen3_5", "nemotron_h")
"""Types whose published configs ask for 32 bits (mamba_ssm_dtype, mamba_ssm_cache_dtype)."""


class StateLayer(NamedTuple):
    """One layer: `split` parameters in linear projections, `whole` others, and the state per sequence in bytes."""

    split: int
    whole: int
    state_bytes: int


def state_layer(shape: Shape, layer: Layer, kind: str) -> StateLayer:
    """The layer of this kind."""
    return _KINDS[kind](shape, layer)


def _state_bytes(shape: Shape) -> int:
    """Of a value of the recurrent state."""
    asked = shape.text.get("mamba_ssm_dtype") or shape.text.get("mamba_ssm_cache_dtype")
    is_full = asked == "float32" if asked else shape.model_type.startswith(_FULL_STATES)
    return _FULL if is_full else _HALF


def _needed(shape: Shape, *names: str) -> int:
    value = shape.size(*names)
    if not value:
        fail(names[0], "is missing, but the model has layers with a state", allowed="a whole number")
    return value


def _inner(shape: Shape) -> int:
    """The width inside a Mamba layer: given, or a multiple of the hidden size."""
    expand = shape.text.get("mamba_expand") or shape.text.get("expand") or 2
    return shape.size("mamba_d_ssm", "d_inner") or int(float(expand) * shape.hidden_size)


def _mamba(shape: Shape, _: Layer) -> StateLayer:
    """Mamba (arXiv 2312.00752): a state per channel; Jamba norms what the state is made from."""
    h, inner = shape.hidden_size, _inner(shape)
    state, kernel = _needed(shape, "mamba_d_state", "state_size"), shape.size("mamba_d_conv", "conv_kernel", default=4)
    rank = shape.size("mamba_dt_rank", "time_step_rank") or -(-h // 16)
    linear = 2 * h * inner + inner * (rank + 2 * state) + rank * inner + inner * h
    norms = rank + 2 * state if shape.model_type == "jamba" else 0
    small = inner * (kernel + 1) + inner * state + 2 * inner + norms
    return StateLayer(linear, small, _HALF * inner * (kernel - 1) + _state_bytes(shape) * inner * state)


def _mamba2(shape: Shape, _: Layer) -> StateLayer:
    """Mamba-2 (arXiv 2405.21060): a state per head."""
    heads = _needed(shape, "mamba_num_heads", "mamba_n_heads", "n_mamba_heads", "num_heads")
    head = shape.size("mamba_head_dim", "mamba_d_head", "mamba_headdim")
    if not head:
        own = shape.size("head_dim") if shape.model_type == "mamba2" else 0
        head = own or _inner(shape) // heads
    groups = shape.size("n_groups", "mamba_n_groups", "mamba_ngroups", default=1)
    state = _needed(shape, "ssm_state_size", "mamba_d_state", "state_size")
    kernel = shape.size("conv_kernel", "mamba_d_conv", default=4)
    inner, convolved = heads * head, heads * head + 2 * groups * state
    linear = shape.hidden_size * (inner + convolved + heads) + inner * shape.hidden_size
    norm = inner if shape.model_type != "falcon_h1" or shape.text.get("mamba_rms_norm") else 0
    small = convolved * (kernel + 1) + 3 * heads + norm
    return StateLayer(linear + small, 0, _HALF * convolved * (kernel - 1) + _state_bytes(shape) * inner * state)


def _delta(shape: Shape, _: Layer) -> StateLayer:
    """A gated delta rule (Qwen3-Next, OLMo-Hybrid)."""
    values, value = _needed(shape, "linear_num_value_heads"), _needed(shape, "linear_value_head_dim")
    keys, key = _needed(shape, "linear_num_key_heads"), _needed(shape, "linear_key_head_dim")
    kernel = shape.size("linear_conv_kernel_dim", default=4)
    inner, convolved = values * value, 2 * keys * key + values * value
    linear = shape.hidden_size * (convolved + inner + 2 * values) + inner * shape.hidden_size
    small = convolved * kernel + 2 * values + value
    held = _HALF * convolved * (kernel - 1) + _state_bytes(shape) * values * key * value
    return StateLayer(linear + small, 0, held)


def _kda(shape: Shape, layer: Layer) -> StateLayer:
    """Kimi Delta Attention: a delta rule with a gate per channel, whose projections are of low rank (arXiv 2510.26692);
    Ling's variant has them full."""
    own = shape.text.get("linear_attn_config")
    inside = shape._replace(text=dict(own)) if isinstance(own, dict) else shape
    heads = inside.size("num_heads") or shape.size("linear_num_heads", default=layer.heads)
    head = inside.size("head_dim") if inside is not shape else shape.size("linear_head_dim", default=layer.head_dim)
    kernel = inside.size("short_conv_kernel_size", "linear_conv_kernel_dim", default=4)
    h, inner = shape.hidden_size, heads * head
    gates = 2 * h * inner if shape.model_type == "bailing_hybrid" else 2 * (h * head + head * inner)
    linear = 4 * h * inner + gates + h * heads
    small = 3 * inner * kernel + inner + heads + head
    return StateLayer(linear, small, _HALF * 3 * inner * (kernel - 1) + _FULL * heads * head * head)


def _lightning(shape: Shape, layer: Layer) -> StateLayer:
    """Lightning attention (MiniMax-01, arXiv 2501.08313): one matrix per head."""
    inner = layer.heads * layer.head_dim
    return StateLayer(5 * shape.hidden_size * inner, inner, _state_bytes(shape) * layer.heads * layer.head_dim**2)


def _recurrent(shape: Shape, layer: Layer) -> StateLayer:
    """A real-gated linear recurrence (RecurrentGemma, arXiv 2404.07839)."""
    h, width = shape.hidden_size, shape.size("lru_width", default=shape.hidden_size)
    kernel = shape.size("conv1d_width", default=4)
    gates = 2 * width * width // max(layer.heads, 1)
    small = 2 * width + h + width * (kernel + 1) + 3 * width
    return StateLayer(3 * h * width + gates, small, _HALF * width * (kernel - 1) + _FULL * width)


def _conv(shape: Shape, _: Layer) -> StateLayer:
    """A short convolution between two gates (LFM2)."""
    h, kernel = shape.hidden_size, shape.size("conv_L_cache", default=3)
    width = shape.size("conv_dim", default=h)
    return StateLayer(3 * h * width + width * h, width * kernel, _HALF * width * (kernel - 1))


_KINDS: dict[str, Callable[[Shape, Layer], StateLayer]] = {
    "mamba": _mamba, "mamba2": _mamba2, "delta": _delta, "kda": _kda, "lightning": _lightning,
    "recurrent": _recurrent, "conv": _conv,
}  # fmt: skip
STATES = frozenset(_KINDS)
