"""Reads a Hugging Face config.json into one canonical shape.

Owns the names under which models publish the same size (`n_embd`, `d_model`, `hidden_size`…), which layers are of which
kind, and the refusal of missing or contradictory fields. Leaves to `counting` what the shape adds up to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from gpufleet.planner.errors import Problem, RequirementError
from gpufleet.planner.models.traits import Traits, traits_of

_NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("decoder_layers", "num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num"),
    "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    "intermediate_size": (
        "intermediate_size", "ffn_hidden_size", "ffn_dim", "decoder_ffn_dim", "n_inner", "ff_intermediate_size",
    ),
    "vocab_size": ("padded_vocab_size", "vocab_size"),
    "max_position_embeddings": (
        "model_max_length", "max_position_embeddings", "n_positions", "max_seq_len", "seq_length",
        "max_target_positions", "n_ctx",
    ),
    "num_experts": ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "top_k_experts", "experts_per_token", "moe_top_k"),
}  # fmt: skip

_FOUR_TIMES_HIDDEN = frozenset({"bloom", "gpt2", "gptj", "falcon", "mpt"})
_LAYER_TYPES = {
    "full_attention": "full", "attention": "full", "sliding_attention": "sliding", "chunked_attention": "chunked",
    "linear_attention": "linear", "mamba": "mamba",
}  # fmt: skip
_NEMOTRON_H = {"M": ("mamba", "none"), "*": ("full", "none"), "-": ("none", "dense"), "E": ("none", "moe")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: what mixes tokens (full, sliding, chunked, linear, mamba, lightning, none), what follows (dense, moe,
    none), and the width of a dense MLP."""

    mixer: str
    feed_forward: str
    width: int
    kv_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a text model under one set of names."""

    model_type: str
    traits: Traits
    is_known_type: bool
    hidden_size: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    vocab_size: int
    tied: bool
    max_positions: int | None
    window: int | None
    layers: tuple[Layer, ...]
    experts: int
    experts_per_token: int
    expert_width: int
    shared_width: int
    text: Mapping[str, Any]
    """The config of the text model, for what only some types have."""

    def size(self, name: str, default: int = 0) -> int:
        """A whole number that only some types have."""
        value = self.text.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


def fail(field: str, message: str, *, given: Any = None, allowed: str = "", next_step: str = "") -> NoReturn:
    """Refuses the config for the sake of one of its fields."""
    raise RequirementError(
        Problem(
            path=f"model.architecture.{field}" if field else "model.architecture",
            message=message,
            given=given,
            allowed=allowed,
            next_step=next_step or "give the fields as the model's own config.json has them",
        )
    )


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the text model: nested ones (`text_config`, `llm_config`…) before those of the top."""
    for name in ("text_config", "llm_config", "language_config", "thinker_config"):
        nested = config.get(name)
        if isinstance(nested, Mapping):
            return {k: v for k, v in config.items() if k != name} | text_config(nested)
    flat = dict(config)
    for name in ("attn_config", "ffn_config"):
        if isinstance(flat.get(name), Mapping):
            flat = dict(flat[name]) | flat
    if "kv_n_heads" in flat:
        flat.setdefault("num_key_value_heads", flat["kv_n_heads"])
    return flat


def read_shape(config: Mapping[str, Any]) -> Shape:
    """The shape of a decoder or encoder of text.

    Raises RequirementError at `model.architecture.<field>` for what is missing, not a whole number, or contradictory.
    """
    text = text_config(config)
    model_type = str(text.get("model_type") or "")
    known = traits_of(model_type)
    traits = known or Traits()
    hidden = _required(text, "hidden_size")
    count = _required(text, "num_hidden_layers")
    heads = _required(text, "num_attention_heads")
    head_dim = _optional(text, "head_dim")
    if head_dim is None:
        if hidden % heads:
            fail(
                "num_attention_heads", f"{heads} heads do not divide hidden_size {hidden}, and head_dim is not given",
                given=heads, allowed=f"a divisor of {hidden}, or head_dim beside it",
            )  # fmt: skip
        head_dim = hidden // heads
    kv_heads = _kv_heads(text, heads)
    experts = _optional(text, "num_experts") or 0
    width = _width(text, model_type, hidden, needed=not experts)
    expert_width = _positive(text, "moe_intermediate_size") or width
    max_positions = _optional(text, "max_position_embeddings")
    window = _window(text, traits, max_positions)
    layers = _layers(text, model_type, count, heads, kv_heads, width, hidden, experts, window)
    tied = True if _is_headless(config) else text.get("tie_word_embeddings")
    return Shape(
        model_type=model_type, traits=traits, is_known_type=known is not None,
        hidden_size=hidden, heads=heads, kv_heads=kv_heads, head_dim=head_dim, width=width,
        vocab_size=_required(text, "vocab_size"), tied=traits.tied if tied is None else bool(tied),
        max_positions=max_positions, window=window, layers=layers,
        experts=experts, experts_per_token=_optional(text, "experts_per_token") or 0, expert_width=expert_width,
        shared_width=_shared_width(text, model_type, expert_width), text=text,
    )  # fmt: skip


