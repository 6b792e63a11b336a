"""Counts a model's parameters part by part, and the layers that cache.

Owns the sum from a `Shape` to `Part`s and `CacheGroup`s, with the feed-forward layers and what lies outside of the
layers. Leaves attention and states to modules of their own, and bytes and GPUs to `weights`. All experts of a layer are
one tensor, as are gate and up, since allocation rounds per tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpufleet.planner.models.attention import attention_cache, attention_parts, indexer_cache, indexer_parts
from gpufleet.planner.models.layers import Layer
from gpufleet.planner.models.parts import CacheGroup, Part, Projection
from gpufleet.planner.models.shape import Shape

_VOCABULARY_MULTIPLE = 64
"""vLLM pads vocabulary rows to a multiple of 64 (VocabParallelEmbedding)."""
_ATTENTION = ("full", "sliding", "chunked", "compressed", "sparse")


def count_parts(shape: Shape) -> tuple[Part, ...]:
    """All parts of the text model."""
    parts = [*outer_parts(shape)]
    for layer, at in _alike(shape.layers).items():
        parts += _mixer(shape, layer, at)
        parts += _feed_forward(shape, layer, at)
        parts.append(_norms(shape, layer, at))
    parts += indexer_parts(shape)
    if shape.size("hidden_size_per_layer_input"):
        parts += _per_layer_inputs(shape)
    return tuple(part for part in parts if part.parameters)


def count_cache(shape: Shape) -> tuple[CacheGroup, ...]:
    """The layers that keep something per token or per sequence, grouped by what they keep."""
    kept: dict[Layer, list[int]] = {}
    own = len(shape.layers) - shape.size("num_kv_shared_layers")
    for layer, at in _alike(shape.layers[:own]).items():
        kept.setdefault(layer._replace(feed_forward="", width=0), []).extend(at)
    groups: list[CacheGroup] = []
    for layer, places in kept.items():
        groups += _caches(shape, layer, tuple(sorted(places)))
    return (*groups, *indexer_cache(shape))


def _alike(layers: Iterable[Layer]) -> dict[Layer, tuple[int, ...]]:
    """The kinds of layers, each with the layers that are of it."""
    found: dict[Layer, list[int]] = {}
    for i, layer in enumerate(layers):
        found.setdefault(layer, []).append(i)
    return {layer: tuple(at) for layer, at in found.items()}


def _caches(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[CacheGroup]:
    if layer.mixer in _ATTENTION:
        yield attention_cache(shape, layer, at)
    for kind in (layer.mixer, layer.beside):
        if kind not in _ATTENTION and kind not in ("", "none"):
            from gpufleet.planner.models.states import state_layer

            state = state_layer(shape, layer, kind).state_bytes
            yield CacheGroup(kind="state", layers=len(at), state_bytes=state, at=at)


def outer_parts(shape: Shape) -> Iterator[Part]:
    """Embedding, head, learned positions and the norms outside the layers."""
    t, h = shape.traits, shape.hidden_size
    rows = shape.vocab_size
    padding = -rows % _VOCABULARY_MULTIPLE * h
    narrow = shape.size("word_embed_proj_dim", default=h)
    place = "ends" if shape.tied else "first"
    yield Part(name="embedding", role="embedding", split=rows * narrow, padding=padding, place=place)  # type: ignore[arg-type]
    if not shape.tied:
        yield Part(name="head", role="head", split=rows * h, padding=padding, place="last")
    head_bias = shape.text.get("lm_head_bias")
    bias = rows if (t.head_bias if head_bias is None else head_bias) else 0
    yield Part(name="norms", role="kept", whole=t.norm_parts * h + bias, place="last")
    positions = t.positions * (shape.max_positions or 0) * h + (2 * h if shape.model_type == "opt" else 0)
    yield Part(name="norms", role="kept", whole=positions + t.embedding_norm * t.norm_parts * h)


def _mixer(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    if layer.mixer in _ATTENTION:
        yield from attention_parts(shape, layer, at)
    for kind in (layer.mixer, layer.beside):
        if kind not in _ATTENTION and kind not in ("", "none"):
            from gpufleet.planner.models.states import state_layer

            found = state_layer(shape, layer, kind)
            yield Part(name="state", role="linear", layers=at, split=found.split)
            yield Part(name="norms", role="kept", layers=at, whole=found.whole)


def _feed_forward(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    if layer.feed_forward == "dense":
        yield from _dense(shape, layer, at)
    elif layer.feed_forward == "moe":
        yield from _experts(shape, at)
        if shape.text.get("enable_moe_block"):  # Gemma 4 has both
            yield from _dense(shape, layer, at)
        for _ in range(2 if shape.model_type == "longcat_flash" else 0):  # a dense MLP after each of its attentions
            yield from _dense(shape, layer, at)


def _matrices(shape: Shape) -> int:
    return 3 if shape.traits.gated else 2


def _has_mlp_bias(shape: Shape) -> bool:
    given = [shape.text[n] for n in ("mlp_bias", "use_bias") if shape.text.get(n) is not None]
    return bool(given[0]) if given else shape.traits.mlp_bias


def _dense(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Iterator[Part]:
    h, matrices = shape.hidden_size, _matrices(shape)
    up, down = Projection(h, slices=matrices - 1), Projection(layer.width, splits_inputs=True)
    yield Part(name="mlp", role="linear", layers=at, split=(matrices - 1) * h * layer.width, projection=up)
    yield Part(name="mlp", role="linear", layers=at, split=h * layer.width, projection=down)
    if _has_mlp_bias(shape):
        yield Part(name="norms", role="kept", layers=at, whole=(matrices - 1) * layer.width + h)


def _experts(shape: Shape, at: tuple[int, ...]) -> Iterator[Part]:
    h, matrices = shape.hidden_size, _matrices(shape)
    inner = shape.size("moe_latent_size", default=h)
    experts, width = shape.experts, shape.expert_width
    up = Projection(inner, slices=matrices - 1, matrices=experts)
    down = Projection(width, matrices=experts, splits_inputs=True)
    yield Part(name="experts", role="expert", layers=at, split=experts * (matrices - 1) * inner * width, projection=up)
    yield Part(name="experts", role="expert", layers=at, split=experts * inner * width, projection=down)
    if _has_mlp_bias(shape):
        bias = experts * (matrices - 1) * width
        yield Part(name="expert_biases", role="kept", layers=at, split=bias, whole=experts * h)
    yield Part(name="router", role="kept", layers=at, whole=_router(shape))
    if inner != h:
        yield Part(name="router", role="linear", layers=at, whole=2 * h * inner)
    if shape.shared_width:
        shared = shape.shared_width
        up, down = Projection(h, slices=matrices - 1), Projection(shared, splits_inputs=True)
        yield Part(name="shared_experts", role="linear", layers=at, split=(matrices - 1) * h * shared, projection=up)
        yield Part(name="shared_experts", role="linear", layers=at, split=h * shared, projection=down)


def _router(shape: Shape) -> int:
    t, h = shape.traits, shape.hidden_size
    routed = shape.experts + shape.size("zero_expert_num")
    return h * routed + (h if t.shared_gate and shape.shared_width else 0) + (routed if t.router_bias else 0)


def _norms(shape: Shape, layer: Layer, at: tuple[int, ...]) -> Part:
    t, h = shape.traits, shape.hidden_size
    norms = t.norms_per_layer
    if shape.model_type == "falcon":
        norms = 2 if shape.text.get("new_decoder_architecture") or shape.text.get("parallel_attn") is False else 1
    elif shape.model_type == "longcat_flash":
        norms = 4
    elif norms > 1 and (layer.mixer == "none" or layer.feed_forward == "none"):
        norms -= 1
    return Part(name="norms", role="kept", layers=at, whole=norms * t.norm_parts * h)


def _per_layer_inputs(shape: Shape) -> Iterator[Part]:
    """Gemma 3n and 4: an embedding for each layer beside the model's, and what brings it in; 3n's layers also keep four
    streams (AltUp) and a low-rank bypass (LAuReL)."""
    h, narrow, count = shape.hidden_size, shape.size("hidden_size_per_layer_input"), len(shape.layers)
    at = tuple(range(count))
    rows = shape.size("vocab_size_per_layer_input", default=shape.vocab_size)
    yield Part(name="embedding", role="embedding", split=rows * count * narrow, place="every")
    yield Part(name="per_layer", role="linear", whole=h * count * narrow + narrow, place="every")
    yield Part(name="per_layer", role="linear", layers=at, whole=2 * h * narrow)
    yield Part(name="norms", role="kept", layers=at, whole=h)
    streams = shape.size("altup_num_inputs")
    if streams:
        rank = shape.size("laurel_rank", default=64)
        yield Part(name="per_layer", role="linear", layers=at, whole=2 * h * rank)
        yield Part(name="norms", role="kept", layers=at, whole=3 * h + streams * h + streams**2 + streams**3)
        yield Part(name="per_layer", role="linear", whole=2 * (streams - 1) * h * h, place="every")
