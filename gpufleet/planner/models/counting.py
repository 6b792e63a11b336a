"""Counts a model's parameters part by part, and the layers that cache.

Owns the arithmetic from a `Shape` to `Part`s and `CacheGroup`s. Leaves to `memory` bytes and GPUs. Projections that the
server fuses (Q, K and V; gate and up; all experts of a layer) are one tensor here too, since allocation rounds per
tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpufleet.planner.models.layers import Layer
from gpufleet.planner.models.parts import CacheGroup, Part
from gpufleet.planner.models.shape import Shape
from gpufleet.planner.models.traits import ENCODERS

_VOCABULARY_MULTIPLE = 64
"""vLLM pads vocabulary rows to a multiple of 64 (VocabParallelEmbedding)."""
_INDEX_BYTES = 4
"""The fp32 scale beside each fp8 vector of a sparse-attention index (DeepSeek-V3.2)."""


def count_parts(shape: Shape) -> tuple[Part, ...]:
    """All parts of the text model."""
    if shape.model_type == "whisper":
        return tuple(_whisper(shape))
    parts = [*_ends(shape)]
    for layer, count in Counter(shape.layers).items():
        parts += _mixer(shape, layer, count)
        parts += _feed_forward(shape, layer, count)
        parts.append(_norms(shape, layer, count))
    if shape.size("index_head_dim") and shape.size("kv_lora_rank"):
        parts.append(_indexer(shape))
    return tuple(p for p in parts if p.parameters)


def count_cache(shape: Shape) -> tuple[CacheGroup, ...]:
    """The layers that keep something per token or per sequence, grouped by what they keep."""
    if shape.model_type in ENCODERS:
        return ()
    kinds = Counter((layer.mixer, layer.kv_heads) for layer in shape.layers)
    groups = [_cache_group(shape, mixer, kv_heads, n) for (mixer, kv_heads), n in kinds.items() if mixer != "none"]
    if shape.size("index_head_dim") and shape.size("kv_lora_rank"):
        indexed = shape.size("index_head_dim") + _INDEX_BYTES
        groups.append(CacheGroup(kind="full", layers=len(shape.layers), fixed_bytes=indexed))
    if shape.model_type == "whisper":
        crossed = 2 * shape.size("max_source_positions", 1500) * shape.hidden_size * 2
        groups.append(CacheGroup(kind="state", layers=len(shape.layers), state_bytes=crossed))
    return tuple(groups)


def _cache_group(shape: Shape, mixer: str, kv_heads: int, layers: int) -> CacheGroup:
    if mixer == "mamba":
        return CacheGroup(kind="state", layers=layers, state_bytes=_mamba(shape)[1])
    if mixer == "linear":
        return CacheGroup(kind="state", layers=layers, state_bytes=_delta_net(shape)[1])
    if mixer == "lightning":
        return CacheGroup(kind="state", layers=layers, state_bytes=4 * shape.heads * shape.head_dim**2)
    if rank := shape.size("kv_lora_rank"):
        return CacheGroup(kind="latent", layers=layers, kv_heads=1, width=rank + shape.size("qk_rope_head_dim"))
    if mixer == "full" and shape.size("global_head_dim"):
        heads = shape.size("num_global_key_value_heads", kv_heads)
        return CacheGroup(kind="full", layers=layers, kv_heads=heads, width=2 * shape.size("global_head_dim"))
    width = 2 * shape.head_dim
    if mixer == "sliding":
        return CacheGroup(kind="sliding", layers=layers, kv_heads=kv_heads, width=width, window=shape.window)
    if mixer == "chunked":
        return CacheGroup(
            kind="chunked", layers=layers, kv_heads=kv_heads, width=width, window=shape.size("attention_chunk_size")
        )
    return CacheGroup(kind="full", layers=layers, kv_heads=kv_heads, width=width)


def _ends(shape: Shape) -> Iterator[Part]:
    """Embedding, head, learned positions and the norms outside the layers."""
    t, h = shape.traits, shape.hidden_size
    padding = -shape.vocab_size % _VOCABULARY_MULTIPLE * h
    narrow = shape.size("word_embed_proj_dim", h)
    yield Part(name="embedding", role="embedding", split=shape.vocab_size * narrow, padding=padding)
    if not shape.tied:
        yield Part(name="head", role="head", split=shape.vocab_size * h, padding=padding)
    outside = t.norm_parts * h * (1 + t.embedding_norm) + t.head_bias * shape.vocab_size
    positions = t.positions * (shape.max_positions or 0) * h + (2 * h if shape.model_type == "opt" else 0)
    if shape.model_type in ENCODERS:
        positions = ((shape.max_positions or 0) + shape.size("type_vocab_size")) * h
        outside += h * h + h  # the pooler
    yield Part(name="norms", role="kept", whole=outside + positions)


def _mixer(shape: Shape, layer: Layer, count: int) -> Iterator[Part]:
    if layer.mixer == "none":
        return
    if layer.mixer == "mamba":
        yield Part(name="state", role="linear", tensors=count, split=_mamba(shape)[0])
    elif layer.mixer == "linear":
        yield Part(name="state", role="linear", tensors=count, split=_delta_net(shape)[0])
    elif layer.mixer == "lightning":
        inner = shape.heads * shape.head_dim
        yield Part(name="state", role="linear", tensors=count, split=5 * shape.hidden_size * inner, whole=inner)
    elif shape.size("kv_lora_rank"):
        yield from _latent_attention(shape, count)
    else:
        yield from _attention(shape, layer, count)


def _attention(shape: Shape, layer: Layer, count: int) -> Iterator[Part]:
    t, h = shape.traits, shape.hidden_size
    head_dim, kv_heads, copies = shape.head_dim, layer.kv_heads, 2
    if layer.mixer == "full" and shape.size("global_head_dim"):
        head_dim = shape.size("global_head_dim")
        kv_heads = shape.size("num_global_key_value_heads", kv_heads)
        copies = 1 if shape.text.get("attention_k_eq_v") else 2
    queries, keys = shape.heads * head_dim, kv_heads * head_dim
    gated = 2 if t.attention_gate else 1
    yield Part(name="attention", role="linear", tensors=count, split=h * queries * gated, kv=copies * h * keys)
    yield Part(name="attention", role="linear", tensors=count, split=h * queries)
    biased = shape.text.get("attention_bias")
    qkv_bias = t.qkv_bias if biased is None else bool(biased)
    qkv_bias = bool(shape.text.get("use_qkv_bias", shape.text.get("qkv_bias") or qkv_bias))
    output_bias = t.output_bias or (bool(biased) and not t.qkv_bias and shape.model_type in ("llama", "qwen3"))
    small = qkv_bias * (queries + 2 * keys) + output_bias * h
    used = shape.text.get("use_qk_norm")
    style = t.qk_norm or ("full" if shape.model_type == "cohere" else "head" if shape.model_type == "glm4_moe" else "")
    if used if used is not None and shape.model_type != "llama4_text" else t.qk_norm:
        small += queries + keys if style == "full" else 2 * head_dim
    if shape.model_type == "gpt_oss":
        small += shape.heads  # the attention sinks
    yield Part(name="norms", role="kept", tensors=count, whole=small)


def _latent_attention(shape: Shape, count: int) -> Iterator[Part]:
    """MLA: low-rank projections (held whole by every GPU), then per-head ones (DeepSeek-V2, arXiv 2405.04434)."""
    h, rank, query_rank = shape.hidden_size, shape.size("kv_lora_rank"), shape.size("q_lora_rank")
    rope, nope, value = (shape.size(n) for n in ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"))
    queries = shape.heads * (nope + rope)
    down = h * (rank + rope) + h * query_rank
    yield Part(name="attention", role="linear", tensors=count, whole=down)
    yield Part(name="attention", role="linear", tensors=count, split=(query_rank or h) * queries)
    yield Part(name="attention", role="linear", tensors=count, split=rank * shape.heads * (nope + value))
    yield Part(name="attention", role="linear", tensors=count, split=shape.heads * value * h)
    yield Part(name="norms", role="kept", tensors=count, whole=rank + query_rank)


def _indexer(shape: Shape) -> Part:
    """The selection of tokens by sparse attention; layers of type `shared` borrow their neighbour's (DeepSeek-V3.2)."""
    index, heads = shape.size("index_head_dim"), shape.size("index_n_heads")
    size = shape.size("q_lora_rank") * heads * index + shape.hidden_size * (index + heads) + 2 * index
    full = Counter(shape.text.get("indexer_types") or ["full"] * len(shape.layers))["full"]
    return Part(name="attention", role="linear", tensors=full, whole=size)


