"""Reads the fields of a config.json, under all the names that they are published by.

Owns the names, the kinds of value, and the refusal of what is missing or of another kind. Leaves their meaning to
`shape`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from gpufleet.planner.errors import Problem, RequirementError

NAMES: dict[str, tuple[str, ...]] = {
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

_KINDS: tuple[tuple[type | tuple[type, ...], str, tuple[str, ...]], ...] = (
    (str, "text", ("model_type", "hybrid_override_pattern")),
    ((list, tuple), "a list", (
        "architectures", "layer_types", "attn_type_list", "block_configs", "mlp_only_layers",
        "mlp_layer_types", "indexer_types",
    )),
    (Mapping, "a mapping", (
        "text_config", "llm_config", "language_config", "thinker_config", "attn_config", "ffn_config", "vision_config",
        "rope_scaling", "rope_parameters", "components", "quantization_config",
    )),
    ((int, float), "a number", ("partial_rotary_factor",)),
    ((int, list, tuple), "a number or a list", ("moe_layer_freq",)),
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


def check_kinds(config: Mapping[str, Any]) -> None:
    """Refuses fields that hold another kind of value than every config.json has there."""
    for kind, words, names in _KINDS:
        for name in names:
            value = config.get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
                fail(name, f"must be {words}", given=value, allowed=words)
    for name in ("architectures", "layer_types", "mlp_layer_types", "indexer_types"):
        if not all(isinstance(item, str) for item in config.get(name) or ()):
            fail(name, "must be a list of names", given=config[name], allowed="a list of names")


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


def positive(text: Mapping[str, Any], field: str) -> int | None:
    value = text.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < 0:
        fail(field, "must be a whole number", given=value, allowed="a whole number above 0")
    return int(value) or None


def optional(text: Mapping[str, Any], canonical: str) -> int | None:
    for name in NAMES[canonical]:
        if (value := positive(text, name)) is not None:
            return value
    return None


def required(text: Mapping[str, Any], canonical: str) -> int:
    value = optional(text, canonical)
    if value is None:
        fail(canonical, "is missing", allowed=f"a whole number, under one of: {', '.join(NAMES[canonical])}")
    return value
