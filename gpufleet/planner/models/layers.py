"""Which kind each layer is: what mixes tokens, and what follows.

Owns the many ways in which configs say it (lists, patterns, intervals, thresholds). Leaves sizes to `shape`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gpufleet.planner.models.fields import fail, positive

_LAYER_TYPES = {
    "full_attention": "full", "attention": "full", "sliding_attention": "sliding", "chunked_attention": "chunked",
    "linear_attention": "linear", "mamba": "mamba",
}  # fmt: skip
_NEMOTRON_H = {"M": ("mamba", "none"), "*": ("full", "none"), "-": ("none", "dense"), "E": ("none", "moe")}


class Layer(NamedTuple):
    """One layer: what mixes tokens (full, sliding, chunked, linear, mamba, lightning, none), what follows (dense, moe,
    none), and the width of a dense MLP."""

    mixer: str
    feed_forward: str
    width: int
    kv_heads: int


def read_layers(
    text: Mapping[str, Any], model_type: str, count: int, heads: int, kv_heads: int, width: int, hidden: int,
    experts: int, window: int | None,
) -> tuple[Layer, ...]:  # fmt: skip
    pattern = text.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        if len(pattern) != count or set(pattern) - set(_NEMOTRON_H):
            fail("hybrid_override_pattern", f"must name all {count} layers by M, *, - and E", given=pattern)
        pairs = [_NEMOTRON_H[mark] for mark in pattern]
        return tuple(Layer(mixer=m, feed_forward=f, width=width, kv_heads=kv_heads) for m, f in pairs)
    blocks = text.get("block_configs")
    if isinstance(blocks, Sequence) and not isinstance(blocks, str):
        return tuple(_block(block, heads, hidden) for block in blocks)
    mixers = _mixers(text, model_type, count, window)
    dense_width = positive(text, "intermediate_size_mlp") or width
    feed_forward = ["moe" if experts and _is_sparse(text, i) else "dense" for i in range(count)]
    return tuple(
        Layer(mixer=m, feed_forward=f, width=dense_width, kv_heads=kv_heads)
        for m, f in zip(mixers, feed_forward, strict=True)
    )


def _block(block: Any, heads: int, hidden: int) -> Layer:
    """One layer of a Nemotron-NAS model, whose search gave each its own width (modeling_decilm.py)."""
    attention, mlp = block["attention"], block["ffn"]
    absent = attention.get("no_op") or attention.get("replace_with_linear")
    raw = int(2 * (mlp.get("ffn_mult") or 0) * hidden / 3)
    return Layer(
        mixer="none" if absent else "full",
        feed_forward="none" if mlp.get("no_op") else "dense",
        width=-(-raw // 256) * 256,
        kv_heads=1 if absent else heads // attention["n_heads_in_group"],
    )


def _mixers(text: Mapping[str, Any], model_type: str, count: int, window: int | None) -> list[str]:
    named = text.get("layer_types") or text.get("attn_type_list")
    if named:
        if "attn_type_list" in text and not text.get("layer_types"):
            return ["full" if kind else "lightning" for kind in named]
        unknown = sorted({str(n) for n in named} - set(_LAYER_TYPES))
        if unknown:
            fail(
                "layer_types",
                "has kinds that are not known",
                given=", ".join(unknown),
                allowed=", ".join(sorted(_LAYER_TYPES)),
            )
        mixers = [_LAYER_TYPES[name] for name in named]
        if "sliding" in mixers and window is None and not text.get("sliding_window"):
            fail("sliding_window", "is missing, but layer_types has sliding layers", allowed="a whole number of tokens")
        return [m if m != "sliding" or window else "full" for m in mixers]
    if interval := positive(text, "full_attention_interval"):
        return ["full" if (i + 1) % interval == 0 else "linear" for i in range(count)]
    if positive(text, "attention_chunk_size"):
        return ["full" if (i + 1) % 4 == 0 else "chunked" for i in range(count)]
    if window is None:
        return ["full"] * count
    if model_type == "gemma2":
        return ["sliding" if i % 2 == 0 else "full" for i in range(count)]
    period = positive(text, "sliding_window_pattern") or positive(text, "_sliding_window_pattern")
    if period is None and model_type == "gemma3_text":
        period = 6
    if period and period > 1:
        return ["full" if (i + 1) % period == 0 else "sliding" for i in range(count)]
    return ["sliding"] * count


def _is_sparse(text: Mapping[str, Any], index: int) -> bool:
    named = text.get("mlp_layer_types")
    if named:
        return bool(named[index] == "sparse")
    if index in (text.get("mlp_only_layers") or ()):
        return False
    if (step := positive(text, "interleave_moe_layer_step")) is not None:
        return (index + 1) % step == 0
    if (step := positive(text, "decoder_sparse_step")) is not None:
        return (index + 1) % step == 0
    first = positive(text, "first_k_dense_replace") or 0
    frequency = text.get("moe_layer_freq") or 1
    if isinstance(frequency, Sequence):
        return bool(frequency[index])
    return index >= first and index % int(frequency) == 0