def _is_headless(config: Mapping[str, Any]) -> bool:
    """Whether the class has no head, as `MistralModel` has none beside `MistralForCausalLM`."""
    name = str((config.get("architectures") or [""])[0])
    return name.endswith("Model") and not name.endswith("LMHeadModel") and name != "ChatGLMModel"


def _positive(text: Mapping[str, Any], field: str) -> int | None:
    value = text.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        fail(field, "must be a whole number", given=value, allowed="a whole number above 0")
    return int(value) or None


def _optional(text: Mapping[str, Any], canonical: str) -> int | None:
    for name in _NAMES[canonical]:
        if (value := _positive(text, name)) is not None:
            return value
    return None


def _required(text: Mapping[str, Any], canonical: str) -> int:
    value = _optional(text, canonical)
    if value is None:
        fail(canonical, "is missing", allowed=f"a whole number, under one of: {', '.join(_NAMES[canonical])}")
    return value


def _kv_heads(text: Mapping[str, Any], heads: int) -> int:
    given = _optional(text, "num_key_value_heads")
    if given is None:
        return 1 if text.get("multi_query") and not text.get("new_decoder_architecture") else heads
    if given > heads or heads % given:
        fail(
            "num_key_value_heads", f"{given} key-value heads do not divide {heads} attention heads", given=given,
            allowed=f"a divisor of {heads}",
        )  # fmt: skip
    return given


def _width(text: Mapping[str, Any], model_type: str, hidden: int, *, needed: bool) -> int:
    given = _optional(text, "intermediate_size")
    if given is not None:
        return given
    if model_type in _FOUR_TIMES_HIDDEN:
        return hidden * (_positive(text, "expansion_ratio") or 4)
    if needed and "block_configs" not in text:
        fail("intermediate_size", "is missing", allowed=f"a whole number; one of: {', '.join(_NAMES['intermediate_size'])}")
    return 0


def _shared_width(text: Mapping[str, Any], model_type: str, expert_width: int) -> int:
    for name in ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size"):
        if (value := _positive(text, name)) is not None:
            return value
    if model_type == "llama4_text":
        return expert_width
    return (_positive(text, "n_shared_experts") or 0) * expert_width


def _window(text: Mapping[str, Any], traits: Traits, max_positions: int | None) -> int | None:
    window = _positive(text, "sliding_window")
    switch = text.get("use_sliding_window")
    if window is None or switch is False or (switch is None and not traits.window_unless_off):
        return None
    return None if max_positions is not None and window >= max_positions else window


def _layers(
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
    dense_width = _positive(text, "intermediate_size_mlp") or width
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
        if len(named) != count:
            fail("layer_types", f"names {len(named)} layers, but num_hidden_layers is {count}", given=len(named))
        if "attn_type_list" in text and not text.get("layer_types"):
            return ["full" if kind else "lightning" for kind in named]
        unknown = sorted({str(n) for n in named} - set(_LAYER_TYPES))
        if unknown:
            fail("layer_types", "has kinds that are not known", given=", ".join(unknown), allowed=", ".join(sorted(_LAYER_TYPES)))
        mixers = [_LAYER_TYPES[name] for name in named]
        if "sliding" in mixers and window is None and not text.get("sliding_window"):
            fail("sliding_window", "is missing, but layer_types has sliding layers", allowed="a whole number of tokens")
        return [m if m != "sliding" or window else "full" for m in mixers]
    if interval := _positive(text, "full_attention_interval"):
        return ["full" if (i + 1) % interval == 0 else "linear" for i in range(count)]
    if _positive(text, "attention_chunk_size"):
        return ["full" if (i + 1) % 4 == 0 else "chunked" for i in range(count)]
    if window is None:
        return ["full"] * count
    if model_type == "gemma2":
        return ["sliding" if i % 2 == 0 else "full" for i in range(count)]
    period = _positive(text, "sliding_window_pattern") or _positive(text, "_sliding_window_pattern")
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
    if (step := _positive(text, "interleave_moe_layer_step")) is not None:
        return (index + 1) % step == 0
    if (step := _positive(text, "decoder_sparse_step")) is not None:
        return (index + 1) % step == 0
    first = _positive(text, "first_k_dense_replace") or 0
    frequency = text.get("moe_layer_freq") or 1
    if isinstance(frequency, Sequence):
        return bool(frequency[index])
    return index >= first and index % int(frequency) == 0