def _feed_forward(shape: Shape, layer: Layer, count: int) -> Iterator[Part]:
    t, h = shape.traits, shape.hidden_size
    matrices = 2 if shape.model_type == "nemotron_h" or not t.gated else 3
    if layer.feed_forward == "dense" or "enable_moe_block" in shape.text:
        yield Part(name="mlp", role="linear", tensors=count, split=(matrices - 1) * h * layer.width)
        yield Part(name="mlp", role="linear", tensors=count, split=h * layer.width)
        if t.mlp_bias:
            yield Part(name="norms", role="kept", tensors=count, whole=(matrices - 1) * layer.width + h)
    if layer.feed_forward == "moe":
        inner = shape.size("moe_latent_size", h)
        experts, width = shape.experts, shape.expert_width
        yield Part(name="experts", role="expert", tensors=count, split=experts * (matrices - 1) * inner * width)
        yield Part(name="experts", role="expert", tensors=count, split=experts * inner * width)
        if t.mlp_bias:
            yield Part(name="norms", role="kept", tensors=count, whole=experts * ((matrices - 1) * width + h))
        yield Part(name="router", role="kept", tensors=count, whole=_router(shape))
        if inner != h:
            yield Part(name="router", role="linear", tensors=count, whole=2 * h * inner)
        if shape.shared_width:
            yield Part(name="shared_experts", role="linear", tensors=count, split=matrices * h * shape.shared_width)


