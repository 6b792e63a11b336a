"""Counts the parameters of attention layers, and what they keep in the cache.

Owns the arithmetic of grouped-query and of low-rank attention, in every variation that a type or a config has. Leaves to
`counting` where it is used. Projections that a server fuses (Q, K and V) are one tensor, since allocation rounds per
tensor.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet.planner.models.layers import Layer
from gpufleet.planner.models.parts import CacheGroup, Part, Projection
from gpufleet.planner.models.shape import Shape

INDEX_BYTES = 4
"""The fp32 scale beside each fp8 vector of a sparse-attention index (DeepSeek-V3.2)."""


def attention_parts(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    """The projections of these layers."""
    if layer.mixer in ("compressed", "sparse") or shape.model_type == "deepseek_v4":
        yield from _compressed(shape, layer, at)
    elif shape.is_latent:
        yield from _latent(shape, layer, at)
    else:
        yield from _grouped(shape, layer, at)


def attention_cache(shape: Shape, layer: Layer, at: tuple[int, ...]) -> CacheGroup:
    """What these layers keep per token."""
    n, heads = len(at), layer.kv_heads
    if shape.is_latent:
        rank = shape.size("kv_lora_rank") + shape.size("qk_rope_head_dim")
        return CacheGroup(kind="latent", layers=n, kv_heads=1, width=rank, at=at)
    if shape.model_type == "deepseek_v4":  # one head that is key and value at once
        return CacheGroup(kind="full", layers=n, kv_heads=1, width=2 * layer.head_dim, at=at)
    width = layer.head_dim + layer.value_dim
    if layer.mixer == "sliding":
        return CacheGroup(kind="sliding", layers=n, kv_heads=heads, width=width, window=shape.window, at=at)
    if layer.mixer == "chunked":
        chunk = shape.size("attention_chunk_size")
        return CacheGroup(kind="chunked", layers=n, kv_heads=heads, width=width, window=chunk, at=at)
    return CacheGroup(kind="full", layers=n, kv_heads=heads, width=width, at=at)


def _grouped(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    """Queries, keys and values of grouped heads; one head for all is MQA, one for each is MHA."""
    t, h = shape.traits, shape.hidden_size
    queries, keys = layer.heads * layer.head_dim, layer.kv_heads * layer.head_dim
    values = layer.kv_heads * layer.value_dim
    shares = layer.mixer == "full" and shape.size("global_head_dim") and shape.text.get("attention_k_eq_v")
    stored = keys if shares else keys + values
    gate = {"": 0, "query": queries, "heads": layer.heads}[t.attention_gate]
    yield Part(
        name="attention", role="linear", layers=at, split=h * (queries + gate), kv=h * stored, kv_heads=layer.kv_heads,
        projection=Projection(h, slices=3),
    )  # fmt: skip
    inner = layer.heads * layer.value_dim
    out = Projection(inner, splits_inputs=True)
    yield Part(name="attention", role="linear", layers=at, split=h * inner, projection=out)
    small = _biases(shape, queries + keys + values) + _query_norms(shape, layer, queries + keys)
    small += layer.heads if t.sinks else 0
    yield Part(name="norms", role="kept", layers=at, whole=small)


def _biases(shape: Shape, inputs: int) -> int:
    t, text = shape.traits, shape.text
    names = ("use_qkv_bias", "qkv_bias", "attention_bias", "use_bias")
    said = next((name for name in names if text.get(name) is not None), None)
    asked = bool(text[said]) if said else t.qkv_bias
    on_output = t.output_bias or (asked and t.bias_covers_output and said in ("attention_bias", "use_bias"))
    return asked * inputs + on_output * shape.hidden_size


def _query_norms(shape: Shape, layer: Layer, all_heads: int) -> int:
    asked = shape.text.get("use_qk_norm")
    style: str = shape.traits.qk_norm
    if asked is False:
        style = ""
    elif asked and not style and not shape.model_type.startswith("llama4"):  # whose norm has no parameters
        style = "full" if shape.model_type in ("cohere", "minimax_m2") else "head"
    return {"": 0, "full": all_heads, "head": 2 * layer.head_dim}[style]


def _latent(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    """MLA: low-rank projections (held whole by every GPU), then per-head ones (DeepSeek-V2, arXiv 2405.04434)."""
    h, rank, query_rank = shape.hidden_size, shape.size("kv_lora_rank"), shape.size("q_lora_rank")
    rope, nope, value = (shape.size(n) for n in ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"))
    queries = layer.heads * (nope + rope)
    each = 2 if shape.model_type == "longcat_flash" else 1  # two attentions in a layer
    for _ in range(each):
        inner = layer.heads * value
        for split, low_rank, projection in (
            (0, h * (rank + rope) + h * query_rank, Projection(h, slices=2 if query_rank else 1)),
            ((query_rank or h) * queries, 0, Projection(query_rank or h)),
            (rank * layer.heads * (nope + value), 0, Projection(rank)),
            (inner * h, 0, Projection(inner, splits_inputs=True)),
        ):
            yield Part(name="attention", role="linear", layers=at, split=split, whole=low_rank, projection=projection)
        if shape.model_type == "bailing_hybrid":
            yield Part(name="attention", role="linear", layers=at, split=h * layer.heads * value)
        yield Part(name="norms", role="kept", layers=at, whole=rank + query_rank)


def indexer_parts(shape: Shape) -> Iterator[Part]:
    """The selection of tokens by sparse attention; layers of type `shared` borrow their neighbour's (DeepSeek-V3.2)."""
    index, heads = shape.size("index_head_dim"), shape.size("index_n_heads")
    if not (index and shape.is_latent):
        return
    size = shape.size("q_lora_rank") * heads * index + shape.hidden_size * (index + heads) + 2 * index
    kinds = shape.text.get("indexer_types") or ["full"] * len(shape.layers)
    at = tuple(i for i, kind in enumerate(kinds) if kind == "full")
    if at:
        yield Part(name="attention", role="linear", layers=at, whole=size)


def indexer_cache(shape: Shape) -> Iterator[CacheGroup]:
    """What the selection keeps per token."""
    if shape.size("index_head_dim") and shape.is_latent:
        at = tuple(range(len(shape.layers)))
        yield CacheGroup(kind="full", layers=len(at), fixed_bytes=shape.size("index_head_dim") + INDEX_BYTES, at=at)


def _compressed(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    """DeepSeek-V4: low-rank queries, one KV head, grouped low-rank output, and a compressor of older tokens."""
    h, head, heads = shape.hidden_size, layer.head_dim, layer.heads
    query_rank, groups, out_rank = (
        shape.size("q_lora_rank"),
        shape.size("o_groups", default=1),
        shape.size("o_lora_rank"),
    )
    yield Part(name="attention", role="linear", layers=at, whole=h * query_rank + h * head)
    yield Part(name="attention", role="linear", layers=at, split=query_rank * heads * head)
    yield Part(name="attention", role="linear", layers=at, split=heads * head * out_rank)
    yield Part(name="attention", role="linear", layers=at, split=groups * out_rank * h)
    yield Part(name="norms", role="kept", layers=at, whole=query_rank + head + heads)
    copies = 2 if layer.mixer == "sparse" else 1  # overlapping windows keep two
    if layer.mixer in ("compressed", "sparse"):
        yield Part(name="attention", role="kept", layers=at, whole=2 * h * copies * head + head)
    if layer.mixer == "sparse":
        index, index_heads = shape.size("index_head_dim"), shape.size("index_n_heads")
        own = 2 * h * 2 * index + query_rank * index_heads * index + h * index_heads + index
        yield Part(name="attention", role="kept", layers=at, whole=own)
