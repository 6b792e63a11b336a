"""Reads the fields of a config.json, under all the names that they are published by.

Owns the names, the kinds of value, their bounds, and the refusal of what is missing or of another kind. Leaves their
meaning to `shape`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sized
from typing import Any, NoReturn

from gpufleet.planner.errors import Problem, RequirementError

NAMES: dict[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model", "dim"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_key_value_heads": (
        "num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads", "multi_query_group_num",
        "num_attention_groups", "num_query_groups",
    ),
    "head_dim": ("head_dim", "kv_channels", "attention_head_dim"),
    "intermediate_size": (
        "intermediate_size", "ffn_hidden_size", "ffn_dim", "d_ff", "n_inner", "ff_intermediate_size", "block_ff_dim",
        "ffn_intermediate_size", "dim_ff",
    ),
    "vocab_size": ("padded_vocab_size", "vocab_size"),
    "max_position_embeddings": (
        "model_max_length", "max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length",
        "seq_length", "n_ctx",
    ),
    "num_experts": ("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"),
    "experts_per_token": (
        "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "experts_per_token", "moe_top_k", "moe_topk",
        "moe_k",
    ),
    "expert_intermediate_size": ("moe_intermediate_size", "expert_ffn_hidden_size"),
}  # fmt: skip

_ALSO_AT_THE_TOP = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
    "max_position_embeddings",
)  # fmt: skip

NESTED_TEXT = (
    "text_config", "llm_config", "language_config", "thinker_config", "language_model_config", "lm_config",
    "text_model_config",
)  # fmt: skip
"""Where multimodal models keep the fields of their text model."""

MOST = {"num_hidden_layers": 1_000, "num_attention_heads": 4_096, "num_key_value_heads": 4_096}
MOST_OF_ANY = 100_000_000
MOST_PARAMETERS = 10**14

_NUMBERS: tuple[type, ...] = (int, float)
_LIST: tuple[type, ...] = (list, tuple)
_KINDS: tuple[tuple[tuple[type, ...], str, tuple[str, ...]], ...] = (
    ((str,), "text", ("model_type", "hybrid_override_pattern")),
    (_LIST, "a list", (
        "architectures", "layer_types", "attn_type_list", "block_configs", "mlp_only_layers", "mlp_layer_types",
        "indexer_types", "layers_block_type", "block_types", "hybrid_layer_pattern", "attn_layer_indices",
        "full_attn_idxs", "num_attention_heads_per_layer",
    )),
    ((Mapping,), "a mapping", (
        *NESTED_TEXT, "attn_config", "ffn_config", "vision_config", "audio_config", "rope_scaling", "rope_parameters",
        "components", "quantization_config", "linear_attn_config",
    )),
    (_NUMBERS, "a number", ("partial_rotary_factor", "mlp_ratio", "mamba_expand", "expand", "block_ffn_dim_multiplier")),
    ((*_NUMBERS, *_LIST), "a number or a list", ("moe_layer_freq",)),
    ((str,), "text", ("hidden_act", "hidden_activation", "activation_function", "feed_forward_proj")),
    ((str, *_LIST), "text or a list", ("moe_layers_enum",)),
    ((bool,), "true or false", (
        "tie_word_embeddings", "attention_bias", "mlp_bias", "use_bias", "qkv_bias", "use_qkv_bias", "use_qk_norm",
        "multi_query", "new_decoder_architecture", "use_sliding_window", "lm_head_bias", "attention_k_eq_v",
        "is_encoder_decoder", "enable_moe_block",
    )),
)  # fmt: skip
_NAMES_OF_LAYERS = (
    "architectures", "layer_types", "mlp_layer_types", "indexer_types", "layers_block_type", "block_types",
)  # fmt: skip


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


def check_length(field: str, values: Sized, count: int) -> None:
    """Refuses a list that says something of each layer, but not of as many as there are."""
    if len(values) != count:
        fail(
            field,
            f"names {len(values)} layers, but num_hidden_layers is {count}",
            given=len(values),
            allowed=f"a list of {count}",
        )


def check_kinds(config: Mapping[str, Any]) -> None:
    """Refuses fields that hold another kind of value than every config.json has there."""
    for kind, words, names in _KINDS:
        for name in names:
            value = config.get(name)
            if value is None:
                continue
            is_stray_boolean = isinstance(value, bool) and bool not in kind
            if (
                is_stray_boolean
                or not isinstance(value, kind)
                or (isinstance(value, float) and not math.isfinite(value))
            ):
                fail(name, f"must be {words}", given=value, allowed=words)
    for name in _NAMES_OF_LAYERS:
        if not all(isinstance(item, str) for item in config.get(name) or ()):
            fail(name, "must be a list of names", given=config[name], allowed="a list of names")


def text_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the text model: those nested in `text_config`, `llm_config`…, where there is such a config, with the
    defaults of its class; sizes that it has under no name are taken from the top."""
    name = next((name for name in NESTED_TEXT if isinstance(config.get(name), Mapping)), None)
    if name:
        from gpufleet.planner.models.defaults import with_defaults

        text = with_defaults(text_config(config[name]), parent=str(config.get("model_type") or ""), field=name)
        for group in (*(NAMES[canonical] for canonical in _ALSO_AT_THE_TOP), ("tie_word_embeddings",)):
            if all(text.get(field) is None for field in group):
                text |= {field: config[field] for field in group if config.get(field) is not None}
        return text
    flat = dict(config)
    for name in ("attn_config", "ffn_config"):
        if isinstance(flat.get(name), Mapping):
            flat = dict(flat[name]) | flat
    if "kv_n_heads" in flat:
        flat.setdefault("num_key_value_heads", flat["kv_n_heads"])
    return flat


def whole(value: Any, field: str, *, most: int = MOST_OF_ANY) -> int:
    """A whole number from 0 to `most`; refuses everything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value != int(value) or value < 0:
        fail(field, "must be a whole number", given=value, allowed="a whole number above 0")
    if value > most:
        fail(field, "is more than any model has", given=value, allowed=f"up to {most:,}")
    return int(value)


def positive(text: Mapping[str, Any], field: str, *, most: int = MOST_OF_ANY) -> int | None:
    """The whole number of this very field; None where it is absent, null or 0."""
    value = text.get(field)
    return None if value is None else whole(value, field, most=most) or None


def first(text: Mapping[str, Any], *names: str) -> int:
    """The first of these whole numbers that is given and above 0; 0 for none."""
    return next((value for name in names if (value := positive(text, name)) is not None), 0)


def optional(text: Mapping[str, Any], canonical: str) -> int | None:
    """The whole number under any of its names."""
    most = MOST.get(canonical, MOST_OF_ANY)
    for name in NAMES[canonical]:
        if (value := positive(text, name, most=most)) is not None:
            return value
    return None


def required(text: Mapping[str, Any], canonical: str) -> int:
    """The whole number under any of its names; refuses a config without it."""
    value = optional(text, canonical)
    if value is None:
        is_zero = any(text.get(name) == 0 for name in NAMES[canonical])
        known = ", ".join(NAMES[canonical])
        fail(canonical, "is 0" if is_zero else "is missing", allowed=f"a whole number, under one of: {known}")
    return value