def _router(shape: Shape) -> int:
    size = shape.hidden_size * shape.experts
    if shape.model_type in ("qwen2_moe", "qwen3_next", "qwen3_5_moe_text"):
        size += shape.hidden_size  # the gate of the shared expert
    if shape.model_type in (
        "deepseek_v3",
        "deepseek_v32",
        "kimi_k2",
        "glm4_moe",
        "glm_moe_dsa",
        "minimax_m2",
        "gpt_oss",
    ):
        size += shape.experts  # a bias per expert
    return size + (shape.experts if shape.model_type == "nemotron_h" else 0)


def _norms(shape: Shape, layer: Layer, count: int) -> Part:
    t = shape.traits
    norms = t.norms_per_layer
    if shape.model_type == "falcon" and not shape.text.get("new_decoder_architecture"):
        norms = 1
    if shape.model_type == "nemotron_h":
        norms = 1
    elif layer.mixer == "none" or layer.feed_forward == "none":
        norms -= 1
    return Part(name="norms", role="kept", tensors=count, whole=norms * t.norm_parts * shape.hidden_size)


def _mamba(shape: Shape) -> tuple[int, int]:
    """Parameters of one Mamba-2 layer, and the bytes of its state per sequence (16-bit convolution, 32-bit state)."""
    heads = shape.size("mamba_num_heads") or shape.size("mamba_n_heads")
    head = shape.size("mamba_head_dim") or shape.size("mamba_d_head")
    groups = shape.size("n_groups") or shape.size("mamba_n_groups", 1)
    state = shape.size("ssm_state_size") or shape.size("mamba_d_state")
    kernel = shape.size("conv_kernel") or shape.size("mamba_d_conv", 4)
    inner, convolved = heads * head, heads * head + 2 * groups * state
    projections = shape.hidden_size * (inner + convolved + heads) + inner * shape.hidden_size
    return projections + convolved * (kernel + 1) + 3 * heads + inner, 2 * convolved * (kernel - 1) + 4 * inner * state


def _delta_net(shape: Shape) -> tuple[int, int]:
    """The same for a gated delta-rule layer (Qwen3-Next)."""
    values, value = shape.size("linear_num_value_heads"), shape.size("linear_value_head_dim")
    keys, key = shape.size("linear_num_key_heads"), shape.size("linear_key_head_dim")
    kernel = shape.size("linear_conv_kernel_dim", 4)
    inner, convolved = values * value, 2 * keys * key + values * value
    projections = shape.hidden_size * (convolved + inner + 2 * values) + inner * shape.hidden_size
    return projections + convolved * kernel + 2 * values + value, 2 * convolved * (
        kernel - 1
    ) + 4 * values * key * value


def _whisper(shape: Shape) -> Iterator[Part]:
    """Encoder-decoder of speech: no bias on keys, two convolutions before the encoder (transformers'
    modeling_whisper)."""
    h, decoders, encoders = shape.hidden_size, len(shape.layers), shape.size("encoder_layers")
    attention, norm = 4 * h * h + 3 * h, 2 * h

    def mlp(width: int) -> int:
        return 2 * h * width + width + h

    yield Part(name="embedding", role="embedding", split=shape.vocab_size * h)
    encoder = attention + mlp(shape.size("encoder_ffn_dim")) + 2 * norm
    yield Part(name="encoder", role="linear", tensors=encoders, split=encoder)
    decoder = 2 * attention + mlp(shape.width) + 3 * norm
    yield Part(name="attention", role="linear", tensors=decoders, split=decoder)
    convolutions = 3 * h * (shape.size("num_mel_bins", 80) + h) + 2 * h
    positions = h * (shape.size("max_source_positions", 1500) + (shape.max_positions or 0))
    yield Part(name="norms", role="kept", whole=convolutions + positions + 2 * norm)
